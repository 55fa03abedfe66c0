"""Random streams, named by content, from one root seed.

`stream(seed, "tripost", 3, problem.id, 0)` depends only on its arguments. So a change in one part of a run does not
affect the randomness of another, and a resumed run draws the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import random

Name = str | int | float | bool | None


def digest(*names: Name | list[int] | tuple[int, ...]) -> str:
    """Return a hash of `names` as 32 hexadecimal digits, the same on every machine."""
    text = json.dumps(names, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def stream(*names: Name | list[int] | tuple[int, ...]) -> int:
    """Return a seed in [0, 2**63) for the stream `names`."""
    return int(digest(*names), 16) >> 65  # the first 63 of 128 bits


def named_rng(*names: Name | list[int] | tuple[int, ...]) -> random.Random:
    """Return a random generator for the stream `names`."""
    return random.Random(stream(*names))

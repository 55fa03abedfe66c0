"""One root seed; random streams named by content.

`stream(seed, "tripost", 3, problem.id, 0)` depends on nothing but its arguments, so a change in one
part of a run reshuffles no other, and a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib
import json
import random

Name = str | int | float | bool | None


def digest(*names: Name | list[int] | tuple[int, ...]) -> str:
    """A 32-digit hexadecimal name for `names`, the same on every machine."""
    text = json.dumps(names, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def stream(*names: Name | list[int] | tuple[int, ...]) -> int:
    """A seed in [0, 2**63) for the stream called `names`."""
    return int(digest(*names), 16) >> 65


def named_rng(*names: Name | list[int] | tuple[int, ...]) -> random.Random:
    """A generator for the stream called `names`."""
    return random.Random(stream(*names))

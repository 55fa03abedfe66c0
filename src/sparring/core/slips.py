"""Slips of the pen: texts with one character miswritten, for partners that err on purpose."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

# What is changed, and into what: digits, else the letter of an option, else small letters.
_ALPHABETS = ((r"\d", "0123456789"), (r"(?<=\()[A-Z](?=\))", "ABC"), (r"[a-z]", "abcdefghijklmnopqrstuvwxyz"))


def slips(text: str, start: int, length: int, rng: random.Random) -> Iterator[str]:
    """Yield in random order every `text` with another digit among the `length` characters from `start`.

    If there is no digit there, another letter of an option, or else other lower-case letters.
    """
    part = text[start : start + length]
    for pattern, alphabet in _ALPHABETS:
        places = [start + match.start() for match in re.finditer(pattern, part, re.ASCII)]
        if places:
            changes = [(place, other) for place in places for other in alphabet if other != text[place]]
            rng.shuffle(changes)
            yield from (text[:place] + other + text[place + 1 :] for place, other in changes)
            return

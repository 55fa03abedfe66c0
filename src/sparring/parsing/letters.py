"""The letters that decide an alphabetical order, and statements about them.

Letters are counted from 0: `depth` 0 is a word's first letter. The end of a word precedes all letters.
"""

from __future__ import annotations

_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth"
ORDINALS = _ORDINALS.split()


def ordinal(depth: int) -> str:
    """Return the ordinal of the letters at `depth`, counted from 0."""
    return ORDINALS[depth] if depth < len(ORDINALS) else f"{depth + 1}th"


def letter(word: str, depth: int) -> str:
    """Return the letter of `word` at `depth`, counted from 0; "" after its end."""
    return word[depth : depth + 1]


def position(character: str) -> int:
    """Return the number in the alphabet; 0 for the end of a word and other characters, which precede all letters."""
    return ord(character.lower()) - ord("a") + 1 if character.isascii() and character.isalpha() else 0


def spelled(word: str, depth: int, source: str | None = None) -> str:
    """Write a letter as worked answers do, `"ant"="a" (1)`; `source`: a word whose letter is given instead."""
    character = letter(word if source is None else source, depth)
    return f'"{word}"="{character}" ({position(character)})'


def reminder(word: str, depth: int) -> str:
    """Return the true statement about a word's letter at `depth`."""
    return f"the {ordinal(depth)} letter is {spelled(word, depth)}"


def parting(one: str, other: str) -> int:
    """Return the first index at which two words differ."""
    return next(depth for depth in range(len(one) + 1) if letter(one, depth) != letter(other, depth))


def difference(one: str, other: str) -> str:
    """State the letters in which two words differ, but not which word comes first."""
    depth = parting(one, other)
    return f"in the {ordinal(depth)} letter, {spelled(one, depth)} and {spelled(other, depth)}"

"""ROUGE-L: how much of a reference a text says in the same order (Lin 2004).

Tokens are those of the rouge-score package without stemming: lower case, letters a–z and digits. The longest common
subsequence is counted with the bits of integers (Crochemore et al. 2001), so memory is linear in the length.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

_TOKEN = re.compile(r"[a-z0-9]+")


def rouge_l(text: str, reference: str) -> float:
    """Return the F1 of `text` and `reference` by their longest common subsequence of tokens; 0 if one has none."""
    ours, theirs = (_TOKEN.findall(words.lower()) for words in (text, reference))
    return 2 * common_length(ours, theirs) / max(1, len(ours) + len(theirs))


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    places: defaultdict[str, int] = defaultdict(int)  # of each token in `one`, one bit a place
    for place, token in enumerate(one):
        places[token] |= 1 << place
    every_place = (1 << len(one)) - 1
    unmatched = every_place
    for token in other:
        candidates = unmatched & places[token]
        unmatched = ((unmatched + candidates) | (unmatched - candidates)) & every_place
    return len(one) - unmatched.bit_count()

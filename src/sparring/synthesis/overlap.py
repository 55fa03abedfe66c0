"""Whether a text is nearly one that is known: ROUGE-L over words, as in Self-Instruct (arXiv 2212.10560).

ROUGE-L F1 of two texts is 2·L / (m + n), L being the length of their longest common subsequence of words. A word is a
run of letters and digits, case folded; of Chinese and kana, a character.

Exact, and yet few pairs are compared: two texts share no more words in order than in any, and how many a text shares
with all that are known is added up at once, from lists of where each word stands.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter, defaultdict

import numpy as np

_WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]|[^\\W_\u3040-\u30ff\u3400-\u9fff]+")

WordSequence = tuple[str, ...]


def split_words(text: str) -> WordSequence:
    """The words of `text`."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _masks(text: WordSequence) -> dict[str, int]:
    """The places of each word, as bits."""
    masks: dict[str, int] = defaultdict(int)
    for place, word in enumerate(text):
        masks[word] |= 1 << place
    return dict(masks)


def _common(masks: dict[str, int], length: int, other: WordSequence) -> int:
    """The length of the longest common subsequence of the text of `masks` and `other`, bit by bit (Hyyrö 2004)."""
    full = (1 << length) - 1
    unmatched = full
    for word in other:
        found = unmatched & masks.get(word, 0)
        unmatched = ((unmatched + found) | (unmatched - found)) & full
    return length - unmatched.bit_count()


class Known:
    """Texts that are known, to be asked whether one of them has a ROUGE-L F1 above `threshold` with a new one."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._texts: list[WordSequence] = []
        self._lengths = array("i")
        self._there: set[WordSequence] = set()
        self._places: defaultdict[tuple[str, int], array[int]] = defaultdict(lambda: array("i"))

    def __contains__(self, text: WordSequence) -> bool:
        """Whether the very same words are known."""
        return text in self._there

    def add(self, text: WordSequence) -> None:
        """Makes `text` known."""
        if text in self._there:
            return
        for word in _told_apart(text):
            self._places[word].append(len(self._texts))
        self._there.add(text)
        self._texts.append(text)
        self._lengths.append(len(text))

    def similar(self, text: WordSequence) -> bool:
        """Whether a known text is over the threshold with `text`."""
        places = [np.frombuffer(self._places[word], np.intc) for word in _told_apart(text) if word in self._places]
        if not places:
            return False
        shared = np.bincount(np.concatenate(places), minlength=len(self._texts))
        needed = self._threshold * (np.frombuffer(self._lengths, np.intc) + len(text)) / 2
        near = np.flatnonzero(shared > needed)
        if not len(near):
            return False
        masks = _masks(text)
        return any(_common(masks, len(text), self._texts[place]) > needed[place] for place in near)


def _told_apart(text: WordSequence) -> list[tuple[str, int]]:
    """The words of `text`, each with how often it stood before: so words are shared as often as they stand in both."""
    seen: Counter[str] = Counter()
    told_apart = []
    for word in text:
        told_apart.append((word, seen[word]))
        seen[word] += 1
    return told_apart

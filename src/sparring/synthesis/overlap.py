"""Near-duplicate detection by ROUGE-L over words, as in Self-Instruct (arXiv 2212.10560).

The ROUGE-L F1 of two texts of m and n words is 2·L / (m + n). L is the length of their longest common subsequence of
words. A word is a run of letters and digits, case-folded; in Chinese and kana, a single character.

The result is exact, but few pairs are compared: L is at most the number of words that two texts share in any order. An
inverted index counts the shared words with all known texts at once.
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
    """Return the words of `text`."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _masks(text: WordSequence) -> dict[str, int]:
    """Return the positions of each word as a bit mask."""
    masks: dict[str, int] = defaultdict(int)
    for position, word in enumerate(text):
        masks[word] |= 1 << position
    return dict(masks)


def _common_length(masks: dict[str, int], length: int, other: WordSequence) -> int:
    """Return the length of the longest common subsequence of `other` and the text of `masks`, which has `length` words.

    The algorithm is bit-parallel (Hyyrö 2004).
    """
    full = (1 << length) - 1
    unmatched = full
    for word in other:
        matches = unmatched & masks.get(word, 0)
        unmatched = ((unmatched + matches) | (unmatched - matches)) & full
    return length - unmatched.bit_count()


class KnownTexts:
    """A set of texts that finds near duplicates: texts with a ROUGE-L F1 above `threshold`."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._texts: list[WordSequence] = []
        self._lengths = array("i")
        self._exact: set[WordSequence] = set()
        # word and its occurrence number: the indices of the texts that contain it
        self._index: defaultdict[tuple[str, int], array[int]] = defaultdict(lambda: array("i"))

    def __contains__(self, text: WordSequence) -> bool:
        """Whether a known text has exactly these words."""
        return text in self._exact

    def add(self, text: WordSequence) -> None:
        """Add `text`."""
        if text in self._exact:
            return
        for word in _numbered_words(text):
            self._index[word].append(len(self._texts))
        self._exact.add(text)
        self._texts.append(text)
        self._lengths.append(len(text))

    def has_similar(self, text: WordSequence) -> bool:
        """Whether the ROUGE-L F1 of `text` with a known text exceeds the threshold."""
        known_words = [word for word in _numbered_words(text) if word in self._index]
        if not known_words:
            return False
        containing = np.concatenate([np.frombuffer(self._index[word], np.intc) for word in known_words])
        shared = np.bincount(containing, minlength=len(self._texts))
        needed = self._threshold * (np.frombuffer(self._lengths, np.intc) + len(text)) / 2
        candidates = np.flatnonzero(shared > needed)
        if not len(candidates):
            return False
        masks = _masks(text)
        return any(_common_length(masks, len(text), self._texts[index]) > needed[index] for index in candidates)


def _numbered_words(text: WordSequence) -> list[tuple[str, int]]:
    """Return the words of `text`, each with the number of its earlier occurrences.

    So a word that occurs twice in both texts counts as two shared words.
    """
    seen: Counter[str] = Counter()
    numbered = []
    for word in text:
        numbered.append((word, seen[word]))
        seen[word] += 1
    return numbered

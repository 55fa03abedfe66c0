"""Wishes about a short text that a program can check: its words, letters, sentences, lines, order and rhyme.

`read_text` splits a text once, and every wish reads the result. Case is ignored except in titles. Words are runs of
letters and digits, with inner apostrophes and hyphens. Rhyme means spelling, since the sound of a word is not computed.

Whether a text makes sense is not checked here. `soundness` only finds words that no sensible text would have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)]*+(?=\s|$)")
RHYMING = 3  # ours: final letters that rhyming words share
QUOTED = 5  # ours: so many words in a row are a quotation


@dataclass(frozen=True)
class SplitText:
    """A text with its words in lower case, non-empty lines, and number of sentences."""

    text: str
    words: tuple[str, ...]
    lines: tuple[str, ...]
    sentences: int


def read_text(text: str) -> SplitText:
    """Split `text`."""
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if _WORD.search(sentence)]
    lines = [line.strip() for line in text.splitlines() if _WORD.search(line)]
    return SplitText(text, split_text(text), tuple(lines), len(sentences))


def split_text(text: str) -> tuple[str, ...]:
    """Return the words of `text` in lower case."""
    return tuple(word.casefold() for word in _WORD.findall(text))


@dataclass(frozen=True)
class Wish:
    """One wish: its kind, a key of `KINDS`, and its number, word, letter or words."""

    kind: str
    value: Any = None

    def is_met(self, text: SplitText) -> bool:
        """Return whether `text` meets the wish; an empty text meets none."""
        return bool(text.words) and KINDS[self.kind](text, self.value)


def _avoids_letter(text: SplitText, letter: str) -> bool:
    return letter not in text.text.casefold()


def _is_sorted(items: Sequence[str]) -> bool:
    return len(items) > 1 and list(items) == sorted(items)


def _have_words(text: SplitText, count: int) -> bool:
    return all(len(split_text(line)) == count for line in text.lines)


def _are_sorted_lines(text: SplitText, _: None) -> bool:
    return _is_sorted([" ".join(split_text(line)) for line in text.lines])


def _spells(text: SplitText, word: str) -> bool:
    return "".join(split_text(line)[0][0] for line in text.lines) == word.casefold()


def _rhymes(text: SplitText, _: None) -> bool:
    """Return whether the lines rhyme in pairs: on different words with the same last letters."""
    last = [split_text(line)[-1] for line in text.lines]
    pairs = list(zip(last[::2], last[1::2], strict=False))
    return len(last) % 2 == 0 and all(a != b and a[-RHYMING:] == b[-RHYMING:] for a, b in pairs)


def _has_title(text: SplitText, _: None) -> bool:
    return len(text.lines) > 1 and text.lines[0].isupper() and not text.lines[1].isupper()


KINDS: Mapping[str, Callable[[SplitText, Any], bool]] = {
    "words": lambda text, count: len(text.words) == count,
    "most": lambda text, count: len(text.words) <= count,
    "sentences": lambda text, count: text.sentences == count,
    "lines": lambda text, count: len(text.lines) == count,
    "has": lambda text, words: set(words) <= set(text.words),
    "no_letter": _avoids_letter,
    "no_word": lambda text, word: word not in text.words,
    "first": lambda text, word: text.words[0] == word,
    "last": lambda text, word: text.words[-1] == word,
    "sorted": lambda text, _: _is_sorted(text.words),
    "line_words": _have_words,
    "sorted_lines": _are_sorted_lines,
    "acrostic": _spells,
    "rhyme": _rhymes,
    "title": _has_title,
}


def soundness(
    text: SplitText, prompt: str, least: int, is_word: Callable[[str], bool], limit: Callable[[str, int], int]
) -> float:
    """Return the share of sound words among the words of `text`, or among `least` words if it has fewer.

    A word is sound if `is_word` accepts it, if it has not occurred more than `limit(word, number of words)` times, and
    if it is not part of `QUOTED` words in a row that stand in `prompt` or earlier in the text.
    """
    quoted = _quoted(text.words, split_text(prompt))
    seen: Counter[str] = Counter()
    sound = 0
    for position, word in enumerate(text.words):
        seen[word] += 1
        sound += is_word(word) and seen[word] <= limit(word, len(text.words)) and position not in quoted
    return sound / max(len(text.words), least, 1)


def _quoted(words: Sequence[str], prompt: Sequence[str]) -> Collection[int]:
    """Return the positions of the words in runs that stand in `prompt` or were in `words` before."""
    seen, positions = set(_runs(prompt)), set()
    for start, run in enumerate(_runs(words)):
        if run in seen:
            positions |= set(range(start, start + QUOTED))
        seen.add(run)
    return positions


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[start : start + QUOTED]) for start in range(len(words) - QUOTED + 1))

"""Which of several answers to one question are the same, and the majority among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sparring.parsing import answers


def majority(responses: Sequence[str], right: Sequence[bool]) -> int:
    """Return the index of the first response that gives the most frequent answer; among equals the earlier answer."""
    votes = ballots(responses, right)
    counts = Counter(votes)
    return votes.index(max(votes, key=lambda vote: counts[vote]))


def ballots(responses: Sequence[str], right: Sequence[bool]) -> list[str]:
    """Return a key for each response; two responses give the same answer if their keys are equal.

    All right responses give the same answer. Wrong ones are compared by the number or the words that they state.
    """
    return ["right" if is_right else f"wrong: {_stated(text)}" for text, is_right in zip(responses, right, strict=True)]


def _stated(response: str) -> str:
    """Return the answer that `response` states, for comparison with other wrong ones."""
    stated = answers.final(response)
    number = answers.read_number(stated)
    return " ".join(stated.casefold().split()) if number is None else str(number)

"""Which of several answers to one question are the same, and the majority among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sparring.parsing import answers


def majority(ballots: Sequence[str]) -> int:
    """Return the index of the first of the most frequent ballots; among equals the earlier one."""
    counts = Counter(ballots)
    return ballots.index(max(ballots, key=lambda ballot: counts[ballot]))


def ballots(
    responses: Sequence[str], right: Sequence[bool], gold: str | None = None, choices: Sequence[str] = ()
) -> list[str]:
    """Return a key for each response; two responses give the same answer if their keys are equal.

    All right responses give the same answer, however they are worded. Wrong ones are read as right ones are: by the
    option of `choices`, or by the number if `gold` is one; else by the number or the words that they state.
    """
    is_number = gold is not None and answers.read_number(gold) is not None
    return [
        "right" if is_right else f"wrong: {_stated(text, is_number, choices)}"
        for text, is_right in zip(responses, right, strict=True)
    ]


def _stated(response: str, is_number: bool, choices: Sequence[str]) -> str:
    """Return the answer that `response` states, for comparison with other wrong ones."""
    if choices and (letter := answers.chosen(response, choices)) is not None:
        return letter
    if is_number and (stated_number := answers.stated_number(response)) is not None:
        return str(stated_number)
    stated = answers.final(response)
    number = answers.read_number(stated)
    return " ".join(stated.casefold().split()) if number is None else str(number)

"""Detect text that gives the gold answer away, whoever wrote it and whether or not the writer knew the answer.

The measure is approximate: a text may contain the right number for another reason, or imply the answer without stating
it. It takes time linear in the length of the text.
"""

from __future__ import annotations

import re

from sparring.core.task import Problem, Task
from sparring.parsing import answers

_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?|\.\d+)", re.ASCII)
_STEP = re.compile(r"\bstep \(?\d+(?:\.\d+)*\)?", re.IGNORECASE)  # a step number is not an answer
_WORD = re.compile(r"\w+")


def states_gold(task: Task, problem: Problem, words: str, known: str = "") -> bool:
    """Return whether `words` give the gold answer away.

    They do if they would pass as an answer or mark the right choice. They also do if they contain the right number (in
    any notation) or the complete right words and the question does not. `known` is what the learner has written: gold
    that it contains is given away only by words that call it the answer.
    """
    gold = problem.gold
    if not gold:
        return False
    is_known = bool(known) and _holds(known, gold)
    if task.is_right(problem, words) or answers.number(gold, words):
        return not is_known or answers.states(words)
    if len(gold) == 1 and gold in answers.LETTERS:
        return re.search(rf"\({gold}\)|\b(?i:option|choice|answer) {gold}\b", words) is not None
    return (
        not is_known
        and _holds(words, gold)
        and not any(_holds(message.text, gold) for message in problem.chat.messages)
    )


def _holds(text: str, gold: str) -> bool:
    """Return whether `text` contains `gold`, as the same number or as complete words."""
    if (number := answers.read_number(gold)) is not None:
        return any(answers.read_number(digits) == number for digits in set(_NUMBER.findall(_STEP.sub(" ", text))))
    words = " ".join(_WORD.findall(gold.casefold()))
    return f" {words} " in f" {' '.join(_WORD.findall(text.casefold()))} " if words else gold in text

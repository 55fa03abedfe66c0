"""Whether words give the gold answer away: a measure of words, whoever says them and whether or not they were told.

Words may hold the right number for another reason, and may give the answer away without saying it. Reading them takes
time in proportion to their length.
"""

from __future__ import annotations

import re

from sparring.core.task import Problem, Task
from sparring.parsing import answers

_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?|\.\d+)", re.ASCII)
_STEP = re.compile(r"\bstep \(?\d+(?:\.\d+)*\)?", re.IGNORECASE)  # the number of a step is no answer
_WORD = re.compile(r"\w+")


def states_gold(task: Task, problem: Problem, words: str, known: str = "") -> bool:
    """Whether `words` give the gold answer away: they would pass for an answer, or mark the right choice, or hold the
    right number (in any notation) or the right words, whole, and the question does not.

    `known`: what the learner has said already. Gold that stands there is given away only by words that call it the
    answer."""
    gold = problem.gold
    if not gold:
        return False
    is_known = bool(known) and _holds(known, gold)
    if task.is_right(problem, words) or answers.number(gold, words):
        return not is_known or answers.states(words)
    if len(gold) == 1 and gold in answers.LETTERS:
        return re.search(rf"\({gold}\)|\b(?i:option|choice|answer) {gold}\b", words) is not None
    return not is_known and _holds(words, gold) and not any(_holds(said.text, gold) for said in problem.chat.messages)


def _holds(text: str, gold: str) -> bool:
    if (number := answers.read_number(gold)) is not None:
        return any(answers.read_number(said) == number for said in set(_NUMBER.findall(_STEP.sub(" ", text))))
    words = " ".join(_WORD.findall(gold.casefold()))
    return f" {words} " in f" {' '.join(_WORD.findall(text.casefold()))} " if words else gold in text

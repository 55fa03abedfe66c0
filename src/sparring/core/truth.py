"""Decide whether a remark on an answer is true, as far as that can be computed.

Three things are computed: what the task can check (`task.Verifies`), equalities of numbers, and a final answer that the
remark states. A remark is false if one of its statements is false. Everything else a remark may say is not computable,
and then there is no verdict. Like the measure of leakage, this one is approximate.
"""

from __future__ import annotations

import re

from sparring.core.task import Problem, Task, Verifies
from sparring.parsing import answers
from sparring.parsing.equalities import equalities

# "The answer is wrong" states no answer
_VERDICT = re.compile(r"(?:not|in)?[ -]?(?:right|correct|wrong|accurate|clear|close|different|off|fine|good)\b", re.I)


def is_true(task: Task, problem: Problem, answer: str, remark: str) -> bool | None:
    """Return whether `remark` on `answer` is true; None if nothing in it can be checked."""
    verdicts = equalities(remark)
    if isinstance(task, Verifies) and (verdict := task.is_true(problem, answer, remark)) is not None:
        verdicts.append(verdict)
    if not verdicts and (stated := _states_right(task, problem, remark)) is not None:
        verdicts.append(stated)
    return all(verdicts) if verdicts else None


def _states_right(task: Task, problem: Problem, remark: str) -> bool | None:
    """Return whether the final answer that `remark` states is right; None if it states none, or not certainly."""
    if problem.gold is None or not answers.states(remark):
        return None
    stated = answers.final(remark)
    if answers.read_number(problem.gold) is not None:
        number = answers.first_number(stated)
        is_answer = number is not None and stated[:1] in "+-$€£¥.(0123456789"
    elif problem.gold in answers.LETTERS:
        is_answer = re.match(r"\(?[A-Z]\b", stated) is not None
    else:
        is_answer = len(stated.split()) <= 2 * len(problem.gold.split()) + 2
    if not is_answer or _VERDICT.match(stated):
        return None
    return task.is_right(problem, remark)

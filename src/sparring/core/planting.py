"""Plant a fault at a known step of a right answer, so that partners can be examined.

A number or a word of one step is changed. A task with a checker must find its first fault in that step. Without a
checker the change must make an equality of numbers false; if no step holds an equality, any number of a step will do.
The last step is changed too, so that the answer ends wrong: a critic that knows the right answer sees that there is a
fault, and has to find the first one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sparring.core.task import Checks, Problem, Task
from sparring.parsing.equalities import equalities
from sparring.parsing.steps import Fault, Step

TRIES = 60  # changes that are tried at one step
_LETTER = re.compile(r"(?<!\w)[A-Z](?!\w)")  # a choice
_NUMBER = re.compile(r"(?<![\w.])\d{1,15}(?:\.\d{1,9})?(?![\w]|\.\d)", re.ASCII)
_WORD = re.compile(r"[^\W\d_]+")
_STATING = frozenset(("the", "The", "answer", "is", "So", "so"))  # they state an answer, and are no part of it
_SLIPS = (-10, -3, -2, -1, 1, 2, 3, 10)


@dataclass(frozen=True)
class Planted:
    """An answer that ends wrong, and its first fault."""

    answer: str
    fault: Fault


def right_answer(problem: Problem) -> str | None:
    """Return the worked answer to `problem`, or its gold answer alone; None if it has neither."""
    return problem.rationale or (f"The answer is {problem.gold}." if problem.gold else None)


def plant(task: Task, problem: Problem, rng: random.Random) -> Planted | None:
    """Return the right answer to `problem` with a fault at a random step; None if there is no such answer or place."""
    answer = right_answer(problem)
    if answer is None or problem.gold is None:
        return None
    steps = list(task.layout.split(answer))
    words = _words(problem, answer)
    if not isinstance(task, Checks):
        steps = [step for step in steps if any(equalities(step.text))] or steps
    for step in rng.sample(steps, len(steps)):
        for changed, part in _changes(answer, step, words, rng):
            fault = _fault(task, problem, changed, step, part)
            ended = _ended_wrong(task, problem, changed, words, rng) if fault else None
            if fault and ended is not None and _is_first(task, problem, ended, fault):
                return Planted(ended, fault)
    return None


def _words(problem: Problem, answer: str) -> list[str]:
    """Return the words of the question that the answer uses, or all of both if those are fewer than two."""
    asked, used = (set(_WORD.findall(text)) - _STATING for text in (problem.chat.text, answer))
    shared = asked & used
    choices = {word for word in asked | used if _LETTER.fullmatch(word)}
    return sorted((shared if len(shared) > 1 else asked | used) | choices)


def _changes(answer: str, step: Step, words: Sequence[str], rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield `answer` with another number, choice or word in `step`, and what was put there; numbers come first."""
    start = answer.index(step.text, step.start)
    choices = [word for word in words if _LETTER.fullmatch(word)]
    for pattern, others in ((_NUMBER, ()), (_LETTER, choices), (_WORD, words)):
        found = [match for match in pattern.finditer(step.text) if pattern is _NUMBER or match[0] in others]
        for _ in range(TRIES if found else 0):
            match = rng.choice(found)
            other = rng.choice(others) if others else _other_number(match[0], rng)
            if other != match[0]:
                yield answer[: start + match.start()] + other + answer[start + match.end() :], other


def _other_number(number: str, rng: random.Random) -> str:
    """Return another number with as many decimals, not negative."""
    whole, _, decimals = number.partition(".")
    value = int(whole + decimals)
    other = rng.choice([value + slip for slip in _SLIPS if value + slip >= 0])
    digits = str(other).rjust(len(decimals) + 1, "0")
    return f"{digits[: len(digits) - len(decimals)]}.{digits[len(digits) - len(decimals) :]}" if decimals else digits


def _fault(task: Task, problem: Problem, answer: str, step: Step, part: str) -> Fault | None:
    """Return the fault of `answer`, whose `step` now holds `part`; None if its first fault is not there."""
    if isinstance(task, Checks):
        fault = task.first_error(problem, answer)
        return fault if fault is not None and fault.step == step.label else None
    *_, last = task.layout.split(answer)
    changed = next((other for other in task.layout.split(answer) if other.label == step.label), last)
    is_wrong = _NUMBER.fullmatch(part) is not None and not (equalities(step.text) and all(equalities(changed.text)))
    if changed.label == last.label:
        is_wrong = not task.is_right(problem, answer)
    return Fault(step.label, part, "it is not what the solution has") if is_wrong else None


def _ended_wrong(task: Task, problem: Problem, answer: str, words: Sequence[str], rng: random.Random) -> str | None:
    """Return `answer` if it ends wrong, or with its last step changed so that it does; None if that is not possible."""
    if not task.is_right(problem, answer):
        return answer
    last = task.layout.split(answer)[-1]
    return next((ended for ended, _ in _changes(answer, last, words, rng) if not task.is_right(problem, ended)), None)


def _is_first(task: Task, problem: Problem, answer: str, fault: Fault) -> bool:
    """Return whether `fault` is still the first one after the end was changed."""
    return not isinstance(task, Checks) or task.first_error(problem, answer) == fault

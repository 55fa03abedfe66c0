"""Measure a learner's accuracy on held-out problems, with a 95 % interval, in total and per bin.

`Answers` decides how to ask: as the method that trained the learner, or in a single reply. Only the task sees the gold
answer. A failed reply counts as wrong and is also counted as failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sparring.common.concurrency import bounded_gather
from sparring.common.errors import ConversationError
from sparring.common.ranking import wilson
from sparring.core.chat import Chat
from sparring.core.method import Answered
from sparring.core.speaker import Speaker
from sparring.core.task import Problem, Task
from sparring.parsing.steps import StepFormat


class Answers(Protocol):
    """A way of asking: every method, and every class in `protocols/`."""

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return `learner`'s answer to `question`; ConversationError if it gives none."""
        ...


@dataclass(frozen=True)
class Outcome:
    """One problem's result: `right` at the end, `right_first` at the first attempt."""

    problem: str
    bin: str
    right: bool
    right_first: bool
    response: str = ""
    attempts: int = 0
    failure: str = ""


@dataclass(frozen=True)
class Rate:
    """A proportion: `right` of `total`."""

    right: int
    total: int

    @property
    def value(self) -> float:
        """The proportion; 0 if `total` is 0."""
        return self.right / self.total if self.total else 0.0

    def plain(self) -> dict[str, float]:
        """Return accuracy with its 95 % interval (Wilson), and the number of problems."""
        low, high = wilson(self.right, self.total)
        return {"accuracy": self.value, "low": low, "high": high, "problems": self.total}


@dataclass(frozen=True)
class Evaluation:
    """The outcomes on a list of problems, in its order."""

    outcomes: tuple[Outcome, ...]

    @property
    def accuracy(self) -> Rate:
        """The proportion of problems whose final answer is right."""
        return _rate(self.outcomes)

    def bins(self) -> Mapping[str, Rate]:
        """Return the accuracy of each bin."""
        names = sorted({outcome.bin for outcome in self.outcomes})
        return {name: _rate([o for o in self.outcomes if o.bin == name]) for name in names}

    def plain(self) -> dict[str, Any]:
        """Return all figures as plain data, with TriPosT's measures: revised, fixed and broken answers."""
        total = max(1, len(self.outcomes))
        kinds = Counter(outcome.failure.split(":")[0] for outcome in self.outcomes if outcome.failure)
        return {
            **self.accuracy.plain(),
            "right_first": sum(o.right_first for o in self.outcomes) / total,
            "revised": sum(o.attempts > 1 for o in self.outcomes) / total,
            "fixed": sum(o.right and not o.right_first for o in self.outcomes) / total,
            "broken": sum(o.right_first and not o.right for o in self.outcomes) / total,
            "failed": dict(kinds),
            "bins": {name: rate.plain() for name, rate in self.bins().items()},
        }


def _rate(outcomes: Sequence[Outcome]) -> Rate:
    return Rate(sum(outcome.right for outcome in outcomes), len(outcomes))


async def evaluate(
    task: Task,
    problems: Sequence[Problem],
    way: Answers,
    speaker: Callable[[Problem], Speaker],
    *,
    at_once: int = 512,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Evaluation:
    """Ask all `problems`, `at_once` at a time, as `way` asks, and return their outcomes in order."""

    async def one(problem: Problem) -> Outcome:
        outcome = await _outcome(task, problem, way, speaker(problem))
        on_outcome(outcome)
        return outcome

    return Evaluation(tuple(await bounded_gather(one, problems, at_once)))


async def _outcome(task: Task, problem: Problem, way: Answers, speaker: Speaker) -> Outcome:
    try:
        answered = await way.answer(problem.chat, speaker, task.layout)
    except ConversationError as error:
        return Outcome(problem.id, problem.bin, False, False, failure=f"{type(error).__name__}: {error}")
    return Outcome(
        problem.id,
        problem.bin,
        task.is_right(problem, answered.response),
        task.is_right(problem, answered.attempts[0]),
        answered.response,
        len(answered.attempts),
    )

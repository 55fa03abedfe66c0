"""How well a learner does on held-out problems, with a 95 % interval, over all and per bin.

An answer is asked for as some protocol says (`Answers`): as the method that trained the learner uses it, or alone. The
gold answer is only ever shown to the task. A reply that fails is wrong, and counted as failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sparring.common.concurrency import together
from sparring.common.errors import ConversationError
from sparring.common.ranking import wilson
from sparring.core.chat import Chat
from sparring.core.method import Answered
from sparring.core.speaker import Speaker
from sparring.core.task import Problem, Task
from sparring.parsing.steps import StepFormat


class Answers(Protocol):
    """A way of asking: every method is one, and so is everything in `protocols/`."""

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """How `learner` answers `question`; raises ConversationError where it gives no answer."""
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
    """`right` of `total`."""

    right: int
    total: int

    @property
    def value(self) -> float:
        """The share, 0 where nothing was counted."""
        return self.right / self.total if self.total else 0.0

    def plain(self) -> dict[str, float]:
        """Accuracy with its 95 % interval (Wilson), and the count."""
        low, high = wilson(self.right, self.total)
        return {"accuracy": self.value, "low": low, "high": high, "problems": self.total}


@dataclass(frozen=True)
class Evaluation:
    """The outcomes on some problems, in their order."""

    outcomes: tuple[Outcome, ...]

    @property
    def accuracy(self) -> Rate:
        """Right at the end, over all."""
        return _rate(self.outcomes)

    def bins(self) -> Mapping[str, Rate]:
        """The same for each bin."""
        names = sorted({outcome.bin for outcome in self.outcomes})
        return {name: _rate([o for o in self.outcomes if o.bin == name]) for name in names}

    def plain(self) -> dict[str, Any]:
        """All figures: right at first, changed for the better and for the worse (TriPosT's measures), failures."""
        total = len(self.outcomes)
        kinds = Counter(outcome.failure.split(":")[0] for outcome in self.outcomes if outcome.failure)
        return {
            **self.accuracy.plain(),
            "right_first": sum(o.right_first for o in self.outcomes) / max(1, total),
            "revised": sum(o.attempts > 1 for o in self.outcomes) / max(1, total),
            "fixed": sum(o.right and not o.right_first for o in self.outcomes) / max(1, total),
            "broken": sum(o.right_first and not o.right for o in self.outcomes) / max(1, total),
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
    """Asks all `problems`, `at_once` at a time, the way that `way` asks."""

    async def one(problem: Problem) -> Outcome:
        outcome = await _outcome(task, problem, way, speaker(problem))
        on_outcome(outcome)
        return outcome

    return Evaluation(tuple(await together(one, problems, at_once)))


async def _outcome(task: Task, problem: Problem, way: Answers, speaker: Speaker) -> Outcome:
    try:
        found = await way.answer(problem.chat, speaker, task.layout)
    except ConversationError as error:
        return Outcome(problem.id, problem.bin, False, False, failure=f"{type(error).__name__}: {error}")
    return Outcome(
        problem.id,
        problem.bin,
        task.is_right(problem, found.response),
        task.is_right(problem, found.attempts[0]),
        found.response,
        len(found.attempts),
    )

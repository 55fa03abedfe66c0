"""Answer alone: once and greedily, or several times at a temperature for pass@k and the majority vote.

A learner answers as its method trained it, so its own revisions count. pass@k is the unbiased estimate of Chen et al.
(arXiv 2107.03374): the probability that at least one of k answers is right, from `samples` answers.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval

from sparring.common.errors import ConfigError
from sparring.core.method import Answered
from sparring.core.protocol import (
    ACCURACY,
    EvaluationProtocol,
    Measured,
    NoAnswer,
    Participant,
    ballots_of,
    revision_measures,
)
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.votes import majority


@dataclass(frozen=True)
class Solo(EvaluationProtocol):
    """One greedy answer, or `samples` sampled ones with pass@k for each of `k` (default: `samples`) and the vote."""

    name: ClassVar[str] = "solo"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})
    primary: ClassVar[str] = ACCURACY
    learners: ClassVar[tuple[int, int | None]] = (1, 1)

    samples: Annotated[int, Ge(1)] = 1
    k: tuple[Annotated[int, Ge(1)], ...] = ()
    temperature: Annotated[float, Gt(0)] = 0.8  # of several samples; one answer is greedy
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        if too_large := [k for k in self.k if k > self.samples]:
            raise ConfigError(f"k is larger than samples (got {too_large[0]} and {self.samples}); raise samples")

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Ask once, or `samples` times."""
        [learner] = learners
        if self.samples > 1:
            return await self._measure_samples(problem, task, learner)
        answered = await learner.answer(problem.chat)
        measures = {ACCURACY: task.is_right(problem, answered.response)}
        if learner.revises:
            measures |= revision_measures(problem, task, answered)
        return Measured(measures, answered.response, (answered.chat,))

    async def _measure_samples(self, problem: Problem, task: Task, learner: Participant) -> Measured:
        draws = [learner.sampled(self.temperature, self.top_p, number) for number in range(self.samples)]
        results = await asyncio.gather(*(draw.try_answer(problem.chat) for draw in draws))
        given = [result for result in results if isinstance(result, Answered)]
        right = [task.is_right(problem, answered.response) for answered in given]
        voted = majority(ballots_of(problem, [answered.response for answered in given], right)) if given else None
        count = sum(right)
        return Measured(
            {
                ACCURACY: count / self.samples,
                "majority": voted is not None and right[voted],
                **{f"pass@{k}": pass_at(k, count, self.samples) for k in self.k or (self.samples,)},
            },
            "" if voted is None else given[voted].response,
            tuple(result.chat for result in results),
            tuple(result.failure for result in results if isinstance(result, NoAnswer)),
        )


def pass_at(k: int, right: int, samples: int) -> float:
    """Return the probability that at least one of `k` answers, drawn without replacement from `samples`, is right."""
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)

"""A judge that compares the final answers with the gold answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

from sparring.core.partner import Scores, Verdict, by_pairs
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.thought import Answer


@dataclass(frozen=True)
class TaskJudge:
    """Scores 1 for right and 0 for wrong, answer by answer or by pairs; errs in a fraction `wrong` of its calls."""

    name: ClassVar[str] = "task_judge"
    by: ClassVar[str] = "task"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})

    task: Task
    mode: Literal["pointwise", "pairwise"] = "pointwise"
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.0

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return a score for each answer."""
        if self.mode == "pointwise":
            is_right = {answer: self.task.is_right(problem, answer.text) for answer in answers}
            return Scores(tuple(float(is_right[answer] != (rng.random() < self.wrong)) for answer in answers))

        async def compare(first: Answer, second: Answer) -> Verdict:
            return await self.compare(problem, first, second, rng)

        return await by_pairs(compare, answers)

    async def compare(self, problem: Problem, first: Answer, second: Answer, rng: random.Random) -> Verdict:
        """Return the right one of two answers, or a tie."""
        is_first_right, is_second_right = (self.task.is_right(problem, answer.text) for answer in (first, second))
        if is_first_right == is_second_right:
            return "tie"
        return "first" if is_first_right != (rng.random() < self.wrong) else "second"

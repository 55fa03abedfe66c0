"""A judge that has the task grade the answers, or compare them with the gold answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

from sparring.core.partner import Scores, Verdict, by_pairs
from sparring.core.task import Grades, Offer, Problem, Task
from sparring.parsing.thought import Answer


@dataclass(frozen=True)
class TaskJudge:
    """Scores by the task's grade, or 1 for right and 0 for wrong, answer by answer or by pairs.

    It errs in a fraction `wrong` of its calls: it turns a grade or a verdict round.
    """

    name: ClassVar[str] = "task_judge"
    by: ClassVar[str] = "task"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold"})

    task: Task
    mode: Literal["pointwise", "pairwise"] = "pointwise"
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.0

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return a score for each answer."""
        if self.mode == "pointwise":
            grades = {answer: self._grade(problem, answer) for answer in answers}
            errs = [rng.random() < self.wrong for _ in answers]
            return Scores(tuple(1 - grades[a] if err else grades[a] for a, err in zip(answers, errs, strict=True)))

        async def compare(first: Answer, second: Answer) -> Verdict:
            return await self.compare(problem, first, second, rng)

        return await by_pairs(compare, answers)

    async def compare(self, problem: Problem, first: Answer, second: Answer, rng: random.Random) -> Verdict:
        """Return the better of two answers, or a tie."""
        difference = self._grade(problem, first) - self._grade(problem, second)
        if difference == 0:
            return "tie"
        return "first" if (difference > 0) != (rng.random() < self.wrong) else "second"

    def _grade(self, problem: Problem, answer: Answer) -> float:
        if isinstance(self.task, Grades):
            return self.task.grade(problem, answer.text)
        return float(self.task.is_right(problem, answer.text))

"""A critic that finds the first wrong step with the task's checker."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from annotated_types import Interval

from sparring.core.task import Checks, Offer, Problem, Task
from sparring.parsing.steps import Fault


class _Checking(Checks, Task, Protocol):
    """A task with a checker."""


@dataclass(frozen=True)
class TaskCritic:
    """Names the first fault; in a fraction `wrong` of its calls another step of the attempt, at random."""

    name: ClassVar[str] = "task_critic"
    by: ClassVar[str] = "task"
    needs: ClassVar[frozenset[Offer]] = frozenset({"first_error"})

    task: _Checking
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.0

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Return the first wrong step of `attempt`, None if all steps are correct."""
        fault = self.task.first_error(problem, attempt)
        if rng.random() >= self.wrong:
            return fault
        others = [step for step in self.task.layout.split(attempt) if fault is None or step.label != fault.step]
        if not others:
            return None
        step = rng.choice(others)
        return Fault(step.label, step.text, "it does not follow")

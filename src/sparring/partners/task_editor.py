"""An editor that completes the steps before the fault with the task's solver."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from annotated_types import Interval

from sparring.core.slips import slips
from sparring.core.task import Offer, Problem, Solves, Task
from sparring.parsing.steps import Fault


class _Solving(Solves, Task, Protocol):
    """A task with a solver."""


@dataclass(frozen=True)
class TaskEditor:
    """Keeps the steps before the fault and completes them; in a fraction `wrong` of its calls with a wrong answer."""

    name: ClassVar[str] = "task_editor"
    by: ClassVar[str] = "task"
    needs: ClassVar[frozenset[Offer]] = frozenset({"solution"})

    task: _Solving
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.0

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """Return the corrected attempt."""
        prefix = self.task.layout.before(attempt, fault.step)
        solution = self.task.solve(problem, prefix)
        return self._with_slip(problem, solution, rng) if rng.random() < self.wrong else solution

    def _with_slip(self, problem: Problem, solution: str, rng: random.Random) -> str:
        """Replace one character of the last step of `solution` so that the answer is wrong."""
        last_step = self.task.layout.split(solution)[-1].text
        changed = slips(solution, solution.rindex(last_step), len(last_step), rng)
        return next((text for text in changed if not self.task.is_right(problem, text)), solution)

"""An editor that is a program: the task's solver goes on from the steps before the fault."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from annotated_types import Interval

from sparring.core.task import Offer, Problem, Solves, Task
from sparring.parsing.steps import Fault


class _Solving(Solves, Task, Protocol):
    """A task that can solve."""


@dataclass(frozen=True)
class TaskEditor:
    """Keeps what stands before the fault and finishes rightly; in a share `wrong` of its calls with a wrong end."""

    name: ClassVar[str] = "task_editor"
    by: ClassVar[str] = "task"
    needs: ClassVar[frozenset[Offer]] = frozenset({"solution"})

    task: _Solving
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.0

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """The mended attempt."""
        kept = self.task.layout.before(attempt, fault.step)
        mended = self.task.solve(problem, kept)
        return self._with_slip(problem, mended, rng) if rng.random() < self.wrong else mended

    def _with_slip(self, problem: Problem, mended: str, rng: random.Random) -> str:
        """`mended` with one character of its last step miswritten, so that it does not end right any more."""
        last = self.task.layout.split(mended)[-1].text
        start = mended.rindex(last)
        places = [start + found.start() for found in re.finditer(r"\d", last)]
        alphabet = "0123456789"
        if not places:
            places = [start + found.start() for found in re.finditer(r"[a-z]", last)]
            alphabet = "abcdefghijklmnopqrstuvwxyz"
        slips = [(place, character) for place in places for character in alphabet if character != mended[place]]
        rng.shuffle(slips)
        miswritten = (mended[:place] + character + mended[place + 1 :] for place, character in slips)
        return next((text for text in miswritten if not self.task.is_right(problem, text)), mended)

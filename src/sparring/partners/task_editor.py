"""An editor that is a program: the task's solver goes on from the steps before the fault."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from annotated_types import Interval

from sparring.steps import Fault
from sparring.task import Offer, Problem, Solves, Task


class _Solving(Solves, Task, Protocol):
    """A task that can solve."""


@dataclass(frozen=True)
class TaskEditor:
    """Keeps what stands before the fault and finishes rightly; in a share `wrong` of its calls with a slip."""

    name: ClassVar[str] = "task_editor"
    needs: ClassVar[frozenset[Offer]] = frozenset({"solution"})

    task: _Solving
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.0

    async def improve(self, problem: Problem, attempt: str, fault: Fault, draw: random.Random) -> str:
        """The mended attempt."""
        kept = self.task.layout.before(attempt, fault.step)
        mended = self.task.solve(problem, kept)
        return _with_slip(mended, len(kept), draw) if draw.random() < self.wrong else mended


def _with_slip(text: str, start: int, draw: random.Random) -> str:
    """`text` with one character after `start` miswritten: a digit as another, or a letter where there is no digit."""
    places = [m.start() for m in re.finditer(r"\d", text) if m.start() >= start]
    alphabet = "0123456789" if places else "abcdefghijklmnopqrstuvwxyz"
    places = places or [m.start() for m in re.finditer(r"[a-z]", text) if m.start() >= start]
    if not places:
        return text
    place = draw.choice(places)
    return text[:place] + draw.choice([c for c in alphabet if c != text[place]]) + text[place + 1 :]

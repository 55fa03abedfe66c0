"""An author that copies the worked answer, with a slip in a share of its attempts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from sparring.common.errors import Unreadable
from sparring.core.slips import slips
from sparring.core.task import Offer, Problem, Task, is_sound


@dataclass(frozen=True)
class TaskAuthor:
    """Writes the worked answer, in a fraction `wrong` of its calls with one character miswritten in a random step."""

    name: ClassVar[str] = "task_author"
    by: ClassVar[str] = "task"
    needs: ClassVar[frozenset[Offer]] = frozenset({"gold", "rationale"})

    task: Task
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.5

    async def attempt(self, problem: Problem, rng: random.Random) -> str:
        """Return an attempt; Unreadable if no slip makes the worked answer wrong."""
        answer = problem.rationale or ""
        if rng.random() >= self.wrong:
            return answer
        steps = list(self.task.layout.split(answer))
        rng.shuffle(steps)
        for step in steps:
            start = answer.index(step.text, step.start)  # after the label
            for text in slips(answer, start, len(step.text), rng):
                if not is_sound(self.task, problem, text):
                    return text
        raise Unreadable("no slip makes the worked answer wrong")

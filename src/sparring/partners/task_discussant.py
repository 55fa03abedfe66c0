"""A discussant that is a program: true hints and plausible false claims, computed by the task."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from sparring.core.chat import Chat
from sparring.core.partner import Stance
from sparring.core.task import Claims, Offer, Problem


@dataclass(frozen=True)
class TaskDiscussant:
    """Supports with a true hint and attacks with a false claim; the other way round in a share `wrong` of its calls."""

    name: ClassVar[str] = "task_discussant"
    by: ClassVar[str] = "task"
    needs: ClassVar[frozenset[Offer]] = frozenset({"claims"})

    task: Claims
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.0

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """A remark on the newest answer."""
        truly = (stance == "supportive") != (rng.random() < self.wrong)
        say = self.task.hint if truly else self.task.false_claim
        return say(problem, chat.text, rng)

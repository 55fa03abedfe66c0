"""A discussant that makes true hints and plausible false claims with the task's own functions."""

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
    """Supports with a true hint and attacks with a false claim; the reverse in a fraction `wrong` of its calls."""

    name: ClassVar[str] = "task_discussant"
    by: ClassVar[str] = "task"
    needs: ClassVar[frozenset[Offer]] = frozenset({"claims"})

    task: Claims
    wrong: Annotated[float, Interval(ge=0, le=1)] = 0.0

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """Return a remark on the last answer."""
        is_truthful = (stance == "supportive") != (rng.random() < self.wrong)
        remark = self.task.hint if is_truthful else self.task.false_claim
        return remark(problem, chat.text, rng)

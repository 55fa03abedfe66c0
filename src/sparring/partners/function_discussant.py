"""A discussant that is a function."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from sparring.core.chat import Chat
from sparring.core.function_partner import FUNCTION, FunctionPartner
from sparring.core.partner import DISCUSSANT, Stance
from sparring.core.task import Problem
from sparring.core.user_function import SAID, text_of


@dataclass(frozen=True)
class FunctionDiscussant(FunctionPartner):
    """Remarks what your function returns; `chat` is the discussion, `answer` the text of its last message."""

    name: ClassVar[str] = "function_discussant"
    by: ClassVar[str] = FUNCTION
    role: ClassVar[str] = DISCUSSANT
    offered: ClassVar[tuple[str, ...]] = (*SAID, "stance")

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """Return the function's remark."""
        said = await self._ask(problem, rng, **self._said(problem, chat.text) | {"chat": chat, "stance": stance})
        return text_of(self._function, said, problem)

"""An author that is a function."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from sparring.core.function_partner import FUNCTION, FunctionPartner
from sparring.core.partner import AUTHOR
from sparring.core.task import Problem
from sparring.core.user_function import text_of


@dataclass(frozen=True)
class FunctionAuthor(FunctionPartner):
    """Writes the attempts that your function returns."""

    name: ClassVar[str] = "function_author"
    by: ClassVar[str] = FUNCTION
    role: ClassVar[str] = AUTHOR
    offered: ClassVar[tuple[str, ...]] = ()

    async def attempt(self, problem: Problem, rng: random.Random) -> str:
        """Return the function's attempt."""
        return text_of(self._function, await self._ask(problem, rng), problem)

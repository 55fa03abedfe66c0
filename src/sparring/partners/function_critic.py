"""A critic that is a function."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from sparring.common.errors import Unreadable
from sparring.core.function_partner import FUNCTION, FunctionPartner
from sparring.core.partner import CRITIC
from sparring.core.task import Problem
from sparring.core.user_function import SAID
from sparring.parsing.steps import Fault


@dataclass(frozen=True)
class FunctionCritic(FunctionPartner):
    """Finds the fault that your function returns: a `Fault`, the wrong part as a text, or None."""

    name: ClassVar[str] = "function_critic"
    by: ClassVar[str] = FUNCTION
    role: ClassVar[str] = CRITIC
    offered: ClassVar[tuple[str, ...]] = (*SAID, "steps")

    async def feedback(self, problem: Problem, attempt: str, rng: random.Random) -> Fault | None:
        """Return the fault; Unreadable if it does not occur in `attempt`. `steps` are the attempt's steps."""
        layout = self.task.layout
        steps = layout.split(attempt)
        found = await self._ask(problem, rng, **self._said(problem, attempt), steps=steps)
        if isinstance(found, str) and found.strip():
            step = next((step for step in steps if found in step.text), None)
            if step is None:
                raise Unreadable(f"no step contains the part {found!r}; quote it letter for letter")
            found = Fault(step.label, found)
        if found is not None and not isinstance(found, Fault):
            raise self._function.returned(found, "a sparring.Fault, the wrong part as a text, or None", problem)
        return None if found is None else layout.locate(attempt, found)

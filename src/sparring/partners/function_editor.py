"""An editor that is a function."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from sparring.common.errors import Unreadable
from sparring.core.function_partner import FUNCTION, FunctionPartner
from sparring.core.partner import EDITOR
from sparring.core.task import Problem
from sparring.core.user_function import SAID, text_of
from sparring.parsing.steps import Fault


@dataclass(frozen=True)
class FunctionEditor(FunctionPartner):
    """Corrects by your function, which returns the new attempt, with the steps before the fault or without them."""

    name: ClassVar[str] = "function_editor"
    by: ClassVar[str] = FUNCTION
    role: ClassVar[str] = EDITOR
    offered: ClassVar[tuple[str, ...]] = (*SAID, "fault", "kept")

    async def improve(self, problem: Problem, attempt: str, fault: Fault, rng: random.Random) -> str:
        """Return the new attempt; Unreadable if it keeps the fault. `kept` is the text before the fault."""
        layout = self.task.layout
        kept = layout.before(attempt, fault.step)
        known = self._said(problem, attempt) | {"fault": fault, "kept": kept}
        text = text_of(self._function, await self._ask(problem, rng, **known), problem)
        update = text if text.startswith(kept) else kept + text
        if reason := layout.refusal(attempt, fault, update):
            raise Unreadable(f"the update is refused: {reason}")
        return update

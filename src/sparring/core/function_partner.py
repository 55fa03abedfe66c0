"""What the partners that are functions share: the keys of a recipe, and how the function is asked."""

from __future__ import annotations

import random
from abc import ABC
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le

from sparring.common.schema import ScriptFunction
from sparring.core.attempts import note_asked
from sparring.core.task import Offer, Problem, Task
from sparring.core.user_function import UserFunction, about, row_of

FUNCTION = "function"  # `by` of such a partner


@dataclass(frozen=True)
class FunctionPartner(ABC):
    """A partner that asks `function`.

    A function that is not asynchronous runs in at most `threads` threads at once. 0: in the thread of the event loop,
    for a function that uses signals. None: as its decorator says, else 1.
    """

    needs: ClassVar[frozenset[Offer]] = frozenset()
    role: ClassVar[str]
    offered: ClassVar[tuple[str, ...]]  # parameters beside those that are about the problem, and `rng`

    task: Task
    function: ScriptFunction
    threads: Annotated[int, Ge(0), Le(1024)] | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for a function that cannot be called with what there is."""
        self._function.check(self.task, (*self.offered, "rng"))

    async def _ask(self, problem: Problem, rng: random.Random, **known: Any) -> Any:
        """Return what the function returns for `problem`; `known` are the values of the role."""
        return await self._call(problem, {**about(problem), **known, "rng": rng})

    def _said(self, problem: Problem, text: str) -> dict[str, Any]:
        return self._function.said(problem, text)

    async def _call(self, problem: Problem, known: dict[str, Any], columns: dict[str, Any] | None = None) -> Any:
        """Return what the function returns, with its arguments from `known` and `columns` (None: the problem's row)."""
        note_asked()
        arguments = self._function.arguments(known, row_of(problem) if columns is None else columns)
        threads: int = self._function.setting("threads", self.threads, 1)
        return await self._function.ask(problem, arguments, threads)

    @cached_property
    def _function(self) -> UserFunction:
        return UserFunction.load(self.function, f"the {self.role}")

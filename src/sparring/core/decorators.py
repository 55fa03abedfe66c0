"""Decorators for a user's functions: `judge` keeps its settings beside a function, `task` makes a task of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from sparring.common.functions import GivenFunction
from sparring.core.function_task import task_of
from sparring.core.task import Task
from sparring.core.user_function import SETTINGS, UserFunction, scored_names
from sparring.parsing.steps import LINES, StepFormat

_Function = TypeVar("_Function", bound=Callable[..., object])


@overload
def judge(function: _Function) -> _Function: ...
@overload
def judge(*, threads: int | None = None, messages: bool | None = None) -> Callable[[_Function], _Function]: ...
def judge(function: Any = None, *, threads: int | None = None, messages: bool | None = None) -> Any:
    """Check at once that a function can be a judge, and keep the settings of `FunctionJudge` beside it.

    It stays a plain function, which is called as before. A recipe's own settings go before those given here.
    """
    if function is None:
        return lambda decorated: _as_judge(decorated, {"threads": threads, "messages": messages})
    return _as_judge(function, {})


def _as_judge(function: Callable[..., Any], settings: dict[str, Any]) -> Callable[..., Any]:
    scored_names(UserFunction.load(GivenFunction(function), "the judge"))
    setattr(function, SETTINGS, {name: value for name, value in settings.items() if value is not None})
    return function


@overload
def task(function: Callable[..., object]) -> Callable[..., Task]: ...
@overload
def task(
    *, right: str | Callable[..., object] = "exact", layout: StepFormat = LINES
) -> Callable[[Callable[..., object]], Callable[..., Task]]: ...
def task(function: Any = None, *, right: str | Callable[..., object] = "exact", layout: StepFormat = LINES) -> Any:
    """Make a task of a function that draws one problem with `rng`, or that returns all rows.

    Its other parameters become keys of the recipe. `right` is "exact", "number" or a function like `right(response,
    gold)`. The result is a class: called with keys it is a task, and a recipe names it like any other.
    """
    if function is None:
        return lambda decorated: task_of(decorated, right, layout)
    return task_of(function)

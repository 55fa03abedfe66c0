"""A task that is a function: it draws one problem with the random generator `rng`, or returns all its rows.

The function's other parameters are the keys of the recipe. A problem is a `Problem`, a question, a pair of question and
answer, or a row: `question` or `prompt`, and if there are any `answer`, `rationale`, `category` and columns of its own.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, get_type_hints

from annotated_types import Ge

from sparring.common.errors import ConfigError, SparringError, nearest
from sparring.common.files import is_json
from sparring.common.functions import GivenFunction, is_async
from sparring.common.seeds import digest, named_rng
from sparring.core.chat import question
from sparring.core.right_function import RightFunction
from sparring.core.task import Pool, Problem, Split
from sparring.core.user_function import COLUMNS, UserFunction, where_failed
from sparring.parsing import answers
from sparring.parsing.steps import LINES, StepFormat

_RULES: dict[str, Callable[[str, str], bool]] = {"exact": answers.exact, "number": answers.number}
_OURS = ("rng", "split")  # parameters that are no keys


@dataclass(frozen=True)
class FunctionTask:
    """Problems from a function; `right` is a rule (`exact`, `number`) or a function."""

    function: ClassVar[Callable[..., Any]]
    right: ClassVar[str | RightFunction]
    layout: ClassVar[StepFormat]

    seed: int = 0

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return whether `response` is right; ConfigError if the rule needs an answer that the problem lacks."""
        if not response.strip():
            return False
        if isinstance(self.right, RightFunction):
            return self.right.is_right(problem, response)
        if problem.gold is None:
            raise ConfigError("the task's function gives no answers; give them, or a function with right=")
        return _RULES[self.right](problem.gold, response)

    def _returned(self, **ours: Any) -> Any:
        """Return what the function returns for the keys and those of `ours` that it takes."""
        call = type(self).function
        names = inspect.signature(call).parameters
        settings = {name: getattr(self, name) for name in names if name not in _OURS}
        try:
            return call(**settings, **{name: value for name, value in ours.items() if name in names})
        except SparringError:
            raise
        except (Exception, SystemExit) as error:
            where = where_failed(call, error)
            raise ConfigError(f"the task {call.__name__} failed ({where}): {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class DrawnTask(FunctionTask):
    """Problems that a function draws one at a time."""

    train: Annotated[int, Ge(0)] = 1000
    development: Annotated[int, Ge(0)] = 100
    test: Annotated[int, Ge(0)] = 100

    @cached_property
    def _pool(self) -> Pool:
        return Pool(self._draw, self.seed, self.train, self.development, self.test)

    def _draw(self, rng: random.Random, split: Split) -> Problem:
        return _problem(self._returned(rng=rng, split=split), type(self).function)

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of `split`."""
        return self._pool.problems(split)

    def endless(self) -> Iterator[Problem]:
        """Yield distinct training problems without end, the training split first."""
        return self._pool.endless()


@dataclass(frozen=True)
class RowsTask(FunctionTask):
    """Problems that a function returns all at once; the splits are drawn by `seed`.

    `development` and `test` are numbers of rows (None: a tenth). A repeated problem is kept once.
    """

    development: Annotated[int, Ge(0)] | None = None
    test: Annotated[int, Ge(0)] | None = None

    @cached_property
    def _splits(self) -> dict[Split, list[Problem]]:
        call = type(self).function
        returned = self._returned()
        if not isinstance(returned, Iterable) or isinstance(returned, str | Mapping):
            raise ConfigError(f"the task {call.__name__} returned {str(returned)[:60]!r}; return rows, or take rng")
        distinct = list({problem.id: problem for problem in (_problem(row, call) for row in returned)}.values())
        named_rng(self.seed, "rows").shuffle(distinct)
        test = len(distinct) // 10 if self.test is None else self.test
        development = len(distinct) // 10 if self.development is None else self.development
        if test + development > len(distinct):
            raise ConfigError(f"development and test are more than the {len(distinct)} rows; ask for fewer")
        rest = distinct[test + development :]
        return {"test": distinct[:test], "development": distinct[test : test + development], "train": rest}

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return the problems of `split`."""
        return self._splits[split]


@cache
def task_of(
    function: Callable[..., Any],
    right: str | Callable[..., object] = "exact",
    layout: StepFormat = LINES,
) -> type[FunctionTask]:
    """Return the task class that `function` is; ConfigError if it cannot be one."""
    if is_async(function):
        raise ConfigError(f"the task {function.__name__} is asynchronous; give a plain function")
    if isinstance(right, str) and right not in _RULES:
        raise nearest("rule for right answers", right, _RULES)
    UserFunction.load(GivenFunction(function), "the task")  # its parameters can be given by name
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    keys: list[Any] = [
        (name, hints.get(name, Any)) if p.default is p.empty else (name, hints.get(name, Any), p.default)
        for name, p in parameters.items()
        if name not in _OURS
    ]
    namespace = {
        "__module__": function.__module__,
        "__doc__": function.__doc__ or "A task of your own.",
        "name": function.__name__,
        "function": staticmethod(function),
        "right": right if isinstance(right, str) else RightFunction.load(GivenFunction(right)),
        "layout": layout,
    }
    base = DrawnTask if "rng" in parameters else RowsTask
    made: type[FunctionTask] = make_dataclass(
        function.__name__, keys, bases=(base,), namespace=namespace, frozen=True, kw_only=True
    )
    return made


def _problem(given: Any, function: Callable[..., Any]) -> Problem:
    """Make a problem of what a task's function gave."""
    if isinstance(given, Problem):
        return given
    if isinstance(given, Mapping):
        row = dict(given)
        text = row.pop("prompt", None) or row.pop("question", None)
        plain = (row.get("answer"), row.get("rationale"), row.get("category"))
    else:
        text, *rest = (given, None) if isinstance(given, str) or not isinstance(given, tuple | list) else given
        row, plain = {}, (*rest, None, None, None)[:3]
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(
            f"the task {function.__name__} gave {str(given)[:60]!r}; give a question, (question, answer), or a "
            "row with question"
        )
    gold, rationale, category = (None if value is None else str(value) for value in plain)
    data = {COLUMNS: {name: value for name, value in row.items() if is_json(value)}} if row else {}
    return Problem(digest("function", text)[:16], question(text), gold, rationale, category or "all", data)

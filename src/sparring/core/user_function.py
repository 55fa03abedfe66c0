"""A user's function as a part of a run: its parameters are matched by name, its mistakes are one line.

`known` are the values that a function may ask for: those of the problem (`about`), those of its role, and the columns
of the row that the problem was made from. What a parameter may be called stands in `docs/functions.md`.

A slow function must not hold up other conversations, so one that is not asynchronous runs in a thread. Its calls come
one at a time unless the recipe allows more `threads`, so it need not be thread-safe.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sparring.common.concurrency import in_thread, run_sync
from sparring.common.errors import ConfigError, SparringError, nearest
from sparring.common.functions import is_async, load_function
from sparring.core.task import Problem, Split, Task

COLUMNS = "columns"  # the key of `Problem.data` that holds the cells of the problem's row, by column
SAID = ("answer", "response", "completion", "attempt")  # what a function may call the learner's words
ANSWERS = ("answers", "responses")  # what it may call all answers to a problem
PAIR = ("first", "second")  # what it must call two answers that it compares
REWARD = ("prompts", "completions")  # what reward functions of TRL call them
SETTINGS = "__sparring__"  # the attribute with what a decorator says of a function
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def scored_names(function: UserFunction) -> tuple[str, ...]:
    """Return what a judge calls the answers, which decides how it is asked: SAID, ANSWERS, PAIR or REWARD."""
    if function.names("completions"):
        return REWARD
    if all(map(function.names, PAIR)):
        return PAIR
    names = next((names for names in (ANSWERS, SAID) if function.names(*names)), None)
    if names is None:
        raise ConfigError(
            f"{function.title} takes neither answer, answers, completions nor both first and second; "
            "name its parameters so"
        )
    return names


def about(problem: Problem) -> dict[str, Any]:
    """Return what a function may ask for about `problem`, by parameter name."""
    return {
        "problem": problem,
        "chat": problem.chat,
        "prompt": problem.chat.text,
        "question": problem.chat.text,
        "gold": problem.gold,
        "rationale": problem.rationale,
        "choices": problem.data.get("choices"),
        COLUMNS: row_of(problem),
    }


def row_of(problem: Problem) -> Mapping[str, Any]:
    """Return the cells of the row that `problem` was made from, by column; empty if its task has no rows."""
    row: Mapping[str, Any] = problem.data.get(COLUMNS, {})
    return row


def first_problem(task: Task) -> Problem | None:
    """Return the first problem of the first split that has any."""
    splits: tuple[Split, ...] = ("train", "development", "test")
    return next((problem for split in splits for problem in task.problems(split)), None)


@dataclass(frozen=True)
class UserFunction:
    """A function in the recipe under `name`; `what` it is to the run, as in "the judge", is used in errors."""

    name: str
    what: str
    call: Callable[..., Any]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    takes_all: bool  # it has a parameter `**columns`
    _slots: WeakKeyDictionary[Any, asyncio.Semaphore] = field(default_factory=WeakKeyDictionary, compare=False)

    @classmethod
    def load(cls, name: str, what: str) -> UserFunction:
        """Load the function called `name`; ConfigError if there is none or it cannot be called by names."""
        call = load_function(name)
        try:
            parameters = inspect.signature(call).parameters.values()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{what} {name} has unknown parameters ({error}); give a Python function") from error
        unnamed = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
        if unnamed:
            raise ConfigError(f"{what} {name} takes {unnamed[0]} by position only; let its parameters be given by name")
        named = [p for p in parameters if p.kind in _NAMED]
        required = tuple(p.name for p in named if p.default is p.empty)
        optional = tuple(p.name for p in named if p.default is not p.empty)
        return cls(name, what, call, required, optional, any(p.kind is p.VAR_KEYWORD for p in parameters))

    @property
    def title(self) -> str:
        """How errors call it."""
        return f"{self.what} {self.name}"

    def names(self, *choices: str) -> bool:
        """Return whether one of `choices` is among the parameters."""
        return any(name in choices for name in (*self.required, *self.optional))

    def said(self, problem: Problem, text: str) -> dict[str, Any]:
        """Return `text`, which the learner wrote, by the names that a function may give it.

        `answer` is the row's column `answer`, or else the gold answer, if the function has another name for the text.
        """
        known = dict.fromkeys(SAID, text)
        if self.names(*(name for name in SAID if name != "answer")):
            known["answer"] = row_of(problem).get("answer", problem.gold)
        return known

    def setting(self, name: str, own: Any, default: Any) -> Any:
        """Return the setting `name`: the recipe's `own` unless that is None, else the decorator's, else `default`."""
        return own if own is not None else getattr(self.call, SETTINGS, {}).get(name, default)

    def check(self, task: Task, of_role: Iterable[str]) -> None:
        """Raise ConfigError if the function takes what neither the role nor the problems of `task` have."""
        problem = first_problem(task)
        if problem is None:
            return
        values = about(problem)
        missing = [name for name in ("gold", "rationale", "choices") if values[name] is None]
        known = {**row_of(problem), **values, **dict.fromkeys(of_role)}.keys() - set(missing)
        for name in self.required:
            if name in missing:
                raise ConfigError(
                    f"{self.title} takes {name}, which the problems of the task do not have; "
                    "name its column in the recipe, or remove the parameter"
                )
            if name not in known:
                raise ConfigError(f"{self.title}: {nearest('parameter', name, known)}")

    def arguments(self, known: Mapping[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name. A value of `known` goes before a column of the same name; others are None."""
        named = {name: known.get(name, columns.get(name)) for name in self.required}
        named |= {n: known.get(n, columns.get(n)) for n in self.optional if n in known or n in columns}
        rest = {name: value for name, value in columns.items() if name not in known and name not in named}
        return named | (rest if self.takes_all else {})

    async def ask(self, problem: Problem, arguments: Mapping[str, Any], threads: int) -> Any:
        """Return what the function returns.

        Not asynchronous, it runs in at most `threads` threads at once; 0: in the thread of the event loop.
        """

        def call() -> Any:
            try:
                return self.call(**arguments)
            except StopIteration as error:  # which no future can hold
                raise self._failed(error, problem) from error

        try:
            if is_async(self.call) or threads == 0:
                returned = call()
            else:
                async with self._slot(threads):
                    returned = await in_thread(call)
            return await returned if inspect.isawaitable(returned) else returned
        except SparringError:
            raise
        except (Exception, SystemExit) as error:  # the latter would end the program without a word
            raise self._failed(error, problem) from error

    def ask_now(self, problem: Problem, arguments: Mapping[str, Any]) -> Any:
        """Return what the function returns, for callers that are not asynchronous: they wait for it."""

        async def result() -> Any:
            return await returned

        try:
            returned = self.call(**arguments)
            return run_sync(result()) if inspect.isawaitable(returned) else returned
        except SparringError:
            raise
        except (Exception, SystemExit) as error:  # the latter would end the program without a word
            raise self._failed(error, problem) from error

    def returned(self, value: object, wanted: str, problem: Problem) -> ConfigError:
        """Create the error for a `value` that the function must not return."""
        try:
            shown = repr(value)
        except Exception:  # an integer of too many digits, or an object's own mistake
            shown = f"a {type(value).__name__}"
        shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
        return ConfigError(
            f"{self.title} ({self._place()}) returned {shown} for the problem {problem.id!r}; it must return {wanted}"
        )

    def _slot(self, threads: int) -> asyncio.Semaphore:
        """Return what admits `threads` calls at a time in the running event loop."""
        return self._slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(threads))

    def _failed(self, error: BaseException, problem: Problem) -> ConfigError:
        """Create the error for an exception in the function: the innermost line of its file."""
        where = where_failed(self.call, error)
        return ConfigError(
            f"{self.title} failed on the problem {problem.id!r} ({where}): {type(error).__name__}: {error}; "
            "correct it (an expected failure is a sparring.ConversationError)"
        )

    def _place(self) -> str:
        code = getattr(inspect.unwrap(self.call), "__code__", None)
        return f"{_short(code.co_filename)}, line {code.co_firstlineno}" if code is not None else "not in Python"


def where_failed(call: Callable[..., Any], error: BaseException) -> str:
    """Return file and line of the innermost frame of `error` that is in the file of the function `call`."""
    own = getattr(inspect.unwrap(call), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if own is not None and frame.filename == own.co_filename]
    frame = (inside or frames)[-1]
    return f"{_short(frame.filename)}, line {frame.lineno}"


def _short(path: str) -> str:
    """Return `path` relative to the working directory if it lies there."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def text_of(function: UserFunction, value: object, problem: Problem) -> str:
    """Return `value`, which `function` returned, if it is a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise function.returned(value, "a text", problem)
    return value

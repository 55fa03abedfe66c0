"""A run as a loop: `rounds` yields each round's result when it is finished, and waits until the next is asked for.

The run is a task of an event loop that stands still while the body of the caller's loop runs. Where an event loop runs
already (a notebook), the run's own loop is in a thread. To leave the loop cancels the task, which saves a checkpoint.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, Unpack

from sparring.common.concurrency import is_in_loop
from sparring.common.functions import refuse_while_loading
from sparring.common.schema import TomlTable
from sparring.config.partners import recipe_with
from sparring.config.recipe import Recipe
from sparring.runs.callbacks import Callbacks, Given, RoundResult, separated
from sparring.runs.display import Display
from sparring.runs.lock import locked
from sparring.runs.own_rows import with_own_rows
from sparring.runs.recording import may_ask_person
from sparring.runs.result import Result
from sparring.runs.run import Run

_Outcome = TypeVar("_Outcome")


def rounds(
    recipe: Recipe | str | Path | TomlTable,
    run: str | Path,
    *,
    resume: bool = False,
    display: Display | None = None,
    **given: Unpack[Given],
) -> Generator[RoundResult, None, Result]:
    """Train as `train` does, and yield each round's result when the round is finished.

    The run stands still while the caller has the result. Who leaves the loop, by `break` or an exception, leaves a run
    that can be resumed at the next round. A resumed run yields the rounds that were not recorded before. The generator
    returns the `Result` of the run.
    """
    refuse_while_loading("sparring.rounds")
    partners, callbacks = separated(given)
    parsed = recipe_with(recipe, partners)
    display = display or Display(live=not may_ask_person(parsed))
    return _rounds(parsed, Path(run), resume, display, callbacks)


def _rounds(
    recipe: Recipe, folder: Path, resume: bool, display: Display, callbacks: Callbacks
) -> Generator[RoundResult, None, Result]:
    with locked(folder):
        recipe = with_own_rows(recipe, folder)
        pauses = _Pauses(callbacks)
        steps = _Steps(lambda: Run(recipe, folder, resume, display, callbacks=pauses.callbacks).go(), pauses)
        try:
            while not steps.advance():
                while pauses.results:
                    yield pauses.results.popleft()
            return steps.result()
        finally:
            steps.close()


class _Pauses:
    """Holds a run between two rounds until it is told to go on."""

    def __init__(self, callbacks: Callbacks) -> None:
        self.results: deque[RoundResult] = deque()
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

        def on_round(result: RoundResult) -> None:
            self.results.append(result)
            callbacks.on_round(result)

        self.callbacks = replace(callbacks, on_round=on_round, between_rounds=self._wait)

    async def _wait(self) -> None:
        if self.results:
            self.go_on.clear()
            self.reached.set()
            await self.go_on.wait()


class _Steps:
    """A coroutine that is run up to its next pause, in this thread or, inside an event loop, in one of its own."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Result]], pauses: _Pauses) -> None:
        self._start, self._pauses = start, pauses
        self._pool = ThreadPoolExecutor(1) if is_in_loop() else None
        self._runner = asyncio.Runner()
        self._task: asyncio.Task[Result] | None = None

    def advance(self) -> bool:
        """Run up to the next pause or the end; return whether it was the end."""
        return self._run(self._advance)

    async def _advance(self) -> bool:
        if self._task is None:
            self._task = asyncio.create_task(self._start())
        self._pauses.reached.clear()
        self._pauses.go_on.set()
        pause = asyncio.create_task(self._pauses.reached.wait())
        await asyncio.wait({self._task, pause}, return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
        return self._task.done()

    def result(self) -> Result:
        """Return the coroutine's result, or raise its exception."""
        assert self._task is not None
        return self._task.result()

    def close(self) -> None:
        """Cancel the coroutine where it stands, and wait until it has ended."""
        if self._pool is not None and self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)  # a step may still be under way
        try:
            self._run(self._end)
        finally:
            self._in_thread(self._runner.close)
            if self._pool is not None:
                self._pool.shutdown()

    async def _end(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _run(self, call: Callable[[], Coroutine[Any, Any, _Outcome]]) -> _Outcome:
        return self._in_thread(lambda: self._runner.run(call()))

    def _in_thread(self, call: Callable[[], _Outcome]) -> _Outcome:
        return call() if self._pool is None else self._pool.submit(call).result()

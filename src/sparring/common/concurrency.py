"""Run many conversations at once and return results in order; an unexpected error cancels them all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from sparring.common.errors import SparringError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def together(ask: Callable[[_Item], Awaitable[_Result]], items: Iterable[_Item], at_once: int) -> list[_Result]:
    """Return `ask(item)` for each of `items`, in order, with at most `at_once` calls at a time.

    If calls raise SparringErrors, the first of them is raised; the other calls are cancelled.
    """
    indexed = list(enumerate(items))
    pending, results = iter(indexed), dict[int, _Result]()

    async def work() -> None:
        for index, item in pending:  # the workers share one iterator
            results[index] = await ask(item)
            await asyncio.sleep(0)  # `ask` may return without waiting (a cached reply): give other tasks a turn

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(indexed))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        own_errors = errors.subgroup(SparringError)
        if own_errors is None:
            raise
        raise _first(own_errors) from errors
    if len(results) < len(indexed):  # a TaskGroup does not report a task that was cancelled by itself
        raise asyncio.CancelledError("a conversation was cancelled")
    return [results[index] for index, _ in indexed]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def wait_for(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return the result of `work`, called from a script or inside a running event loop (a notebook's)."""
    if not _is_in_event_loop():
        return asyncio.run(work)
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run_in_thread() -> None:  # a running loop admits no second one in its own thread
        try:
            results.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run_in_thread)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

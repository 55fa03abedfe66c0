"""Many coroutines with a limit on their number: `bounded_gather` collects results, `in_order` streams them.

`bounded_gather` always keeps `at_once` calls in flight. `in_order` also counts results that wait for an earlier one, so
that its consumer decides how many calls are started ahead of the result that it handles.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from sparring.common.errors import SparringError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def bounded_gather(
    ask: Callable[[_Item], Awaitable[_Result]], items: Iterable[_Item], at_once: int
) -> list[_Result]:
    """Call `ask` on each of `items`, at most `at_once` at a time, and return the results in order.

    An exception cancels the other calls. A SparringError is raised as it is, any other in its exception group.
    """
    indexed = list(enumerate(items))
    remaining, results = iter(indexed), dict[int, _Result]()

    async def work() -> None:
        for index, item in remaining:
            results[index] = await ask(item)
            await asyncio.sleep(0)  # a call that never suspends (a cached reply) must not block other tasks

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(indexed))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        own_errors = errors.subgroup(SparringError)
        if own_errors is None:
            raise
        raise _first(own_errors) from errors
    if len(results) < len(indexed):
        raise asyncio.CancelledError("a conversation was cancelled")
    return [results[index] for index, _ in indexed]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def in_order(
    ask: Callable[[_Item], Awaitable[_Result]], items: Iterator[_Item], window: Callable[[], int]
) -> AsyncGenerator[_Result]:
    """Yield `ask` of each of `items`, in their order.

    `window()` (at least one) is the number of calls that are in flight or done and not yet yielded. Closing the
    generator cancels the calls in flight.
    """
    tasks: deque[asyncio.Task[_Result]] = deque()

    async def call(item: _Item) -> _Result:
        return await ask(item)

    try:
        while True:
            while len(tasks) < max(1, window()):
                try:
                    tasks.append(asyncio.create_task(call(next(items))))
                except StopIteration:
                    break
            if not tasks:
                return
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run_sync(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `coroutine` and return its result, from a script or from within a running event loop (a notebook)."""
    if not is_in_loop():
        return asyncio.run(coroutine)
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(coroutine))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def is_in_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def in_thread(call: Callable[[], _Result]) -> _Result:
    """Return the result of `call`, which runs in a thread of its own.

    The thread does not keep the process alive: Ctrl-C ends a call that never returns.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def deliver(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():  # cancelled
            set_outcome(outcome)

    def work() -> None:
        set_outcome: Callable[[Any], None] = future.set_result
        outcome: Any = None
        try:
            outcome = call()
        except BaseException as error:
            set_outcome, outcome = future.set_exception, error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(deliver, set_outcome, outcome)

    threading.Thread(target=work, daemon=True).start()
    return await future

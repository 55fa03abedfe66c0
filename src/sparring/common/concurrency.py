"""Many conversations at once, their results in the order asked for; an error that is nobody's data ends them all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from sparring.common.errors import SparringError

_Asked = TypeVar("_Asked")
_Got = TypeVar("_Got")


async def together(ask: Callable[[_Asked], Awaitable[_Got]], things: Iterable[_Asked], at_once: int) -> list[_Got]:
    """`ask` of each of `things`, `at_once` at a time."""
    places = list(enumerate(things))
    waiting, found = iter(places), dict[int, _Got]()

    async def work() -> None:
        for place, thing in waiting:
            found[place] = await ask(thing)
            await asyncio.sleep(0)  # where all is known already nobody waits for anything, and others want a turn

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(places))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        known = errors.subgroup(SparringError)
        if known is None:
            raise
        raise _first(known) from errors
    if len(found) < len(places):
        raise asyncio.CancelledError("a conversation was cancelled")
    return [found[place] for place, _ in places]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def wait_for(work: Coroutine[Any, Any, _Got]) -> _Got:
    """The result of `work`, from a script or from inside a running event loop (a notebook's)."""
    if not _in_a_loop():
        return asyncio.run(work)
    found: list[_Got] = []
    failed: list[BaseException] = []

    def there() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

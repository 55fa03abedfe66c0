"""Many conversations at once, their results in the order asked for; an error that is nobody's data ends them all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from sparring.errors import SparringError

Asked = TypeVar("Asked")
Got = TypeVar("Got")


async def together(ask: Callable[[Asked], Awaitable[Got]], things: Iterable[Asked], at_once: int) -> list[Got]:
    """`ask` of each of `things`, `at_once` at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(thing: Asked) -> Got:
        async with places:
            return await ask(thing)

    try:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(one(thing)) for thing in things]
    except BaseExceptionGroup as errors:
        known = errors.subgroup(SparringError)
        if known is None:
            raise
        raise _first(known) from errors
    return [task.result() for task in asked]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner

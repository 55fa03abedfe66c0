"""Bounded concurrency."""

import asyncio
from contextlib import aclosing
from itertools import count

import pytest

from sparring.common.concurrency import bounded_gather, in_order
from sparring.common.errors import RunStopped


def test_results_come_in_the_order_asked_and_so_many_are_under_way():
    under_way, most = set(), 0

    async def ask(number):
        nonlocal most
        under_way.add(number)
        most = max(most, len(under_way))
        await asyncio.sleep((number * 7 % 5) / 1000)
        under_way.remove(number)
        return number * 10

    assert asyncio.run(bounded_gather(ask, range(50), 8)) == [number * 10 for number in range(50)]
    assert most == 8


def test_what_waits_takes_no_task():
    tasks = []

    async def ask(number):
        await asyncio.sleep(0)
        tasks.append(len(asyncio.all_tasks()))

    asyncio.run(bounded_gather(ask, range(1000), 4))
    assert max(tasks) <= 5  # and the one that waits for them


def test_an_error_ends_the_others_and_is_raised_as_it_is():
    done = []

    async def ask(number):
        if number == 3:
            raise RunStopped("enough")
        await asyncio.sleep(0.01)
        done.append(number)

    with pytest.raises(RunStopped, match="enough"):
        asyncio.run(bounded_gather(ask, range(100), 10))
    assert not done


def test_a_conversation_that_is_cancelled_is_told_and_takes_no_results_along():
    async def ask(number):
        if number == 3:
            raise asyncio.CancelledError
        return number

    async def main():
        with pytest.raises(asyncio.CancelledError):
            await bounded_gather(ask, range(10), 4)
        return True

    assert asyncio.run(main())


def test_others_have_their_turn_where_nobody_waits_for_anything():
    passes = 0

    async def count():
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    async def ask(number):
        return number

    async def main():
        counting = asyncio.create_task(count())
        await bounded_gather(ask, range(1000), 4)
        counting.cancel()

    asyncio.run(main())
    assert passes > 100


def test_a_stream_is_in_order_keeps_to_its_window_and_cancels_the_rest_when_it_is_closed():
    started, cancelled = [], []

    async def ask(number):
        started.append(number)
        try:
            await asyncio.sleep(0 if number < 5 else 60)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    async def main():
        results = []
        async with aclosing(in_order(ask, count(), lambda: 3)) as stream:
            async for number in stream:
                results.append(number)
                await asyncio.sleep(0.01)
                if number == 4:
                    break
        return results

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]
    assert started == [0, 1, 2, 3, 4, 5, 6]
    assert cancelled == [5, 6]

"""Sittings that are killed while they pay: what was under way may have been paid, it counts, and caps hold.

The server lives on in the test's process and knows what was really asked.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from pathlib import Path

import pytest

from sparring.common.concurrency import bounded_gather
from sparring.core.chat import question
from sparring.core.speaker import Sampling
from sparring.ledger import Budget, BudgetReached, Cap, Ledger, Price, Recorded, entries, totals
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import Server, late, say, standing

CAP, IN_FLIGHT, MOST_TOKENS = 400, 8, 50
LONGEST = 300.0
BUDGET = Budget(run=Cap(calls=CAP), prices={"m": Price(1.0, 1.0)})


def sitting(path: Path, url: str, budget: Budget, run: str) -> None:
    """Make calls up to the cap, in a process that will be killed."""

    async def main() -> None:
        with Ledger(path, run, budget=budget) as ledger:
            endpoint = Endpoint("m", url, in_flight=IN_FLIGHT, timeout=10, retries=0)
            judge = Recorded(endpoint, ledger, "judge")

            async def ask(number: int) -> None:
                await judge.reply(question(f"{number}"), Sampling(max_tokens=MOST_TOKENS))

            try:
                await bounded_gather(ask, range(10_000), 4 * IN_FLIGHT)
            except BudgetReached:
                await ledger.settle()

    asyncio.run(main())


# A process that has imported everything and forks the sittings: each then starts at once.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__])


def sit(*args: object, server: Server, kill_after: int | None = None) -> None:
    """Run the process and kill it after so many more requests at the server; None: it ends by itself."""
    heard = len(server.requests)
    process = FORKED.Process(target=sitting, args=args)
    process.start()
    while process.is_alive() and kill_after is not None and len(server.requests) < heard + kill_after:
        time.sleep(0.001)
    if kill_after is not None:
        process.kill()
    process.join()
    assert process.exitcode == (0 if kill_after is None else -9)
    while server.connected:  # what the dead one had sent is read to its end
        time.sleep(0.005)


def killed(path: Path, kills: int, rng: random.Random) -> list[int]:
    """Return the number of requests at the server after each process; all but the last are killed."""
    heard = []
    with standing(late(0.02), LONGEST) as server:
        for _ in range(kills):
            sit(path, server.url, BUDGET, "run", server=server, kill_after=rng.randrange(1, 20))
            heard.append(len(server.requests))
        sit(path, server.url, BUDGET, "run", server=server)
        heard.append(len(server.requests))
        sit(path, server.url, BUDGET, "run", server=server)
        assert len(server.requests) == heard[-1], "at the cap nothing more leaves"
    return heard


def assert_the_cap_held(path: Path, kills: int, heard: list[int]) -> None:
    recorded, lost = [
        sum(total.calls for total in totals(path) if bool(total.open) == open_) for open_ in (False, True)
    ]
    assert recorded + lost == CAP
    assert recorded <= heard[-1] <= CAP
    assert 0 < lost <= kills * IN_FLIGHT
    assert len(list(entries(path))) == recorded
    tokens = [total for total in totals(path) if total.open]
    assert sum(total.completion_tokens for total in tokens) == lost * MOST_TOKENS
    assert all(total.cost > 0 and total.prompt_tokens >= total.calls for total in tokens)


def test_in_five_kills_no_call_leaves_beyond_the_cap(tmp_path):
    heard = killed(tmp_path / "ledger.sqlite", 5, random.Random(0))
    assert_the_cap_held(tmp_path / "ledger.sqlite", 5, heard)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_in_twenty_kills_no_call_leaves_beyond_the_cap(seed, tmp_path):
    heard = killed(tmp_path / "ledger.sqlite", 20, random.Random(seed + 1))
    assert_the_cap_held(tmp_path / "ledger.sqlite", 20, heard)


def test_what_was_under_way_at_a_kill_counts_with_the_most_that_it_may_have_cost(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with standing(late(2), LONGEST) as server:
        sit(path, server.url, Budget(), "run", server=server, kill_after=IN_FLIGHT)
    (total,) = totals(path, "run")
    assert (total.calls, total.open, total.failed) == (IN_FLIGHT, IN_FLIGHT, 0)
    assert total.completion_tokens == IN_FLIGHT * MOST_TOKENS
    spent = total.prompt_tokens + total.completion_tokens
    with standing(say(), LONGEST) as server:
        sit(path, server.url, Budget(run=Cap(tokens=spent)), "run", server=server)
        assert not server.requests
        sit(path, server.url, Budget(run=Cap(tokens=spent)), "other", server=server)
        assert server.requests


def test_a_call_that_a_kill_has_cut_off_is_asked_again(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with standing(late(2), LONGEST) as server:
        sit(path, server.url, Budget(), "run", server=server, kill_after=1)
        first = server.requests[0].asked
    with standing(say(), LONGEST) as server:
        sit(path, server.url, Budget(run=Cap(calls=30)), "run", server=server)
        assert first in {request.asked for request in server.requests}
        assert len(server.requests) < 30

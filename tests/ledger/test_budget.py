"""Budgets hold for a run and for its rounds, also after it is resumed."""

import asyncio
import re
import tomllib
from pathlib import Path

import pytest

from sparring.common.errors import ConfigError, RunStopped, Unavailable
from sparring.config.recipe import Recipe
from sparring.core import attempts
from sparring.core.attempts import Serving
from sparring.core.chat import question
from sparring.core.speaker import Reply, Sampling
from sparring.ledger import (
    Budget,
    BudgetReached,
    Cap,
    Ledger,
    Price,
    Recorded,
    entries,
    recorded,
)
from sparring.speakers import endpoint
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import cut, flood, late, never, raw, say, serving, status
from tests.parrot import PLAIN

UNSERVED = Serving()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "ledger.sqlite"


def spend(path, budget, count, *script, run="one", first=0, served=UNSERVED):
    """Return replies, errors and the requests at the server for `count` calls, four of them in flight at once."""

    async def main():
        attempts.serving.set(served)
        async with serving(*script) as server:
            speaker = Recorded(Endpoint("m", server.url, in_flight=4), ledger, "critic")
            calls = (speaker.reply(question(str(k)), Sampling(max_tokens=5)) for k in range(first, first + count))
            found = await asyncio.gather(*calls, return_exceptions=True)
            return found, len(server.requests)

    with Ledger(path, run, budget=budget) as ledger:
        found, requests = asyncio.run(main())
    return [r for r in found if isinstance(r, Reply)], [e for e in found if isinstance(e, Exception)], requests


def test_no_more_calls_leave_than_the_budget_has(path):
    replies, errors, requests = spend(path, Budget(run=Cap(calls=7)), 20)
    assert (len(replies), requests) == (7, 7)
    assert {type(error) for error in errors} == {BudgetReached}
    assert isinstance(errors[0], RunStopped)
    assert re.fullmatch(
        r"this run has spent 7 of its budget of 7 calls \(in all: 7 calls, \d+ tokens, 0 in money\); raise "
        r"budget\.run\.calls and resume: recorded calls are not paid again",
        str(errors[0]),
    )


def test_calls_that_are_tried_again_count(path, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    replies, _, requests = spend(path, Budget(run=Cap(calls=7)), 20, *[status(500)] * 4)
    assert (len(replies), requests) == (3, 7)


@pytest.mark.parametrize(
    ("cap", "each"),
    [(Cap(tokens=100), 15), (Cap(money=100 * 2e-6), 15)],  # 15 tokens a call, 2 a million
)
@pytest.mark.parametrize("scope", ["run", "round"])
def test_tokens_and_money_overshoot_by_no_more_than_one_request(path, cap, each, scope):
    budget = Budget(**{scope: cap}, prices={"m": Price(2, 2)})
    replies, errors, requests = spend(path, budget, 40)
    assert len(replies) == requests
    assert 100 <= requests * each < 100 + each
    assert {type(error) for error in errors} == {BudgetReached}


def test_far_from_a_cap_nothing_waits(path):
    most = len("0") + 32 + 5  # bytes of the prompt, its template and max_tokens

    async def main(ledger):
        async with serving(after=late(0.2)) as server:
            speaker = Recorded(Endpoint("m", server.url, in_flight=4), ledger, "critic")
            await asyncio.gather(*(speaker.reply(question(str(k)), Sampling(max_tokens=5)) for k in range(4)))
            return server.most_under_way

    with Ledger(path, budget=Budget(run=Cap(tokens=4 * most))) as ledger:
        assert asyncio.run(main(ledger)) == 4


def test_a_request_waits_until_those_in_flight_leave_room_also_if_they_fail(path, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)

    async def main(ledger):
        async with serving(*[late(0.1, status(500))] * 3, after=late(0.1)) as server:
            speaker = Recorded(Endpoint("m", server.url, in_flight=4), ledger, "critic")
            await asyncio.gather(*(speaker.reply(question(str(k)), Sampling(max_tokens=5)) for k in range(4)))
            return server.most_under_way, len(server.requests)

    with Ledger(path, budget=Budget(run=Cap(tokens=3 * 38))) as ledger:
        assert asyncio.run(main(ledger)) == (3, 7)


def test_who_waits_for_room_can_be_cancelled_and_a_cancelled_request_makes_room(path):
    async def main(ledger):
        async with serving(after=late(5)) as server:
            speaker = Recorded(Endpoint("m", server.url), ledger, "critic")
            ask = [asyncio.create_task(ledger._make(*call(ledger, speaker.speaker, k))) for k in range(3)]
            while not server.requests:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            sent = [len(server.requests)]
            ask[1].cancel()  # it waits
            ask[0].cancel()  # it is in flight, and may be billed
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
            sent.append(ledger.meter.run.calls)
            ask[2].cancel()
            await asyncio.gather(*ask, return_exceptions=True)
            return sent

    def call(ledger, speaker, number):
        chat, sampling = question(str(number)), Sampling(max_tokens=5)
        made = recorded._Call(ledger, speaker, "critic", speaker.request(chat, sampling, 0), 0)
        return made, lambda: speaker.reply(chat, sampling, 0)

    with Ledger(path, "one", budget=Budget(run=Cap(tokens=60))) as ledger:
        assert asyncio.run(main(ledger)) == [1, 2]
        assert (ledger.meter.run.calls, ledger.meter.run.tokens) == (2, 2 * 38)
    with Ledger(path, "one") as ledger:
        assert (ledger.meter.run.calls, ledger.meter.run.tokens) == (2, 2 * 38)


def test_at_a_stop_nobody_waits_for_room(path):
    async def main(ledger):
        async with serving(after=late(0.5)) as server:
            speaker = Recorded(Endpoint("m", server.url), ledger, "critic")
            calls = [asyncio.create_task(speaker.reply(question(str(k)), Sampling(max_tokens=5))) for k in range(3)]
            while not server.requests:
                await asyncio.sleep(0.01)
            for call in calls:
                call.cancel()
            await ledger.settle()
            return len(server.requests)

    with Ledger(path, budget=Budget(run=Cap(tokens=60))) as ledger:
        assert asyncio.run(main(ledger)) == 1
        assert ledger.meter.run.tokens == 15


def test_a_run_goes_on_when_its_cap_is_raised_and_pays_nothing_twice(path):
    assert spend(path, Budget(run=Cap(calls=5)), 10)[2] == 5
    assert spend(path, Budget(run=Cap(calls=5)), 10)[2] == 0
    replies, _, requests = spend(path, Budget(run=Cap(calls=8)), 10)
    assert (len(replies), requests) == (8, 3)
    assert spend(path, Budget(run=Cap(calls=5)), 5, run="two", first=20)[2] == 5


def test_at_a_stop_what_was_sent_is_paid_and_what_waits_is_given_up(path):
    async def main(ledger):
        async with serving(after=late(0.3)) as server:
            speaker = Recorded(Endpoint("m", server.url, in_flight=2), ledger, "critic")
            calls = [asyncio.create_task(speaker.reply(question(str(k)), PLAIN)) for k in range(10)]
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
            for call in calls:
                call.cancel()
            await ledger.settle()
            await asyncio.sleep(0.4)  # time enough for more
            return len(server.requests)

    with Ledger(path) as ledger:
        assert asyncio.run(main(ledger)) == 2
        assert ledger.meter.run.calls == 2
    assert [entry["outcome"] for entry in entries(path)] == ["replied", "replied"]


def test_at_a_stop_nobody_waits_for_the_minute_limit(path):
    async def main(ledger):
        async with serving() as server:
            speaker = Recorded(Endpoint("m", server.url, requests_per_minute=10), ledger, "critic")
            calls = [asyncio.create_task(speaker.reply(question(str(k)), PLAIN)) for k in range(5)]
            while not ledger.meter.run.tokens:
                await asyncio.sleep(0.01)
            for call in calls:
                call.cancel()
            async with asyncio.timeout(3):
                await ledger.settle()

    with Ledger(path) as ledger:
        asyncio.run(main(ledger))
        assert ledger.meter.run.calls == 1


def test_at_a_stop_a_try_that_fails_is_not_tried_again(path, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)

    async def main(ledger):
        async with serving(late(0.2, status(500)), after=say()) as server:
            call = asyncio.create_task(
                Recorded(Endpoint("m", server.url), ledger, "critic").reply(question("a"), PLAIN)
            )
            while not server.requests:
                await asyncio.sleep(0.01)
            call.cancel()
            await ledger.settle()
            return len(server.requests)

    with Ledger(path) as ledger:
        assert asyncio.run(main(ledger)) == 1
    assert [entry["outcome"] for entry in entries(path)] == ["server error"]


def test_a_round_has_a_budget_of_its_own(path):
    budget = Budget(round=Cap(calls=2))
    rounds = [Serving("1", 1), Serving("1", 2), Serving("2", 1), Serving("1", 1)]
    sent = [spend(path, budget, 4, first=100 * k, served=served)[2] for k, served in enumerate(rounds)]
    assert sent == [2, 2, 2, 0]


def test_what_the_ledger_holds_costs_nothing(path):
    spend(path, Budget(), 5)
    replies, errors, requests = spend(path, Budget(run=Cap(calls=0)), 5, run="two")
    assert (len(replies), errors, requests) == (5, [], 0)


def test_money_cannot_be_counted_without_a_price(path):
    _, errors, requests = spend(path, Budget(run=Cap(money=1.0)), 1)
    assert isinstance(errors[0], ConfigError)
    assert "price of 'm'" in str(errors[0])
    assert requests == 0


NAME = "gpt-4.1-mini"
PRICED = {
    "in quotes": f'[budget.prices]\n"{NAME}" = [0.4, 1.6]',
    "bare": f"[budget.prices]\n{NAME} = [0.4, 1.6]",
    "a table": f"[budget.prices.{NAME}]\ninput = 0.4\noutput = 1.6",
    "a table in quotes": f'[budget.prices."{NAME}"]\ninput = 0.4\noutput = 1.6',
    "dotted": f"[budget]\nprices.{NAME}.input = 0.4\nprices.{NAME}.output = 1.6",
    "inline": f"[budget]\nprices = {{{NAME} = [0.4, 1.6]}}",
    "inline in quotes": f'[budget]\nprices = {{"{NAME}" = {{input = 0.4, output = 1.6}}}}',
}
SET = [
    [f'budget.prices."{NAME}".input=0.4', f'budget.prices."{NAME}".output=1.6'],
    [f"budget.prices.{NAME}.input=0.4", f"budget.prices.{NAME}.output=1.6"],
    [f'budget.prices."{NAME}"=[0.4, 1.6]'],
    [f"budget.prices.'{NAME}' = [0.4, 1.6]"],
    [f"budget.prices.{NAME}=[0.4, 1.6]"],
    [f'budget.prices={{"{NAME}" = [0.4, 1.6]}}'],
]
RECIPE = {"task": {"kind": "multistep_arithmetic"}, "phase": [{"method": "sft"}]}


@pytest.mark.parametrize("text", PRICED.values(), ids=PRICED)
def test_a_price_of_a_model_with_dots_in_its_name_is_read_in_every_notation(text):
    recipe = Recipe.read({**RECIPE, **tomllib.loads(text)})
    assert recipe.budget.prices == {NAME: Price(0.4, 1.6)}
    assert Recipe.of(tomllib.loads(recipe.toml())).budget == recipe.budget


@pytest.mark.parametrize("settings", SET, ids=lambda settings: settings[0])
def test_a_price_of_a_model_with_dots_in_its_name_can_be_set(settings):
    assert Recipe.read(RECIPE, settings).budget.prices == {NAME: Price(0.4, 1.6)}


def test_a_family_and_a_model_of_it_have_prices_of_their_own():
    text = "[budget.prices.gpt-4]\ninput = 1\noutput = 2\n1-mini = [0.4, 1.6]"
    assert Recipe.read({**RECIPE, **tomllib.loads(text)}).budget.prices == {"gpt-4": Price(1, 2), NAME: Price(0.4, 1.6)}


@pytest.mark.parametrize(
    "prices", [{"m": [1]}, {"m": {}}, {"m": {"input": 1}}, {"m": 3}, {"m": {"a": 3}}, [1], {"m": [-1, 2]}]
)
def test_what_is_no_price_is_refused(prices):
    with pytest.raises(ConfigError, match=r"in \[budget\]: prices = "):
        Recipe.read({**RECIPE, "budget": {"prices": prices}})


def test_an_empty_choice_that_was_billed_is_charged(path):
    with Ledger(path) as ledger:

        async def main():
            async with serving(say(None)) as server:
                with pytest.raises(Unavailable):
                    await Recorded(Endpoint("m", server.url, retries=0), ledger, "critic").reply(question("a"), PLAIN)

        asyncio.run(main())
        assert ledger.meter.run.tokens == 15


MOST = len("a") + 32 + 50  # bytes of the prompt, its template and max_tokens


@pytest.mark.parametrize(
    ("fault", "tokens"),
    [
        (never(), MOST),
        (cut(), MOST),
        (flood(9), MOST),
        (raw(b"<html>"), MOST),
        (say(None, usage=None), MOST),
        (say(None), 15),
        (raw(b'{"error": {"message": "overloaded"}}'), 0),
        (status(400), 0),
        (status(408), 0),
        (status(429, retry_after="9999"), 0),
        (status(500), 0),
    ],
)
def test_a_request_counts_with_the_most_that_it_may_have_cost_unless_its_bill_is_known(fault, tokens, path):
    async def main(ledger):
        async with serving(after=fault) as server:
            speaker = Recorded(Endpoint("m", server.url, retries=0, timeout=1), ledger, "critic")
            with pytest.raises(Unavailable):
                await speaker.reply(question("a"), Sampling(max_tokens=50))

    with Ledger(path, "one", budget=Budget(prices={"m": Price(1e6, 1e6)})) as ledger:
        asyncio.run(main(ledger))
        assert (ledger.meter.run.calls, ledger.meter.run.tokens, ledger.meter.run.money) == (1, tokens, tokens)
    with Ledger(path, "one", budget=Budget(run=Cap(calls=1))) as ledger:
        assert (ledger.meter.run.calls, ledger.meter.run.tokens) == (1, tokens)
    (entry,) = entries(path)
    assert ("counts with the most" in entry["error"]) == (tokens == MOST)


def test_a_server_that_is_not_there_bills_nothing(path):
    with Ledger(path) as ledger, pytest.raises(Unavailable, match="unreachable"):
        asyncio.run(
            Recorded(Endpoint("m", "http://127.0.0.1:9/v1", retries=0), ledger, "critic").reply(question("a"), PLAIN)
        )
    assert ledger.meter.run.tokens == 0


def test_requests_that_time_out_reach_a_cap_of_tokens(path, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)

    async def main(ledger):
        async with serving(after=never()) as server:
            speaker = Recorded(Endpoint("m", server.url, retries=9, timeout=0.1), ledger, "critic")
            with pytest.raises(BudgetReached):
                await speaker.reply(question("a"), Sampling(max_tokens=50))
            return len(server.requests)

    with Ledger(path, budget=Budget(run=Cap(tokens=3 * MOST))) as ledger:
        assert asyncio.run(main(ledger)) == 3

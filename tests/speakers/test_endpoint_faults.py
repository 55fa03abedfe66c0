"""A server that fails: what is tried again, how often and when, and what is not."""

import asyncio
import time
from email.utils import formatdate

import pytest

from sparring.common.errors import Unavailable
from sparring.core.chat import question
from sparring.core.speaker import Sampling
from sparring.speakers import endpoint
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import cut, flood, late, never, raw, say, serving, status
from tests.speakers.asking import Log, ask

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (status(500), "server error"),
        (status(503), "server error"),
        (status(408), "timed out"),
        (status(409), "refused for now"),
        (status(429), "rate limited"),
        (cut(), "cut connection"),
        (never(), "timed out"),
        (raw(b'{"choices": [{"mess'), "not JSON"),
        (raw(b"[" * 100_000), "not JSON"),
        (raw(b"<html>502</html>"), "not JSON"),
        (raw(b"\xff\xfe\x00"), "not JSON"),
        (raw(b'{"error": {"message": "overloaded"}}'), "server error"),
        (say(choices=[]), "empty"),
        (say(None), "empty"),
        (say(choices=[{"text": "old form"}]), "wrong fields"),
        (say(choices={}), "wrong fields"),
        (say(choices=["x"]), "wrong fields"),
        (say(message={"content": ["parts"]}), "wrong fields"),
        (say(finish_reason=3), "wrong fields"),
        *(
            (say("so far", finish_reason=end), "broken off")
            for end in ("abort", "error", "pause_turn", "load", "x" * 99)
        ),
        (raw(b"[1]"), "wrong fields"),
    ],
)
def test_a_passing_fault_has_a_name_and_is_tried_again(fault, outcome):
    reply, log, _ = ask(fault, say("42"), timeout=0.3 if outcome == "timed out" else 30.0)
    assert reply.text == "42"
    assert log.outcomes == [outcome, "replied"]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (status(400, "too long a prompt"), "refused"),
        (status(404, "no such model"), "refused"),
        (status(422, "so not"), "refused"),
        (status(429, "insufficient_quota: pay first"), "rate limited"),
        (status(429, retry_after="100000"), "rate limited"),
        (flood(50), "too large"),
        (flood(50, 500), "too large"),
        *((say("x", finish_reason=end), "filtered") for end in ("content_filter", "SAFETY", "guardrail_intervened")),
        *((say("x", finish_reason=end), "tool call") for end in ("tool_calls", "function_call", "tool_use")),
        (say(None, message={"refusal": "I cannot\nhelp with that."}), "declined"),
        (say("", message={"refusal": "No."}), "declined"),
        (say("I was going to", finish_reason="refusal"), "declined"),
    ],
)
def test_a_lasting_fault_has_a_name_and_is_not_tried_again(fault, outcome):
    error, log, server = ask(fault)
    assert isinstance(error, Unavailable)
    assert str(error).startswith(f"m: {outcome}: ")
    assert log.outcomes == [outcome]
    assert len(server.requests) == 1


def test_a_refusal_carries_the_servers_own_words():
    error, log, _ = ask(raw(b'{"object": "error", "message": "This model\'s limit\\nis 4096 tokens"}', 400))
    assert "400 This model's limit is 4096 tokens" in str(error)
    assert log[0].error == "400 This model's limit is 4096 tokens"


def test_the_error_after_the_last_try_gives_its_reason():
    error, _, server = ask(after=status(500, "boom"), retries=2)
    assert str(error) == "m: server error: 500 boom (tried 3 times)"
    assert len(server.requests) == 3


def test_a_late_reply_within_the_limit_is_a_reply_and_its_time_is_known():
    reply, log, _ = ask(late(0.2), timeout=2)
    assert reply.text == "fine"
    assert 0.2 <= log[0].seconds < 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form):
    async def later(request, writer):
        header = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)  # of whole seconds
        await status(429, retry_after=header)(request, writer)

    reply, _, server = ask(later, say("42"))
    assert reply.text == "42"
    assert 0.9 < server.requests[1].at - server.requests[0].at < 3


@pytest.mark.parametrize(
    "header", ["21 Oct 2015 07:28:00 +9999999999999999", "inf", "nan", "-5", "1" * 400, "\xb2", "1\r\nretry-after: 2"]
)
def test_a_retry_after_that_makes_no_sense_is_ignored_and_no_call_is_lost(header):
    reply, log, _ = ask(status(429, retry_after=header), say("42"))
    assert reply.text == "42"
    assert log.outcomes == ["rate limited", "replied"]


def test_a_bug_of_ours_is_raised_and_the_call_is_reported(monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("by nobody")

    monkeypatch.setattr(endpoint, "read_completion", broken)
    with pytest.raises(ZeroDivisionError):
        ask(say("42"), log=(log := Log()))
    assert [(attempt.outcome, attempt.error) for attempt in log] == [("ZeroDivisionError", "by nobody")]


def test_while_a_server_asks_for_a_rest_no_call_comes():
    async def main():
        async with serving(status(429, retry_after="0.5")) as server:
            speaker = Endpoint("m", server.url, in_flight=1)
            await asyncio.gather(*(speaker.reply(question(str(k)), Sampling()) for k in range(3)))
            return [request.at - server.requests[0].at for request in server.requests]

    first, *others = asyncio.run(main())
    assert first == 0
    assert min(others) > 0.45


def test_while_a_server_is_closed_for_long_every_call_fails_at_once_and_it_is_said_once(caplog):
    async def main():
        async with serving(after=status(429, retry_after="3600")) as server:
            speaker = Endpoint("m", server.url)
            errors = []
            async with asyncio.timeout(5):
                for k in range(3):
                    with pytest.raises(Unavailable) as caught:
                        await speaker.reply(question(str(k)), Sampling())
                    errors.append(str(caught.value))
            return server, errors

    server, (first, *others) = asyncio.run(main())
    assert len(server.requests) == 1
    assert "rate limited" in first
    assert all(f"closed: {server.url} accepts no requests for another 3600 s" in error for error in others)
    assert [record.getMessage() for record in caplog.records] == [
        f"{server.url} accepts no requests for 3600 s (it says so itself)"
    ]


def test_a_server_that_is_closed_for_long_costs_its_pool_no_call():
    async def main():
        async with serving(after=status(429, retry_after="3600")) as closed, serving() as well:
            speaker = Endpoint("m", (closed.url, well.url))
            with pytest.raises(Unavailable):
                await speaker.reply(question("first"), Sampling())
            for k in range(5):
                await speaker.reply(question(str(k)), Sampling())
            return len(closed.requests), len(well.requests)

    assert asyncio.run(main()) == (1, 5)


def test_a_rate_limit_uses_up_no_retry():
    reply, log, _ = ask(*[status(429, retry_after="0.01")] * 5, say("42"), retries=1)
    assert reply.text == "42"
    assert log.outcomes == ["rate limited"] * 5 + ["replied"]

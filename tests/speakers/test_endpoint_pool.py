"""An endpoint with several hosts, concurrent calls and several event loops, and its settings."""

import asyncio
import gc
import socket
import threading
import time
import weakref
from contextlib import contextmanager

import pytest

from sparring.client import hosts
from sparring.client.connection import Connections
from sparring.common.errors import ConfigError, Unavailable
from sparring.common.schema import build
from sparring.core import attempts
from sparring.core.chat import question
from sparring.core.speaker import Sampling
from sparring.speakers import endpoint
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import late, serving, status

ASKED = question("What is 6 × 7?")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)


class Log(list):
    """A sink that keeps the outcomes of attempts."""

    async def admit(self, most):
        pass

    def record(self, attempt):
        self.append(attempt.outcome)


def test_no_more_calls_are_under_way_than_allowed():
    async def main():
        async with serving(after=late(0.03)) as server:
            speaker = Endpoint("m", server.url, in_flight=4)
            await asyncio.gather(*(speaker.reply(question(str(k)), Sampling()) for k in range(20)))
            return server

    server = asyncio.run(main())
    assert len(server.requests) == 20
    assert server.most_under_way == 4


@pytest.mark.parametrize(
    "limit",
    [{"requests_per_minute": 600}, {"tokens_per_minute": 9000}],  # 15 tokens a call: ten calls a second
)
def test_limits_by_the_minute_are_kept(limit):
    async def main():
        async with serving() as server:
            speaker = Endpoint("m", server.url, in_flight=1, **limit)
            await asyncio.gather(*(speaker.reply(question("x" * 40), Sampling(max_tokens=500)) for _ in range(6)))
            return [request.at for request in server.requests]

    times = asyncio.run(main())
    assert 0.3 < times[-1] - times[0] < 2


@contextmanager
def dead_address():
    """Return an address without a server."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def test_a_pool_shares_the_calls():
    async def main():
        async with serving() as one, serving() as two:
            speaker = Endpoint("m", (one.url, two.url))
            for k in range(6):
                await speaker.reply(question(str(k)), Sampling())
            return len(one.requests), len(two.requests)

    assert asyncio.run(main()) == (3, 3)


def test_a_dead_host_is_set_aside_at_once_and_costs_no_call():
    log = Log()

    async def main(dead):
        async with serving() as server:
            speaker = Endpoint("m", (dead, server.url), retries=1)
            with attempts.listening(log):
                for k in range(20):
                    await speaker.reply(question(str(k)), Sampling())

    start = time.monotonic()
    with dead_address() as dead:
        asyncio.run(main(dead))
    assert log.count("replied") == 20
    assert log.count("unreachable") <= 2
    assert time.monotonic() - start < 2


def test_a_host_that_recovers_is_used_again(monkeypatch):
    monkeypatch.setattr(hosts, "SHORTEST", 0.1)

    async def main():
        async with serving(*[status(500)] * 3) as sick, serving() as well:
            speaker = Endpoint("m", (sick.url, well.url))
            for k in range(10):
                await speaker.reply(question(str(k)), Sampling())
            while_sick = len(sick.requests)
            await asyncio.sleep(0.15)
            for k in range(10):
                await speaker.reply(question(str(k)), Sampling())
            return while_sick, len(sick.requests) - while_sick

    while_sick, afterwards = asyncio.run(main())
    assert while_sick == 3
    assert afterwards >= 4


def test_a_pool_of_dead_hosts_fails_instead_of_waiting():
    with dead_address() as one, dead_address() as two:
        speaker = Endpoint("m", (one, two), retries=3)
        start = time.monotonic()
        with pytest.raises(Unavailable, match="unreachable"):
            asyncio.run(speaker.reply(ASKED, Sampling()))
        assert time.monotonic() - start < 3


def test_one_speaker_serves_one_event_loop_after_another_and_leaves_no_connection_open(monkeypatch):
    class Kept(Connections):
        """What garbage collection would close is not what the speaker closes."""

        async def current(self):
            connection = await super().current()
            kept.append((connection, asyncio.get_running_loop()))
            return connection

    def serve():
        async def main():
            async with serving() as server:
                servers.append(server)
                up.set()
                await asyncio.to_thread(done.wait, 30)
                await asyncio.sleep(0.05)
                left.append(server.connected)

        asyncio.run(main())

    monkeypatch.setattr(endpoint, "Connections", Kept)
    servers, left, kept, up, done = [], [], [], threading.Event(), threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    up.wait(30)
    speaker = Endpoint("m", servers[0].url)
    for k in range(3):
        assert asyncio.run(speaker.reply(question(str(k)), Sampling())).text == "fine"
    done.set()
    thread.join()
    assert left == [0]
    assert len({loop for _, loop in kept}) == 3
    loops = [weakref.ref(loop) for _, loop in kept]
    kept.clear()
    gc.collect()
    assert not any(loop() for loop in loops)  # the speaker holds no loop that has ended


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "localhost:8000/v1"},
        {"base_url": "http://me:secret@host/v1"},
        {"base_url": "http://host/v1?key=secret"},
        {"base_url": []},
        {"timeout": 0},
        {"in_flight": 0},
        {"retries": -1},
        {"requests_per_minute": 0},
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(wrong):
    with pytest.raises(ConfigError) as caught:
        build(Endpoint, {"model": "m", "base_url": "http://localhost/v1", **wrong}, "phase 1: critic")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)

"""A writer on a real socket, and orders that ask it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.fault_server import Answer, Request, say, serving


@dataclass
class Writer:
    """A server in a thread of its own: where it is, and what it was asked."""

    url: str = ""
    heard: list[Request] = field(default_factory=list)

    @property
    def speaker(self) -> dict[str, object]:
        return {"by": "endpoint", "model": "m", "base_url": self.url, "retries": 0, "timeout": 5}


@contextmanager
def writing(answer: Callable[[Request], str | Answer]) -> Iterator[Writer]:
    """A server that says what `answer` says to each request."""
    writer, ready, done = Writer(), threading.Event(), threading.Event()

    async def respond(request, stream):
        writer.heard.append(request)
        found = answer(request)
        await (say(found) if isinstance(found, str) else found)(request, stream)

    async def serve():
        async with serving(after=respond) as running:
            writer.url = running.url
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield writer
    finally:
        done.set()
        thread.join()


@pytest.fixture
def writer() -> Callable[[Callable[[Request], str | Answer]], Iterator[Writer]]:
    return writing

"""A server on a real socket that writes data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from tests.fault_server import Answer, Request, Server, say, standing


@dataclass(frozen=True)
class Writer:
    """A server in its own thread: its URL and the requests that it received."""

    server: Server

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def heard(self) -> list[Request]:
        return self.server.requests

    @property
    def speaker(self) -> dict[str, object]:
        return {"by": "endpoint", "model": "m", "base_url": self.url, "retries": 0, "timeout": 5}


@contextmanager
def writing(answer: Callable[[Request], str | Answer]) -> Iterator[Writer]:
    """Run a server that replies to each request with the result of `answer`."""

    async def respond(request, stream):
        found = answer(request)
        await (say(found) if isinstance(found, str) else found)(request, stream)

    with standing(respond) as server:
        yield Writer(server)


@pytest.fixture
def writer() -> Callable[[Callable[[Request], str | Answer]], AbstractContextManager[Writer]]:
    return writing

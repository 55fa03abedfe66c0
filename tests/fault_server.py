"""A chat-completion server that fails on a script: a real socket on loopback, so that real clients meet real faults.

    async with serving(status(503), late(0.2), say("here")) as server:
        ...  # the first request to server.url is answered 503, the second late, the third and all later ones well

Bounded: it answers no more than `MOST` requests and stands no longer than `LONGEST` seconds, unless told.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

MOST = 10_000
LONGEST = 60.0


@dataclass
class Request:
    """What a client sent, and when; `flooded`: the bytes of a flood that it took."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    flooded: int = 0

    @property
    def asked(self) -> str:
        return self.body["messages"][-1]["content"]


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def completion(text: str | None = "fine", **changes: Any) -> dict[str, Any]:
    """A well-formed body; `message`, `finish_reason`, … take the place of what it would hold."""
    message = {"role": "assistant", "content": text, **changes.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": changes.pop("finish_reason", "stop")}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage, **changes}


def raw(body: bytes, code: int = 200, headers: Mapping[str, str] | None = None, announced: int | None = None) -> Answer:
    """`body` as it is; `announced`: the length that the header claims."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        lines = {"content-type": "application/json", **(headers or {})}
        lines["content-length"] = str(len(body) if announced is None else announced)
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {code} Script\r\n{head}\r\n".encode() + body)
        await writer.drain()

    return answer


def say(text: str | None = "fine", **changes: Any) -> Answer:
    """A reply."""
    return raw(json.dumps(completion(text, **changes)).encode())


def status(code: int, message: str = "so it is", **headers: str) -> Answer:
    """An error with the server's own message."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return raw(json.dumps({"error": {"message": message, "type": "scripted"}}).encode(), code, named)


def late(seconds: float, then: Answer | None = None) -> Answer:
    """An answer that takes its time."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await (then or say())(request, writer)

    return answer


def never() -> Answer:
    """No answer, on a connection that stays open."""
    return late(LONGEST)


def cut() -> Answer:
    """A connection that ends in the middle of the body."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await raw(json.dumps(completion()).encode()[:40], announced=400)(request, writer)
        writer.close()

    return answer


def flood(megabytes: int, code: int = 200) -> Answer:
    """A body without end, or nearly, in chunks."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {code} Script\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for _ in range(megabytes):
            writer.write(f"{2**20:x}\r\n".encode() + b" " * 2**20 + b"\r\n")
            await writer.drain()  # waits for the client to read
            request.flooded += 2**20
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    return answer


@dataclass
class Server:
    """What a running server has seen."""

    script: list[Answer]
    after: Answer
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    connected: int = 0
    looked_for: int = 0  # times that a client asked only whether a server is there

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connected += 1
        try:
            while len(self.requests) < MOST:
                if (request := await _read(reader)) is None:
                    self.looked_for += 1
                    await status(404)(Request({}, {}, 0.0), writer)
                    continue
                answer = self.script[len(self.requests)] if len(self.requests) < len(self.script) else self.after
                self.requests.append(request)
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    await answer(request, writer)
                finally:
                    self.under_way -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away: its right
        except asyncio.CancelledError:
            writer.transport.abort()  # nobody reads what is left to send
            raise
        finally:
            self.connected -= 1
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None if it has no body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    if "content-length" not in headers:
        return None
    body = await reader.readexactly(int(headers["content-length"]))
    return Request(json.loads(body), headers, time.monotonic())


@asynccontextmanager
async def serving(*script: Answer, after: Answer | None = None, longest: float = LONGEST) -> AsyncIterator[Server]:
    """A server that answers by `script`, request by request, and then always by `after` (well, unless told)."""
    server = Server(list(script), after or say())
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(server.serve(reader, writer)))

    async with asyncio.timeout(longest):
        listener = await asyncio.start_server(connected, "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        try:
            yield server
        finally:
            listener.close()
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections, return_exceptions=True)


@contextmanager
def standing(after: Answer, longest: float = LONGEST) -> Iterator[Server]:
    """The same in a thread of its own, for programs that have an event loop themselves."""
    running: list[Server] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving(after=after, longest=longest) as running_server:
            running.append(running_server)
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield running[0]
    finally:
        done.set()
        thread.join()

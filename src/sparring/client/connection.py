"""Exchanges with a server through the `openai` client, in connection pools of each event loop's own.

The client's own retries are off, since every try is admitted and recorded. So are redirects, which would be tries that
nobody counts. Bodies are read up to a limit. A key comes from the environment, goes into a header, and is taken out of
whatever a server says back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from ssl import SSLContext
from typing import Any

import httpx2
import openai
from pydantic import SecretStr

from sparring.client.completion import complaint, parsed
from sparring.client.trouble import Trouble, of_status
from sparring.common.errors import ConfigError

LARGEST_BODY = 8 * 2**20  # bytes; a reply of 100,000 tokens is below 1 MB
POOLED = 8  # calls under way in one connection pool: it looks at all its connections for each of them
_NO_KEY = b"none"
_UNREACHABLE = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)


def key_in(variable: str) -> SecretStr:
    """The key in environment variable `variable`; a stand-in where it is unset, for servers that ask for none."""
    key = SecretStr(os.environ.get(variable, "").strip() or _NO_KEY.decode())
    if not (key.get_secret_value().isascii() and key.get_secret_value().isprintable()):
        raise ConfigError(
            f"the key in the environment variable {variable} holds characters that no key has: set it anew"
        )
    return key


class Connection:
    """What one event loop uses to reach servers: connection pools, and the room for calls under way."""

    def __init__(self, in_flight: int, timeout: float, key: SecretStr) -> None:
        self.room = asyncio.Semaphore(in_flight)
        self._key = key
        self._timeout = timeout
        context = httpx2.create_ssl_context()
        self._pools = [self._pool(context) for _ in range(-(-in_flight // POOLED))]
        self._under_way = [0] * len(self._pools)
        self._clients: dict[tuple[str, int], openai.AsyncOpenAI] = {}

    async def post(self, url: str, body: Mapping[str, Any]) -> bytes:
        """The body of the response to the chat completion `body` at `url`; raises Trouble."""
        pool = next((pool for pool, calls in enumerate(self._under_way) if calls < POOLED), 0)
        self._under_way[pool] += 1
        try:
            async with asyncio.timeout(self._timeout):  # of the whole call; the client's own is one of each read
                # not by `chat.completions`: checking typed fields, and a reply's, is a fifth of the time of a call
                response = await self._client(url, pool).post("/chat/completions", cast_to=httpx2.Response, body=body)
            return self._without_key(response.content)
        except _Unpacked as unpacked:
            return unpacked.body
        except TimeoutError:
            raise self._late() from None
        except openai.APIConnectionError as error:
            raise self._lost(error.__cause__) from None
        except httpx2.RequestError as error:
            raise self._lost(error) from None
        finally:
            self._under_way[pool] -= 1

    def _pool(self, context: SSLContext) -> httpx2.AsyncClient:
        return openai.DefaultAsyncHttpxClient(
            timeout=self._timeout,
            follow_redirects=False,
            verify=context,
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [self._receive]},
        )

    def _client(self, url: str, pool: int) -> openai.AsyncOpenAI:
        if (url, pool) not in self._clients:
            self._clients[url, pool] = openai.AsyncOpenAI(
                base_url=url, api_key=self._key.get_secret_value(), http_client=self._pools[pool], max_retries=0
            )
        return self._clients[url, pool]

    async def _receive(self, response: httpx2.Response) -> None:
        """Sees to it that no body is read without a limit. An error status becomes Trouble with the words of its body;
        a body that is compressed, although we ask for none, is read here, where what it grows to is seen."""
        coding = response.headers.get("content-encoding", "identity")
        if response.is_success and coding == "identity":
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Bounded(response.stream)
            return
        if "," in coding:
            told = f"a body that is compressed more than once ({coding[:60]})"
            if response.is_success:
                raise Trouble("not JSON", told, again=False)
            raise of_status(response.status_code, response.headers, told)
        body = self._without_key(b"".join([chunk async for chunk in _bounded(response.aiter_bytes())]))
        if response.is_success:
            raise _Unpacked(body)
        try:
            words = complaint(parsed(body))
        except Trouble:
            words = " ".join(body[:500].decode(errors="replace").split())
        raise of_status(response.status_code, response.headers, words)

    def _without_key(self, body: bytes) -> bytes:
        secret = self._key.get_secret_value().encode()
        return body.replace(secret, b"[key]") if secret != _NO_KEY else body

    def _late(self) -> Trouble:
        return Trouble("timed out", f"no reply within {self._timeout:g} s", sick=True)

    def _lost(self, cause: BaseException | None) -> Trouble:
        if isinstance(cause, _UNREACHABLE):
            return Trouble("unreachable", str(cause) or type(cause).__name__, sick=True, unreachable=True)
        if isinstance(cause, httpx2.TimeoutException):
            return self._late()
        return Trouble("cut connection", str(cause) or type(cause).__name__, sick=True)

    async def close(self) -> None:
        """Closes the connections."""
        for pool in self._pools:
            await pool.aclose()


class _Unpacked(Exception):
    """The body of a compressed response."""

    def __init__(self, body: bytes) -> None:
        super().__init__(f"{len(body)} bytes")
        self.body = body


async def _bounded(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """`chunks`; raises Trouble where they are more than LARGEST_BODY."""
    read = 0
    async for chunk in chunks:
        read += len(chunk)
        if read > LARGEST_BODY:
            raise Trouble("too large", f"a body of more than {LARGEST_BODY // 2**20} MB", again=False)
        yield chunk


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _bounded(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


class Lines:
    """A line for each running event loop, closed when its loop ends."""

    def __init__(self, in_flight: int, timeout: float, key_variable: str) -> None:
        self._in_flight, self._timeout, self._key_variable = in_flight, timeout, key_variable
        self._open: dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[Connection, None], Connection]] = {}

    async def here(self) -> Connection:
        """The line of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            lifetime = self._lifetime(loop)
            line = await anext(lifetime)  # does not wait: nobody else gets in between
            self._open[loop] = (lifetime, line)
        return self._open[loop][1]

    async def _lifetime(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Connection, None]:
        """A generator, since a loop that ends (`asyncio.run`) closes those that are open: no client outlives it."""
        line = Connection(self._in_flight, self._timeout, key_in(self._key_variable))
        try:
            yield line
        finally:
            self._open.pop(loop, None)
            await line.close()

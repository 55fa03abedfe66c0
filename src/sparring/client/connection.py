"""Requests to servers through the `openai` client, with connection pools for each event loop.

The client's own retries and redirects are off, because every request must be admitted and recorded. Bodies have a size
limit. The API key comes from the environment and is removed from everything that a server sends back. A short key stays
there: it is a placeholder (`EMPTY`, `x`), and removing it would change replies that hold the same letters.
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

from sparring.client.completion import error_message, parse_json
from sparring.client.trouble import Trouble, from_status
from sparring.common.errors import ConfigError

LARGEST_BODY = 8 * 2**20  # bytes; a reply of 100,000 tokens is below 1 MB
CALLS_PER_POOL = 8  # concurrent calls in one connection pool: a pool scans all its connections for each call
REACH_TIMEOUT = 5.0  # seconds for the connection that shows that a server is there
CONNECT_SHARE = 0.9  # of a call's timeout, for connecting: a server that is not there is known as unreachable
SHORTEST_KEY = 16  # characters; a shorter key is no secret of a provider
_NO_KEY = "none"
_UNREACHABLE = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)


def read_key(variable: str) -> SecretStr:
    """Return the API key in the environment variable `variable`.

    If the variable is unset, return a placeholder, for servers that need no key. ConfigError if the key has characters
    that cannot go into a header.
    """
    key = SecretStr(os.environ.get(variable, "").strip() or _NO_KEY)
    if not (key.get_secret_value().isascii() and key.get_secret_value().isprintable()):
        raise ConfigError(
            f"the key in the environment variable {variable} contains characters that are not printable ASCII; "
            "set it again"
        )
    return key


def why_unreachable(url: str) -> str | None:
    """Return why there is no connection to the server at `url`; None if there is one, whatever the server answers.

    The request (GET /models, without the key) is one that no server charges for.
    """
    try:
        httpx2.get(f"{url.rstrip('/')}/models", timeout=REACH_TIMEOUT, follow_redirects=False)
    except _UNREACHABLE as error:
        return str(error) or f"no connection within {REACH_TIMEOUT:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL):  # it is slow, or no web server; a call will tell
        return None
    return None


class Connection:
    """The connection pools of one event loop; `slots` limits its concurrent calls.

    `timeout` is in seconds and holds for a whole call.
    """

    def __init__(self, in_flight: int, timeout: float, key: SecretStr) -> None:
        self.slots = asyncio.Semaphore(in_flight)
        self._key = key
        self._timeout = timeout
        context = httpx2.create_ssl_context()
        self._pools = [self._pool(context) for _ in range(-(-in_flight // CALLS_PER_POOL))]
        self._active = [0] * len(self._pools)
        self._clients: dict[tuple[str, int], openai.AsyncOpenAI] = {}

    async def post(self, url: str, body: Mapping[str, Any]) -> bytes:
        """Send the chat-completion request `body` to `url` and return the response body; raises Trouble."""
        pool = next((pool for pool, calls in enumerate(self._active) if calls < CALLS_PER_POOL), 0)
        self._active[pool] += 1
        try:
            async with asyncio.timeout(self._timeout):  # for the whole call; the client's own timeout is per read
                # not `chat.completions.create`: its validation takes a fifth of the time of a call
                response = await self._client(url, pool).post("/chat/completions", cast_to=httpx2.Response, body=body)
            return self._without_key(response.content)
        except _Decompressed as response_body:
            return response_body.body
        except TimeoutError:
            raise self._timed_out() from None
        except openai.APIConnectionError as error:
            raise self._connection_error(error.__cause__) from None
        except httpx2.RequestError as error:
            raise self._connection_error(error) from None
        finally:
            self._active[pool] -= 1

    def _pool(self, context: SSLContext) -> httpx2.AsyncClient:
        return openai.DefaultAsyncHttpxClient(
            timeout=httpx2.Timeout(self._timeout, connect=CONNECT_SHARE * self._timeout),
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
        """Limit the size of the response body; raise Trouble with the server's message for an error status.

        A compressed body, which the request did not ask for, is read here: the limit holds for its decompressed size.
        """
        encoding = response.headers.get("content-encoding", "identity")
        if response.is_success and encoding == "identity":
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream)
            return
        if "," in encoding:
            reason = f"the body is compressed more than once ({encoding[:60]})"
            if response.is_success:
                raise Trouble("not JSON", reason, can_retry=False, used=None)
            raise from_status(response.status_code, response.headers, reason)
        body = self._without_key(b"".join([chunk async for chunk in _bounded(response.aiter_bytes())]))
        if response.is_success:
            raise _Decompressed(body)
        try:
            message = error_message(parse_json(body))
        except Trouble:
            message = " ".join(body[:500].decode(errors="replace").split())
        raise from_status(response.status_code, response.headers, message)

    def _without_key(self, body: bytes) -> bytes:
        secret = self._key.get_secret_value().encode()
        return body.replace(secret, b"[key]") if len(secret) >= SHORTEST_KEY else body

    def _timed_out(self) -> Trouble:
        return Trouble("timed out", f"no reply within {self._timeout:g} s", is_host_failure=True, used=None)

    def _connection_error(self, cause: BaseException | None) -> Trouble:
        if isinstance(cause, _UNREACHABLE):
            return Trouble("unreachable", str(cause) or type(cause).__name__, is_host_failure=True, is_unreachable=True)
        if isinstance(cause, httpx2.TimeoutException):
            return self._timed_out()
        return Trouble("cut connection", str(cause) or type(cause).__name__, is_host_failure=True, used=None)

    async def close(self) -> None:
        """Close the connections."""
        for pool in self._pools:
            await pool.aclose()


class _Decompressed(Exception):
    """Carries the decompressed body of a response out of the client's event hook."""

    def __init__(self, body: bytes) -> None:
        super().__init__(f"{len(body)} bytes")
        self.body = body


async def _bounded(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield `chunks`; raises Trouble once they exceed LARGEST_BODY bytes."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > LARGEST_BODY:
            raise Trouble("too large", f"a body of more than {LARGEST_BODY // 2**20} MB", can_retry=False, used=None)
        yield chunk


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _bounded(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


class Connections:
    """One `Connection` for each running event loop, closed when its loop ends."""

    def __init__(self, in_flight: int, timeout: float, key_variable: str) -> None:
        self._in_flight, self._timeout, self._key_variable = in_flight, timeout, key_variable
        self._open: dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[Connection, None], Connection]] = {}

    async def current(self) -> Connection:
        """Return the connection of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            lifetime = self._lifetime(loop)
            connection = await anext(lifetime)  # never suspends, so no other task opens a second one
            self._open[loop] = (lifetime, connection)
        return self._open[loop][1]

    async def _lifetime(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Connection, None]:
        """Yield a connection and close it in the end.

        A loop that ends (`asyncio.run`) closes its open async generators, and with this one the connection.
        """
        connection = Connection(self._in_flight, self._timeout, read_key(self._key_variable))
        try:
            yield connection
        finally:
            self._open.pop(loop, None)
            await connection.close()

"""Exchanges with a server through the `openai` client, one HTTP client for each event loop.

The client's own retries are off, since every try is admitted and recorded; bodies are read up to a limit. A key comes
from the environment, goes into a header, and is taken out of whatever a server says back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx2
import openai
from pydantic import SecretStr

from sparring.errors import ConfigError
from sparring.wire.completion import complaint, parsed
from sparring.wire.trouble import Trouble, of_status

LARGEST_BODY = 8 * 2**20  # bytes; a reply of 100,000 tokens is below 1 MB
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


class Line:
    """What one event loop uses to reach servers: a connection pool, and the room for calls under way."""

    def __init__(self, in_flight: int, timeout: float, key: SecretStr) -> None:
        self.room = asyncio.Semaphore(in_flight)
        self._key = key
        self._timeout = timeout
        self._http = openai.DefaultAsyncHttpxClient(
            timeout=timeout,
            headers={"Accept-Encoding": "identity"},  # a small body stays small
            event_hooks={"response": [self._refuse]},
        )
        self._clients: dict[str, openai.AsyncOpenAI] = {}

    async def post(self, url: str, body: Mapping[str, Any]) -> bytes:
        """The body of the response to the chat completion `body` at `url`; raises Trouble."""
        completions = self._client(url).chat.completions.with_streaming_response
        try:
            async with (
                asyncio.timeout(self._timeout),  # of the whole call; the client's own is one of each read
                # the whole body as extra: the client checks typed fields key by key, a seventh of the time of a call
                completions.create(model=body["model"], messages=[], extra_body=body) as response,
            ):
                return await self._bounded(response.http_response)
        except TimeoutError:
            raise self._late() from None
        except openai.APIConnectionError as error:
            raise self._lost(error.__cause__) from None
        except httpx2.RequestError as error:
            raise self._lost(error) from None

    def _client(self, url: str) -> openai.AsyncOpenAI:
        if url not in self._clients:
            self._clients[url] = openai.AsyncOpenAI(
                base_url=url, api_key=self._key.get_secret_value(), http_client=self._http, max_retries=0
            )
        return self._clients[url]

    async def _refuse(self, response: httpx2.Response) -> None:
        """Turns an error status into Trouble before anybody reads its body without a limit."""
        if response.is_success or response.has_redirect_location:
            return
        body = await self._bounded(response)
        try:
            words = complaint(parsed(body))
        except Trouble:
            words = " ".join(body[:500].decode(errors="replace").split())
        raise of_status(response.status_code, response.headers, words)

    async def _bounded(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise Trouble("too large", f"a body of more than {LARGEST_BODY // 2**20} MB", again=False)
        secret = self._key.get_secret_value().encode()
        return bytes(body).replace(secret, b"[key]") if secret != _NO_KEY else bytes(body)

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
        await self._http.aclose()


class Lines:
    """A line for each running event loop, closed when its loop ends."""

    def __init__(self, in_flight: int, timeout: float, key_variable: str) -> None:
        self._in_flight, self._timeout, self._key_variable = in_flight, timeout, key_variable
        self._open: dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[Line, None], Line]] = {}

    async def here(self) -> Line:
        """The line of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            lifetime = self._lifetime(loop)
            line = await anext(lifetime)  # does not wait: nobody else gets in between
            self._open[loop] = (lifetime, line)
        return self._open[loop][1]

    async def _lifetime(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Line, None]:
        """A generator, since a loop that ends (`asyncio.run`) closes those that are open: no client outlives it."""
        line = Line(self._in_flight, self._timeout, key_in(self._key_variable))
        try:
            yield line
        finally:
            self._open.pop(loop, None)
            await line.close()

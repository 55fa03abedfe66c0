"""An OpenAI-compatible chat endpoint as a speaker, with its retries.

Several base URLs form one pool. If all tries fail: `Unavailable` with the last failure. If the key is rejected:
`ConfigError`. Every try is admitted before it is sent and reported afterwards (`core.attempts`).

The connection is in `client`, caching and budgets are in `ledger`. An endpoint cannot continue a message of its own,
because servers do not agree on a request for that.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le

from sparring.client.completion import ServerQuirks, estimate_tokens, max_usage, read_completion
from sparring.client.connection import Connection, Connections, read_key, why_unreachable
from sparring.client.hosts import Host, Hosts
from sparring.client.rate_limiter import RateLimiter
from sparring.client.trouble import FORM_REJECTED, NOT_ALLOWED, RATE_LIMITED, Trouble
from sparring.common.errors import ConfigError, Unavailable
from sparring.common.seeds import stream
from sparring.core import attempts
from sparring.core.attempts import REPLIED, Attempt, Tokens
from sparring.core.chat import Chat
from sparring.core.speaker import Reply, Sampling

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between the tries of one call; each pause doubles the last
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
UNKNOWN_BILL = "(it may be billed, and counts with the most that it may have cost)"
MAX_SERVER_WAIT = 300.0  # seconds; calls fail at once while a server asks for more (a daily quota, say)


class _State(NamedTuple):
    """The connections, host health, learnt quirks and rate limits of a running endpoint."""

    connections: Connections
    hosts: Hosts
    quirks: ServerQuirks
    request_rate: RateLimiter
    token_rate: RateLimiter


class _RetryPolicy:
    """Decides how often one call is tried. Waiting for a rate limit uses up no retry."""

    def __init__(self, retries: int) -> None:
        self.tries = 0
        self._retries_left = retries
        self._limited_since = math.inf

    def gives_up(self, trouble: Trouble) -> bool:
        """Count a try that failed with `trouble` and say whether it was the last one."""
        self.tries += 1
        if trouble.status == RATE_LIMITED:
            now = time.monotonic()
            self._limited_since = min(self._limited_since, now)
            return not trouble.can_retry or now - self._limited_since + trouble.wait > MAX_SERVER_WAIT
        self._retries_left -= 1
        return not trouble.can_retry or self._retries_left < 0 or trouble.wait > MAX_SERVER_WAIT

    def pause(self) -> float:
        """Return the seconds until the next try: exponential backoff with random jitter."""
        return random.uniform(0.5, 1) * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.tries - 1, 30))


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible chat endpoint, on one server or several.

    The API key is read from the environment variable `key_variable`; servers without a key need none. `timeout`:
    seconds for one try. `retries`: tries after the first. `in_flight`: concurrent tries over all hosts; the two limits
    per minute hold over all hosts too. `seed`: sample k is requested with its own seed, derived from this one.
    """

    name: ClassVar[str] = "endpoint"
    admits: ClassVar[bool] = True

    model: str
    base_url: str | tuple[str, ...]
    key_variable: str = "OPENAI_API_KEY"
    timeout: Annotated[float, Gt(0)] = 120.0
    retries: Annotated[int, Ge(0)] = 5
    in_flight: Annotated[int, Gt(0), Le(4096)] = 16
    requests_per_minute: Annotated[float, Gt(0)] | None = None
    tokens_per_minute: Annotated[float, Gt(0)] | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    author: str = "partner"

    def __post_init__(self) -> None:
        for url in self.urls or ("",):
            if not _is_address(url):
                shown = "…" if "@" in url or "?" in url else url[:200]  # these may contain a secret
                raise ConfigError(
                    f"base_url is not a server address (got {shown!r}); "
                    "give http(s)://host:port/v1, without a password or a query"
                )
        if not _VARIABLE.fullmatch(self.key_variable):  # the value is not shown: it may be the key itself
            raise ConfigError(
                "key_variable is not a variable name; put the key into an environment variable and give that "
                "variable's name"
            )

    @property
    def urls(self) -> tuple[str, ...]:
        """The base URLs, always as a tuple."""
        return (self.base_url,) if isinstance(self.base_url, str) else tuple(self.base_url)

    def ready(self) -> None:
        """Raise ConfigError if the key that the recipe names is not set, or no server is there. A replay skips this.

        The standard variable may be unset, because servers of one's own need no key.
        """
        read_key(self.key_variable)
        if self.key_variable != type(self).key_variable and not os.environ.get(self.key_variable):
            raise ConfigError(
                f'the environment variable {self.key_variable} is not set (key_variable = "{self.key_variable}"); '
                "set it to the key, or leave key_variable out if the server needs none"
            )
        reasons = []
        for url in self.urls:
            if (reason := why_unreachable(url)) is None:
                return
            reasons.append(f"{url} ({reason})")
        raise ConfigError(
            f"no server can be reached at {', '.join(reasons)}; start it, or correct base_url; "
            'ledger.mode = "replay" needs none if the ledger holds all replies'
        )

    @cached_property
    def _state(self) -> _State:
        return _State(
            Connections(self.in_flight, self.timeout, self.key_variable),
            Hosts(self.urls),
            ServerQuirks(),
            RateLimiter(self.requests_per_minute),
            RateLimiter(self.tokens_per_minute),
        )

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """Return everything that determines a reply (see `attempts.Recordable`).

        Settings that are None are omitted, so that a setting added later does not change the keys of earlier calls.
        """
        settings = {"extra_body": attempts.redacted(self.extra_body) or None, "seed": self.seed}
        return {
            "model": self.model,
            "messages": attempts.as_messages(chat, self.author),
            "sampling": asdict(sampling),
            "sample": sample,
            **{name: value for name, value in settings.items() if value is not None},
        }

    def _body(self, chat: Chat, sampling: Sampling, sample: int) -> dict[str, Any]:
        """Return the chat-completion request, before it is adapted to the quirks of this server."""
        if chat.messages and chat.last.open and chat.last.author == self.author:
            raise ConfigError(f"an endpoint cannot continue its own message (model {self.model}); use by = 'local'")
        # all servers accept seeds below 2^31
        seed = None if self.seed is None else stream("endpoint", self.seed, sample) % 2**31
        optional = {"top_k": sampling.top_k or None, "stop": list(sampling.stop) or None, "seed": seed}
        return {
            "model": self.model,
            "messages": attempts.as_messages(chat, self.author),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            **{name: value for name, value in optional.items() if value is not None},
            **self.extra_body,
        }

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the reply to `chat`; raises Unavailable if all tries fail and ConfigError if the key is rejected."""
        body, policy = self._body(chat, sampling, sample), _RetryPolicy(self.retries)
        connection = await self._state.connections.current()
        while True:
            adapted = self._state.quirks.apply(body)
            async with connection.slots:
                host = self._state.hosts.next()
                try:
                    return await self._try(connection, host, adapted, sampling)
                except Trouble as error:
                    trouble = error
            if trouble.status in FORM_REJECTED:
                self._state.quirks.learn(trouble.error)
                if self._state.quirks.apply(body) != adapted:
                    continue
            if policy.gives_up(trouble):
                raise self._failure(trouble, host, policy.tries)
            if not self._state.hosts.has_other_healthy(host):
                await asyncio.sleep(policy.pause())

    async def _try(self, connection: Connection, host: Host, body: Mapping[str, Any], sampling: Sampling) -> Reply:
        """Make one exchange, admitted before and reported after; raises Trouble.

        If it is unknown what the server bills, the exchange counts with the most that it may have cost.
        """
        expected_tokens = estimate_tokens(body["messages"]) + sampling.max_tokens
        await host.wait_until_open(MAX_SERVER_WAIT)
        await self._state.request_rate.wait()
        await self._state.token_rate.wait(expected_tokens)
        most = max_usage(body, sampling)
        await attempts.admit(most)
        start, used = time.monotonic(), Tokens()
        try:
            response = await connection.post(host.url, body)
            completion = read_completion(response, body["messages"], sampling, self.author)
            used = completion.used
        except Trouble as trouble:
            used = trouble.used or Tokens()
            if trouble.used is None:
                _report(host, start, most, trouble.outcome, error=f"{trouble.error} {UNKNOWN_BILL}")
            else:
                _report(host, start, used, trouble.outcome, error=trouble.error)
            self._update_health(host, trouble)
            raise
        except Exception as error:  # a bug here: the request was sent and is billed, so it is reported too
            _report(host, start, most, type(error).__name__, error=str(error))
            raise
        finally:
            self._state.token_rate.correct(used.prompt + used.completion - expected_tokens)
        host.answered()
        _report(host, start, used, REPLIED, reply=completion.reply, answered_by=completion.model)
        return completion.reply

    def _update_health(self, host: Host, trouble: Trouble) -> None:
        if trouble.is_host_failure:
            host.failed(trouble.is_unreachable)
        if trouble.wait:
            host.close_for(trouble.wait)

    def _failure(self, trouble: Trouble, host: Host, tries: int) -> ConfigError | Unavailable:
        if trouble.status in NOT_ALLOWED:
            unset = "" if os.environ.get(self.key_variable) else ", which is not set"
            return ConfigError(
                f"{host.url} rejects the key in the environment variable {self.key_variable}{unset}: "
                f"{trouble.error}; set the variable and resume"
            )
        return Unavailable(f"{self.model}: {trouble}" + (f" (tried {tries} times)" if tries > 1 else ""))


def _is_address(url: str) -> bool:
    """Whether `url` is a server address without a password or a query."""
    try:
        parts = urlsplit(url)
        is_well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unclosed bracket of an IPv6 address, or a port above 65535
        return False
    return is_well_formed and "@" not in url and "?" not in url


def _report(host: Host, start: float, used: Tokens, outcome: str, **rest: Any) -> None:
    attempts.report(Attempt(outcome, time.monotonic() - start, used, host=host.url, **rest))

"""Any OpenAI-compatible chat endpoint as a speaker, and when it is worth asking again.

Several base URLs are one pool. A reply that was not had is Unavailable with the last reason; a key that is not taken
is the user's to mend. Every try is admitted before it leaves and reported afterwards, to whoever listens.

Not here: the connection (`wire`), remembering and paying (`ledger`). An endpoint answers; it does not go on with a
message that it has begun, since servers do not agree on how to ask for that.
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

from sparring.client.completion import ServerQuirks, estimate_tokens, most, read_completion
from sparring.client.connection import Connection, Lines
from sparring.client.hosts import Host, Hosts
from sparring.client.rate_limiter import RateLimiter
from sparring.client.trouble import FORM_REFUSED, NOT_ALLOWED, RATE_LIMITED, Trouble
from sparring.common.errors import ConfigError, Unavailable
from sparring.common.seeds import stream
from sparring.core import attempts
from sparring.core.attempts import REPLIED, Attempt, Tokens
from sparring.core.chat import Chat
from sparring.core.speaker import Reply, Sampling

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between the tries of one call; they double
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
MAX_SERVER_WAIT = 300.0  # seconds; a server that asks for more (a daily quota, say) is not waited for


class _State(NamedTuple):
    """What an endpoint holds and learns while it runs."""

    lines: Lines
    hosts: Hosts
    dialect: ServerQuirks
    requests: RateLimiter
    tokens: RateLimiter


class _Patience:
    """How often and how long one call is tried. A rate limit is waited out and uses up no retry."""

    def __init__(self, retries: int) -> None:
        self.tries = 0
        self._left = retries
        self._limited_since = math.inf

    def ends_with(self, trouble: Trouble) -> bool:
        """Whether `trouble` is the last one."""
        self.tries += 1
        if trouble.status == RATE_LIMITED:
            now = time.monotonic()
            self._limited_since = min(self._limited_since, now)
            return not trouble.again or now - self._limited_since + trouble.wait > MAX_SERVER_WAIT
        self._left -= 1
        return not trouble.again or self._left < 0 or trouble.wait > MAX_SERVER_WAIT

    def pause(self) -> float:
        """Seconds until the next try: doubling, and never the same for two calls."""
        return random.uniform(0.5, 1) * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.tries - 1, 30))


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible chat endpoint, or several servers of it.

    The key is read from the environment variable `key_variable`; servers that ask for none need none. `timeout`:
    seconds for one try; `retries`: further tries; `in_flight`: tries under way at once, over all hosts, as are the two
    limits by the minute. `seed`: sample k is asked for with a seed of its own, drawn from it.
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
                shown = "…" if "@" in url or "?" in url else url[:200]  # no secret is repeated
                raise ConfigError(
                    f"base_url = {shown!r} cannot be used: give http(s)://host:port/v1, without a password or a query"
                )
        if not _VARIABLE.fullmatch(self.key_variable):  # not repeated either: it may be the key itself
            raise ConfigError(
                "key_variable is no name of a variable; put the key into an environment variable, and give its name"
            )

    @property
    def urls(self) -> tuple[str, ...]:
        """The base URLs of the pool."""
        return (self.base_url,) if isinstance(self.base_url, str) else tuple(self.base_url)

    @cached_property
    def _state(self) -> _State:
        lines = Lines(self.in_flight, self.timeout, self.key_variable)
        return _State(
            lines,
            Hosts(self.urls),
            ServerQuirks(),
            RateLimiter(self.requests_per_minute),
            RateLimiter(self.tokens_per_minute),
        )

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """All that decides a reply; what is not set is left out, so that a later setting changes no old call."""
        settings = {"extra_body": attempts.withheld(self.extra_body) or None, "seed": self.seed}
        return {
            "model": self.model,
            "messages": attempts.as_messages(chat, self.author),
            "sampling": asdict(sampling),
            "sample": sample,
            **{name: value for name, value in settings.items() if value is not None},
        }

    def _body(self, chat: Chat, sampling: Sampling, sample: int) -> dict[str, Any]:
        """The request as chat-completion servers want it, before it is put in the dialect of this one."""
        if chat.messages and chat.last.open and chat.last.author == self.author:
            raise ConfigError(f"{self.model}: an endpoint cannot go on with a message it has begun; use by = 'local'")
        seed = None if self.seed is None else stream("endpoint", self.seed, sample) % 2**31  # what all servers take
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
        """The reply to `chat`; raises Unavailable where there is none, and ConfigError where the key is not taken."""
        body, patience = self._body(chat, sampling, sample), _Patience(self.retries)
        line = await self._state.lines.here()
        while True:
            sent = self._state.dialect.word(body)
            async with line.room:
                host = self._state.hosts.next()
                try:
                    return await self._try(line, host, sent, sampling)
                except Trouble as error:
                    trouble = error
            if trouble.status in FORM_REFUSED:
                self._state.dialect.learn(trouble.error)
                if self._state.dialect.word(body) != sent:
                    continue
            if patience.ends_with(trouble):
                raise self._given_up(trouble, host, patience.tries)
            if not self._state.hosts.well_besides(host):
                await asyncio.sleep(patience.pause())

    async def _try(self, line: Connection, host: Host, sent: Mapping[str, Any], sampling: Sampling) -> Reply:
        """One exchange, admitted before and reported after; raises Trouble."""
        expected = estimate_tokens(sent["messages"]) + sampling.max_tokens
        await host.open()
        await self._state.requests.wait()
        await self._state.tokens.wait(expected)
        await attempts.admit(most(sent, sampling))
        start, used = time.monotonic(), Tokens()
        try:
            found = read_completion(await line.post(host.url, sent), sent["messages"], sampling, self.author)
            used = found.used
        except Trouble as trouble:
            used = trouble.used
            _report(host, start, used, trouble.outcome, error=trouble.error)
            self._note(host, trouble)
            raise
        except Exception as error:  # a fault of ours: what was sent is paid all the same
            _report(host, start, used, type(error).__name__, error=str(error))
            raise
        finally:
            self._state.tokens.correct(used.prompt + used.completion - expected)
        host.answered()
        _report(host, start, used, REPLIED, reply=found.reply, answered_by=found.model)
        return found.reply

    def _note(self, host: Host, trouble: Trouble) -> None:
        """Draws the conclusions about `host`."""
        if trouble.sick:
            host.failed(trouble.unreachable)
        if trouble.wait:
            host.close_for(min(trouble.wait, MAX_SERVER_WAIT))

    def _given_up(self, trouble: Trouble, host: Host, tries: int) -> ConfigError | Unavailable:
        if trouble.status in NOT_ALLOWED:
            unset = "" if os.environ.get(self.key_variable) else ", which is not set"
            return ConfigError(
                f"{host.url} does not accept the key in the environment variable {self.key_variable}{unset}: "
                f"{trouble.error}; set it and go on"
            )
        return Unavailable(f"{self.model}: {trouble}" + (f" (tried {tries} times)" if tries > 1 else ""))


def _is_address(url: str) -> bool:
    """Whether `url` is the address of a server, and holds nothing else."""
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half a bracket of an IPv6 address, a port of more than 65535
        return False
    return well_formed and "@" not in url and "?" not in url


def _report(host: Host, start: float, used: Tokens, outcome: str, **rest: Any) -> None:
    attempts.report(Attempt(outcome, time.monotonic() - start, used, host=host.url, **rest))

"""One try at a reply, and who is told of it.

Speakers and the ledger do not know each other. A speaker that can try more than once asks `admit` before each try and
hands `report` what came of it; whoever pays listens (`listening`). It says so by a class variable, `admits = True`, as
does one in this process, from which nothing leaves; any other is taken to send a request as soon as it is asked. A
speaker that does neither is still recorded, by its replies. What the call is for is said by the engine, once for a
whole episode, in `serving`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from sparring.common.seeds import digest
from sparring.core.chat import Chat
from sparring.core.speaker import Reply, Sampling, Speaker

REPLIED = "replied"


@dataclass(frozen=True)
class Tokens:
    """What is billed: tokens of the prompt, of the completion (thoughts counted in), and of the thoughts."""

    prompt: int = 0
    completion: int = 0
    thought: int = 0


@dataclass(frozen=True)
class Attempt:
    """What came of one try: a reply, or the failure called `outcome` ("timed out", "not JSON", …) with its `error`.

    `host` is where it was sent, `answered_by` the model that the server says it is.
    """

    outcome: str
    seconds: float
    tokens: Tokens = Tokens()
    reply: Reply | None = None
    error: str = ""
    host: str = ""
    answered_by: str = ""


@runtime_checkable
class Recordable(Speaker, Protocol):
    """A speaker whose calls can be known again."""

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """The call as plain data (JSON): all that decides its reply, and nothing else: no host, no key, no timeout.
        What may be a secret stands in it as its digest (`withheld`).

        `model` names in tables who is asked. Where `sampling` decides nothing (a person, a program) it is left out.
        """
        ...


def clean(text: str) -> str:
    """`text` with its half characters (lone surrogates) replaced: no file, server or tokenizer takes them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def withheld(value: Any) -> Any:
    """Plain data with the digest of each text in place of the text: for what decides a reply and may be a secret. What
    is withheld already stays as it is."""
    if isinstance(value, str):
        return value if _WITHHELD.fullmatch(value) else f"withheld:{digest(value)}"
    if isinstance(value, Mapping):
        return {key: withheld(inner) for key, inner in value.items()}
    return [withheld(inner) for inner in value] if isinstance(value, list | tuple) else value


_WITHHELD = re.compile(r"withheld:[0-9a-f]{32}")


def as_messages(chat: Chat, author: str) -> list[dict[str, str]]:
    """`chat` as `author` sees it, in the words of chat-completion servers: `role` and `content`."""
    return [{"role": turn.role, "content": clean(turn.text)} for turn in chat.seen_by(author)]


class AttemptSink(Protocol):
    """Who is told of attempts."""

    async def admit(self, most: Tokens) -> None:
        """Called before a request leaves that may be billed for `most`; returns when it may leave, and raises
        RunStopped where none may any more."""
        ...

    def record(self, attempt: Attempt) -> None:
        """Called with what came of it."""
        ...


@dataclass(frozen=True)
class Serving:
    """What calls are for: the problem (its id) of one round of one phase."""

    phase: str = ""
    round: int = 0
    problem: str = ""


serving: ContextVar[Serving] = ContextVar("serving", default=Serving())  # noqa: B039 (it is frozen)
_listener: ContextVar[AttemptSink | None] = ContextVar("listener", default=None)


@contextmanager
def listening(sink: AttemptSink) -> Iterator[None]:
    """Attempts made within are told to `sink`."""
    token = _listener.set(sink)
    try:
        yield
    finally:
        _listener.reset(token)


async def admit(most: Tokens = Tokens()) -> None:
    """To be called by a speaker before each request it sends. `most`: the most tokens that it may be billed for."""
    if (sink := _listener.get()) is not None:
        await sink.admit(most)


def admits(speaker: object) -> bool:
    """Whether `speaker` asks `admit` before each request that it sends."""
    return getattr(speaker, "admits", False) is True


def report(attempt: Attempt) -> None:
    """To be called by a speaker with what came of each request it sent."""
    if (sink := _listener.get()) is not None:
        sink.record(attempt)

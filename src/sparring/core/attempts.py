"""Report each try at a reply to whoever pays for it.

Speakers and the ledger do not know each other. A speaker that retries calls `admit` before each try and `report` after
it; the ledger receives both through `listening`. Such a speaker sets the class variable `admits = True`, and so does a
speaker in this process, which sends no requests. The ledger assumes that any other speaker sends a request as soon as
it is called. The replies of a speaker that calls neither are still recorded. The engine sets `serving`, the purpose of
the calls, and `asked`, whether there were any, once per episode.
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
    """Billed tokens: of the prompt, of the completion (including thoughts), and of the thoughts alone."""

    prompt: int = 0
    completion: int = 0
    thought: int = 0


@dataclass(frozen=True)
class Attempt:
    """The result of one try: a reply, or a failure named by `outcome` ("timed out", "not JSON", …) with its `error`.

    `host` received the request; `answered_by` is the model name that the server reports.
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
    """A speaker whose calls can be recognised, so that a recorded reply can be reused."""

    def request(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Mapping[str, Any]:
        """Return the call as plain data (JSON): everything that decides its reply, and no host, API key or timeout.

        Possible secrets appear as digests (`withheld`). `model` is the speaker's name in tables. `sampling` is omitted
        where it has no effect (a person, a program).
        """
        ...


def clean(text: str) -> str:
    """Replace lone surrogates in `text`: files, servers and tokenizers reject them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def redacted(value: Any) -> Any:
    """Replace each text in plain data by its digest, for settings that decide a reply and may be secret.

    Texts that are digests already stay as they are.
    """
    if isinstance(value, str):
        return value if _WITHHELD.fullmatch(value) else f"withheld:{digest(value)}"
    if isinstance(value, Mapping):
        return {key: redacted(inner) for key, inner in value.items()}
    return [redacted(inner) for inner in value] if isinstance(value, list | tuple) else value


_WITHHELD = re.compile(r"withheld:[0-9a-f]{32}")


def as_messages(chat: Chat, author: str) -> list[dict[str, str]]:
    """Return `chat` as `author` sees it, as a chat-completion server expects it: `role` and `content`.

    Calls of tools and their results are text: a server accepts them only with the definitions of its own tools.
    """
    return [
        {"role": "user" if turn.role == "tool" else turn.role, "content": clean(turn.text or turn.tools)}
        for turn in chat.seen_by(author)
    ]


class AttemptSink(Protocol):
    """Receives attempts."""

    async def admit(self, most: Tokens) -> None:
        """Wait until a request billed for at most `most` tokens may be sent; RunStopped if the budget is spent."""
        ...

    def record(self, attempt: Attempt) -> None:
        """Record the result of a request."""
        ...


@dataclass(frozen=True)
class Serving:
    """The purpose of calls: a problem (its id) in one round of one phase."""

    phase: str = ""
    round: int = 0
    problem: str = ""


@dataclass
class Asked:
    """Whether an episode asked a partner that may fail: a model, a program of one's own or a person."""

    once: bool = False


asked: ContextVar[Asked | None] = ContextVar("asked", default=None)
serving: ContextVar[Serving] = ContextVar("serving", default=Serving())  # noqa: B039 (frozen)
_sink: ContextVar[AttemptSink | None] = ContextVar("sink", default=None)


def note_asked() -> None:
    """Note that the episode asks a partner. Whatever passes calls to partners on does this before each."""
    if (note := asked.get()) is not None:
        note.once = True


@contextmanager
def listening(sink: AttemptSink) -> Iterator[None]:
    """Send the attempts made in this context to `sink`."""
    token = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(token)


async def admit(most: Tokens = Tokens()) -> None:
    """Ask to send a request billed for at most `most` tokens. Speakers call this before each request."""
    if (sink := _sink.get()) is not None:
        await sink.admit(most)


def admits(speaker: object) -> bool:
    """Return whether `speaker` calls `admit` before each request, or sends none."""
    return getattr(speaker, "admits", False) is True


def report(attempt: Attempt) -> None:
    """Report the result of a request. Speakers call this after each request."""
    if (sink := _sink.get()) is not None:
        sink.record(attempt)

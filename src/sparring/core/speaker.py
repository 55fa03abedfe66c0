"""Anything that can reply to a chat: a model in this process, an endpoint, a program, a person.

Methods and partners see the learner and each other through this one protocol. `sample` distinguishes replies to equal
prompts: sample 0 and sample 1 are different draws, and sample 0 is the same draw each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

from sparring.common.errors import CutOff, TooLong
from sparring.core.chat import Chat, Message, Part

MAX_REPLY_CHARACTERS = 200_000  # longer replies are rejected, from learner and partner
PARTNER = "partner"  # the author name of a speaker that fills a partner's role


@dataclass(frozen=True)
class Sampling:
    """How to sample a reply. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 disable filtering.

    A reply has at most `max_tokens` tokens and ends before the first of the `stop` strings.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """A speaker's reply.

    From a model in this process, `parts` have token ids and `logprobs` holds one number per sampled token: natural
    logarithm, temperature 1, unfiltered. `finish` is "length" if the token limit truncated the reply.
    """

    parts: tuple[Part, ...]
    finish: Literal["stop", "length"] = "stop"
    logprobs: tuple[float, ...] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def text(self) -> str:
        """The text without thoughts."""
        return "".join(part.text for part in self.parts if not part.thought)

    def by(self, author: str) -> Message:
        """Return the reply as a message of `author`, left open if truncated, since no stop token was sampled."""
        return Message(author, self.parts, open=self.finish == "length")

    def require_complete(self) -> Reply:
        """Return itself; CutOff if the token limit truncated it, TooLong above MAX_REPLY_CHARACTERS."""
        if self.finish == "length":
            raise CutOff(f"the reply was cut at its limit after {self.completion_tokens} tokens", self.text)
        if (length := len(self.text)) > MAX_REPLY_CHARACTERS:
            raise TooLong(f"the reply has {length:,} characters; at most {MAX_REPLY_CHARACTERS:,} are read")
        return self


@runtime_checkable
class Speaker(Protocol):
    """Replies to a chat. If the chat ends in the speaker's own open message, the reply continues that message."""

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return reply number `sample` to `chat`; Unavailable if there is none."""
        ...


def text_reply(text: str, writer: str) -> Reply:
    """Create a reply of one text."""
    return Reply((Part(text, writer),))


def prefill(chat: Chat, author: str, parts: Sequence[Part]) -> Chat:
    """Append to `chat` an open message of `author` that starts with `parts`."""
    return chat.then(replace(Message(author, tuple(parts)), open=True))

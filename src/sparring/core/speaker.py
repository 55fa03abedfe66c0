"""Anything that can reply to a chat: a model in this process, an endpoint, a program, a person.

Methods and partners see the learner and each other as this one protocol. `sample` tells apart replies that are
asked for in the same words: sample 0 and sample 1 of a question are different draws, the same sample is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

from sparring.common.errors import CutOff, TooLong
from sparring.core.chat import Chat, Message, Part

MAX_REPLY_CHARACTERS = 200_000  # characters of a reply; whoever says more is not read, learner or partner
PARTNER = "partner"  # as whom a speaker that stands in a role sees itself in a chat


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 filter nothing; `max_tokens` is the
    limit of the reply; a reply ends before the first of the `stop` strings."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What a speaker said.

    `parts` with token ids and `logprobs` (one number a sampled token: natural logarithm, temperature 1, unfiltered)
    where the speaker is a model in this process. `finish` is "length" where the limit cut it.
    """

    parts: tuple[Part, ...]
    finish: Literal["stop", "length"] = "stop"
    logprobs: tuple[float, ...] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def text(self) -> str:
        """The words without thoughts."""
        return "".join(part.text for part in self.parts if not part.thought)

    def by(self, author: str) -> Message:
        """The reply as `author`'s message, left open where the limit cut it: no stop token was sampled."""
        return Message(author, self.parts, open=self.finish == "length")

    def require_complete(self) -> Reply:
        """Itself, as every reader of replies asks for it: CutOff if the limit cut it, TooLong beyond `LONGEST`."""
        if self.finish == "length":
            raise CutOff(f"the reply was cut at its limit after {self.completion_tokens} tokens")
        if (length := len(self.text)) > MAX_REPLY_CHARACTERS:
            raise TooLong(f"the reply has {length:,} characters; at most {MAX_REPLY_CHARACTERS:,} are read")
        return self


@runtime_checkable
class Speaker(Protocol):
    """Replies to a chat. A chat that ends in the speaker's own open message is gone on with, not answered."""

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """The `sample`-th reply to `chat`; raises Unavailable where there is none."""
        ...


def text_reply(text: str, writer: str) -> Reply:
    """A reply made of plain words."""
    return Reply((Part(text, writer),))


def prefill(chat: Chat, author: str, parts: Sequence[Part]) -> Chat:
    """`chat` with `author`'s turn begun by `parts` and left open."""
    return chat.then(replace(Message(author, tuple(parts)), open=True))

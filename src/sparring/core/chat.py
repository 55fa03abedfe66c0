"""A conversation by author; roles are computed for whoever reads it.

The learner's words are `assistant` when the learner reads and `user` when its partner does, so a chat stores
authors. A message is made of parts, because one learner turn may hold an attempt it sampled, a critic's feedback
and an editor's update, each with its own writer and its own weight in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

SYSTEM = "system"
USER = "user"
LEARNER = "learner"


@dataclass(frozen=True)
class Part:
    """A stretch of one message.

    `ids` are the tokens it was sampled as (None: written by other means, tokenised when needed), `logprobs` the
    sampler's own log-probabilities of them, kept where a loss will want them; after those of a turn's last part comes
    that of the stop token, where it was sampled. `weight` is its weight in the likelihood; `thought` marks what
    partners are not shown.
    """

    text: str
    writer: str
    ids: tuple[int, ...] | None = None
    weight: float = 0.0
    thought: bool = False
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Message:
    """One author's turn. `open`: the turn is not finished, and the author is to go on with it."""

    author: str
    parts: tuple[Part, ...]
    open: bool = False

    @property
    def text(self) -> str:
        """The words others see: thoughts left out."""
        return "".join(part.text for part in self.parts if not part.thought)

    @property
    def full_text(self) -> str:
        """All words, thoughts included."""
        return "".join(part.text for part in self.parts)

    def weighing(self, weight: float) -> Message:
        """The same message with every part at `weight`."""
        return replace(self, parts=tuple(replace(part, weight=weight) for part in self.parts))


def message(author: str, text: str, writer: str | None = None, weight: float = 0.0) -> Message:
    """A message of one part, written by its author unless `writer` says otherwise."""
    return Message(author, (Part(text, writer or author, weight=weight),))


@dataclass(frozen=True)
class Turn:
    """One role's stretch of a chat, as some reader sees it: neighbours of one role merged."""

    role: str
    parts: tuple[Part, ...]
    open: bool = False

    @property
    def text(self) -> str:
        """Its words; thoughts that the reader does not see were left out before."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Chat:
    """Messages in the order in which they were said."""

    messages: tuple[Message, ...] = ()

    def then(self, *messages: Message) -> Chat:
        """This chat, gone on with `messages`."""
        return Chat(self.messages + messages)

    def say(self, author: str, text: str) -> Chat:
        """This chat with one more message."""
        return self.then(message(author, text))

    @property
    def last(self) -> Message:
        """The newest message."""
        return self.messages[-1]

    @property
    def text(self) -> str:
        """The last words said in it: for a question, what was asked."""
        return self.messages[-1].text if self.messages else ""

    def seen_by(self, reader: str, thoughts: bool = False) -> list[Turn]:
        """The chat as turns of roles for `reader`: own words `assistant`, `system` as it is, all others `user`.

        Thoughts of earlier turns are shown only to their own author and only if `thoughts`; a last message that is
        the reader's own is shown whole, since it is what the reader goes on with, or what is trained.
        """
        turns: list[Turn] = []
        for place, said in enumerate(self.messages):
            role = SYSTEM if said.author == SYSTEM else "assistant" if said.author == reader else "user"
            own = said.author == reader
            whole = own and (thoughts or place == len(self.messages) - 1)
            parts = tuple(part for part in said.parts if whole or not part.thought)
            if turns and turns[-1].role == role:
                gap = () if role == "assistant" else (Part("\n\n", said.author),)
                turns[-1] = Turn(role, turns[-1].parts + gap + parts, said.open)
            else:
                turns.append(Turn(role, parts, said.open))
        return turns


def question(text: str, system: str | None = None) -> Chat:
    """A chat that asks `text`, after an optional system prompt."""
    start: Sequence[Message] = [message(SYSTEM, system)] if system else []
    return Chat((*start, message(USER, text)))

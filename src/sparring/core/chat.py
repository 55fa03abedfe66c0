"""A conversation stored by author; roles are computed for each reader.

The learner's messages are `assistant` for the learner and `user` for its partner, so a chat stores authors. A message
consists of parts: one learner turn may hold an attempt that it sampled, a critic's feedback and an editor's update,
each with its own writer and its own training weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

SYSTEM = "system"
USER = "user"
LEARNER = "learner"
TOOL = "tool"  # the author of a tool's result
GOLD = "gold"  # the writer of what data teach; its thoughts are bare, without the marks of a model
PLAIN = "plain text"  # the author of a text that is trained on without a chat template


@dataclass(frozen=True)
class Part:
    """A section of one message.

    `ids` are its sampled tokens; None means that it was not sampled and is tokenized when needed. `logprobs` are the
    sampler's log-probabilities of `ids`, kept if a loss needs them. Those of a turn's last part are followed by that of
    the stop token, if it was sampled. `weight` is the weight in the likelihood; `thought` hides the part from partners.
    """

    text: str
    writer: str
    ids: tuple[int, ...] | None = None
    weight: float = 0.0
    thought: bool = False
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Message:
    """One author's turn. `open`: the turn is unfinished, and the author continues it.

    `tools` is a JSON object of what a chat template gets beside the text: the `tool_calls` of a turn, the `name` and
    `tool_call_id` of a result, or in a first message the definitions of the `tools`. Empty if there is none.
    """

    author: str
    parts: tuple[Part, ...]
    open: bool = False
    tools: str = ""

    @property
    def text(self) -> str:
        """The text that others see, without thoughts."""
        return "".join(part.text for part in self.parts if not part.thought)

    @property
    def full_text(self) -> str:
        """The whole text, with thoughts."""
        return "".join(part.text for part in self.parts)

    def with_weight(self, weight: float) -> Message:
        """Return the same message with every part at `weight`."""
        return replace(self, parts=tuple(replace(part, weight=weight) for part in self.parts))


def message(author: str, text: str, writer: str | None = None, weight: float = 0.0) -> Message:
    """Create a message of one part; its writer is its author unless `writer` is given."""
    return Message(author, (Part(text, writer or author, weight=weight),))


@dataclass(frozen=True)
class Turn:
    """Consecutive messages of one role, merged, as one reader sees them. A tool's call or result is not merged."""

    role: str
    parts: tuple[Part, ...]
    open: bool = False
    tools: str = ""

    @property
    def text(self) -> str:
        """The text that the reader sees; `Chat.seen_by` has removed hidden thoughts."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Chat:
    """Messages in the order in which they were written."""

    messages: tuple[Message, ...] = ()

    def then(self, *messages: Message) -> Chat:
        """Return this chat with `messages` appended."""
        return Chat(self.messages + messages)

    def say(self, author: str, text: str) -> Chat:
        """Return this chat with one more message."""
        return self.then(message(author, text))

    @property
    def last(self) -> Message:
        """The newest message."""
        return self.messages[-1]

    @property
    def text(self) -> str:
        """The text of the last message: for a question, the question. Empty for an empty chat."""
        return self.messages[-1].text if self.messages else ""

    def seen_by(self, reader: str, thoughts: bool = False) -> list[Turn]:
        """Return the chat as turns for `reader`: own messages `assistant`, system messages `system`, all others `user`.

        Tools are the learner's: to it their results are `tool`, and others read its calls as text.

        Thoughts of earlier turns are shown only to their author, and only if `thoughts` is set. The reader's own last
        message always keeps its thoughts, because the reader continues it or is trained on it.
        """
        turns: list[Turn] = []
        for index, message in enumerate(self.messages):
            is_own = message.author == reader
            role = _role(message.author, reader)
            shows_thoughts = is_own and (thoughts or index == len(self.messages) - 1)
            parts = tuple(part for part in message.parts if shows_thoughts or not part.thought)
            is_call = bool(message.tools) and message.author in (LEARNER, TOOL)
            if is_call and role == "user":
                parts += (Part(message.tools, message.author),)
            if turns and turns[-1].role == role and not is_call and not (role == "assistant" and turns[-1].tools):
                gap = () if role == "assistant" else (Part("\n\n", message.author),)
                tools = turns[-1].tools or message.tools
                turns[-1] = Turn(role, turns[-1].parts + gap + parts, message.open, tools)
            else:
                turns.append(Turn(role, parts, message.open, "" if is_call and role == "user" else message.tools))
        return turns


def _role(author: str, reader: str) -> str:
    if author == reader:
        return "assistant"
    if author == TOOL:
        return "tool" if reader == LEARNER else "user"
    return SYSTEM if author == SYSTEM else "user"


def question(text: str, system: str | None = None) -> Chat:
    """Create a chat that asks `text`, after an optional system prompt."""
    start: Sequence[Message] = [message(SYSTEM, system)] if system else []
    return Chat((*start, message(USER, text)))

"""Training examples of a round, demonstrations and preferences, and a memory that replays them.

Both hold chats with weights, not tensors, so a file of them can be read, checked and corrected by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sparring.core.chat import LEARNER, Chat, Message


@dataclass(frozen=True)
class Demonstration:
    """A chat to imitate: training uses the parts of `reader`'s messages at their weights, the rest is context.

    `group` names the kind of example, for counting and balancing.
    """

    problem: str
    chat: Chat
    group: str = "gold"
    reader: str = LEARNER
    kind: Literal["demonstration"] = "demonstration"


@dataclass(frozen=True)
class Preference:
    """Two replies to `prompt`; `chosen` is the better one."""

    problem: str
    prompt: Chat
    chosen: Message
    rejected: Message
    kind: Literal["preference"] = "preference"


Experience = Demonstration | Preference


class Memory:
    """The newest `capacity` examples from earlier rounds, which are trained on again."""

    def __init__(self, capacity: int, items: Sequence[Experience] = ()) -> None:
        self.capacity = capacity
        self.items: list[Experience] = list(items)

    def replay(self, fresh: Sequence[Experience]) -> list[Experience]:
        """Return `fresh` followed by the remembered examples."""
        return [*fresh, *self.items]

    def remember(self, fresh: Sequence[Experience]) -> None:
        """Store `fresh` after its training: a state saved during the round must not hold the round's own examples."""
        items = self.items + [_without_logprobs(example) for example in fresh]
        self.items = items[-self.capacity :] if self.capacity else []  # [-0:] would keep everything


def _without_logprobs(example: Experience) -> Experience:
    """Drop the sampling log-probabilities: the weights that gave them will have changed."""
    if isinstance(example, Preference):
        return replace(example, chosen=_drop_logprobs(example.chosen), rejected=_drop_logprobs(example.rejected))
    return replace(example, chat=Chat(tuple(map(_drop_logprobs, example.chat.messages))))


def _drop_logprobs(message: Message) -> Message:
    return replace(message, parts=tuple(replace(part, logprobs=None) for part in message.parts))

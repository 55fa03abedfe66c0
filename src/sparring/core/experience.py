"""What a round teaches: demonstrations and preferences; and a memory that replays them.

Both are chats with weights, not tensors: a file of them can be read, checked and mended by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sparring.core.chat import LEARNER, Chat, Message


@dataclass(frozen=True)
class Demonstration:
    """A chat to be imitated: the parts of `reader`'s messages at their weights, everything else as context.

    `reader` is whose words are learnt; `group` names the kind for counting and balancing.
    """

    problem: str
    chat: Chat
    group: str = "gold"
    reader: str = LEARNER
    kind: Literal["demonstration"] = "demonstration"


@dataclass(frozen=True)
class Preference:
    """Two replies to `prompt`, of which `chosen` is the better."""

    problem: str
    prompt: Chat
    chosen: Message
    rejected: Message
    kind: Literal["preference"] = "preference"


Experience = Demonstration | Preference


class Memory:
    """The newest `capacity` pieces of experience from earlier rounds, to be trained on once more."""

    def __init__(self, capacity: int, items: Sequence[Experience] = ()) -> None:
        self.capacity = capacity
        self.items: list[Experience] = list(items)

    def replay(self, fresh: Sequence[Experience]) -> list[Experience]:
        """`fresh` followed by what is remembered."""
        return [*fresh, *self.items]

    def remember(self, fresh: Sequence[Experience]) -> None:
        """Keeps `fresh`, once its round is learnt: a state saved in mid-round must not hold the round's own pieces."""
        self.items = (self.items + [_aged(piece) for piece in fresh])[-self.capacity :] if self.capacity else []


def _aged(piece: Experience) -> Experience:
    """`piece` without the log-probabilities that it was sampled with, by weights that will have moved."""
    if isinstance(piece, Preference):
        return replace(piece, chosen=_without(piece.chosen), rejected=_without(piece.rejected))
    return replace(piece, chat=Chat(tuple(map(_without, piece.chat.messages))))


def _without(message: Message) -> Message:
    return replace(message, parts=tuple(replace(part, logprobs=None) for part in message.parts))

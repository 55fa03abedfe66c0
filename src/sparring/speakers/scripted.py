"""A speaker with its lines written beforehand: for tests, for trying a recipe without paying, for examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sparring.common.errors import ConfigError, Unavailable
from sparring.core.chat import Chat
from sparring.core.speaker import Reply, Sampling, text_reply


@dataclass(frozen=True)
class Scripted:
    """Says its `replies` in turn, and with `loop` begins again when they are used up."""

    name: ClassVar[str] = "scripted"

    replies: tuple[str, ...]
    loop: bool = True
    heard: list[Chat] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.replies:
            raise ConfigError("replies = []: a scripted speaker has at least one line; give one")

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """The next line."""
        place = len(self.heard)
        if place >= len(self.replies) and not self.loop:
            raise Unavailable(f"the script has only {len(self.replies)} lines")
        self.heard.append(chat)
        return text_reply(self.replies[place % len(self.replies)], self.name)

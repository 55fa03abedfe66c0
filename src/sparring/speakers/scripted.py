"""A speaker with fixed replies, for tests, examples and free trials of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sparring.common.errors import ConfigError, Unavailable
from sparring.core.chat import Chat
from sparring.core.speaker import Reply, Sampling, text_reply


@dataclass(frozen=True)
class Scripted:
    """Gives its `replies` in turn; with `loop` it starts again after the last one."""

    name: ClassVar[str] = "scripted"

    replies: tuple[str, ...]
    loop: bool = True
    heard: list[Chat] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.replies:
            raise ConfigError("a scripted speaker needs replies (got replies = []); give at least one")

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        """Return the next reply; raises Unavailable after the last one without `loop`."""
        index = len(self.heard)
        if index >= len(self.replies) and not self.loop:
            raise Unavailable(f"the script has only {len(self.replies)} replies")
        self.heard.append(chat)
        return text_reply(self.replies[index % len(self.replies)], self.name)

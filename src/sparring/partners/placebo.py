"""A discussant that says the same to every answer: a control for what its remarks say."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from sparring.common.errors import ConfigError
from sparring.core.chat import Chat
from sparring.core.partner import Stance
from sparring.core.task import Offer, Problem


@dataclass(frozen=True)
class Placebo:
    """Says one fixed sentence, `text`, whatever the answer and the stance."""

    name: ClassVar[str] = "placebo"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    text: str = "Please look again."

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ConfigError("the text of the placebo is empty; give a sentence")

    async def remark(self, problem: Problem, chat: Chat, stance: Stance, rng: random.Random) -> str:
        """Return `text`."""
        return self.text

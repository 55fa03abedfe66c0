"""Ask once and take the reply: measures a model without the procedure that its method adds at use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from sparring.core.chat import LEARNER, Chat
from sparring.core.method import Answered, answered
from sparring.core.speaker import Sampling, Speaker
from sparring.parsing.steps import StepFormat


@dataclass(frozen=True)
class Solo:
    """One greedy reply to the question alone."""

    name: ClassVar[str] = "solo"

    max_tokens: Annotated[int, Gt(0)] = 512

    async def answer(self, question: Chat, learner: Speaker, layout: StepFormat) -> Answered:
        """Return the reply unchanged."""
        reply = await learner.reply(question, Sampling(temperature=0, max_tokens=self.max_tokens))
        return answered(question, reply.require_complete().by(LEARNER))

"""A judge that is a scalar reward model: it gets each response as the last message of the chat, without a prompt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.core.chat import LEARNER
from sparring.core.partner import Scores, one_by_one, read_score
from sparring.core.speaker import Sampling, Speaker
from sparring.core.task import Offer, Problem
from sparring.parsing.thought import Answer


@dataclass(frozen=True)
class RewardJudge:
    """Scores each response by a reward model, as the reply to the question."""

    name: ClassVar[str] = "reward_judge"
    by: ClassVar[str] = "reward"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """Return a score for each answer; equal answers are scored once."""

        async def score(answer: Answer) -> float:
            reply = await self.speaker.reply(problem.chat.say(LEARNER, answer.text), Sampling())
            return read_score(reply.require_complete().text.strip())

        return await one_by_one(score, answers)

"""A judge that is a scalar reward model: a response is shown as what was said, not asked about."""

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
    """Scores each response by the number that a reward model gives it as the reply to the question."""

    name: ClassVar[str] = "reward_judge"
    needs: ClassVar[frozenset[Offer]] = frozenset()

    speaker: Speaker

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        """A score for each answer; equal answers are scored once."""

        async def one(answer: Answer) -> float:
            reply = await self.speaker.reply(problem.chat.say(LEARNER, answer.text), Sampling())
            return read_score(reply.require_complete().text.strip())

        return await one_by_one(one, answers)

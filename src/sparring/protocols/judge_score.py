"""The score that a judge gives to each response: how open instructions are measured, for which nothing is right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.common.errors import ConversationError, Failure
from sparring.core.chat import LEARNER
from sparring.core.method import Answered
from sparring.core.partner import Judge
from sparring.core.protocol import EvaluationProtocol, Measured, Participant
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.thought import NONE


@dataclass(frozen=True)
class JudgeScore(EvaluationProtocol):
    """The mean score of one response per problem, by a judge that scores answers separately.

    A learner without an answer is scored for the words "(no response)": a low score, and the judge's own (ours).
    """

    name: ClassVar[str] = "judge_score"
    needs: ClassVar[frozenset[Offer]] = frozenset()
    primary: ClassVar[str] = "score"
    learners: ClassVar[tuple[int, int | None]] = (1, 1)

    judge: Judge

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Ask once; the judge scores the response."""
        [learner] = learners
        answered, failures = None, tuple[Failure, ...]()
        try:
            answered = await learner.answer(problem.chat)
            answer = NONE.split(answered.response).answer
        except ConversationError as error:
            answer, failures = NO_RESPONSE, (Failure.of(error, LEARNER),)
        scores = await self.judge.score(problem, (answer,), rng)
        [score] = scores.values
        measures: dict[str, bool | float] = {} if score is None else {self.primary: score}
        measures["answered"] = not failures
        if isinstance(answered, Answered):
            measures["characters"] = len(answered.response)
        return Measured(
            measures,
            answered.response if answered else "",
            (answered.chat,) if answered else (),
            failures + scores.failures,
        )


NO_RESPONSE = NONE.split("(no response)").answer

"""The score that a judge gives to each response: how open instructions are measured, for which nothing is right."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.common.errors import ConfigError, Failure
from sparring.core.exports import for_other_tools
from sparring.core.match import is_pairwise, response_of
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
    needs: ClassVar[frozenset[Offer]] = frozenset({"question"})
    primary: ClassVar[str] = "score"
    learners: ClassVar[tuple[int, int | None]] = (1, 1)

    judge: Judge

    def __post_init__(self) -> None:
        if is_pairwise(self.judge):
            raise ConfigError(
                "the judge only compares responses, and judge_score wants a score of one; "
                "give a judge that scores (mode = 'pointwise'), or use the protocol win_rate"
            )

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Ask once; the judge scores the response."""
        [learner] = learners
        given = await learner.try_answer(problem.chat)
        response = response_of(given)
        answer = NO_RESPONSE if isinstance(response, Failure) else response
        scores = await self.judge.score(problem, (answer,), rng)
        [score] = scores.values
        measures: dict[str, bool | float] = {} if score is None else {self.primary: score}
        measures["answered"] = answer is response
        if isinstance(response, Failure):
            return Measured(measures, "", (given.chat,), (response, *scores.failures))
        return Measured(measures | {"characters": len(answer.text)}, answer.text, (given.chat,), scores.failures)

    def exports(self, learner: str, responses: Sequence[tuple[Problem, str]]) -> Mapping[str, str]:
        """Return the responses as AlpacaEval and Arena-Hard read them."""
        return for_other_tools(learner, responses)


NO_RESPONSE = NONE.split("(no response)").answer

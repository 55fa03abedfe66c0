"""How often a judge prefers the responses of one learner to those of another, its baseline.

The judge sees responses only, in both orders. A scalar judge's scores are compared. A verdict that contradicts the one
in the other order makes half a win, as a tie does; both are counted.

Arena-Hard (arXiv 2406.11939): a win by far counts as three verdicts. Its Bradley-Terry model of one learner and one
baseline predicts exactly the share of these verdicts, so `arena_hard` is that share. Departures of ours: the interval
resamples problems, not verdicts, and has 95 %. Problems that lack a verdict are left out, as in the authors' code.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Interval

from sparring.common.errors import ConversationError, Failure
from sparring.common.statistics import ratio
from sparring.core.chat import LEARNER
from sparring.core.match import Game, Match, play_match
from sparring.core.method import Answered
from sparring.core.partner import Judge
from sparring.core.protocol import EvaluationProtocol, Measured, Measures, Participant
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.thought import NONE, Answer

_BY_FAR = 3  # verdicts that a win by far counts as: Arena-Hard v0.1


@dataclass(frozen=True)
class WinRate(EvaluationProtocol):
    """The share of the first learner's wins against the second, by a judge in both orders.

    `win_rate_length_matched` counts only pairs whose lengths differ by at most `length_margin` of the longer response.
    Lengths are characters. A learner without an answer loses to one with an answer.
    """

    name: ClassVar[str] = "win_rate"
    needs: ClassVar[frozenset[Offer]] = frozenset()
    primary: ClassVar[str] = "win_rate"
    learners: ClassVar[tuple[int, int | None]] = (2, 2)

    judge: Judge
    length_margin: Annotated[float, Interval(ge=0, le=1)] = 0.1

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Ask both learners, then the judge."""
        ours, theirs = await asyncio.gather(*(_answer(learner, problem) for learner in learners))
        match = await self._match(problem, ours, theirs, rng)
        answers = [given for given in (ours, theirs) if isinstance(given, Answered)]
        return Measured(
            self._measures(match, _length(ours), _length(theirs)),
            ours.response if isinstance(ours, Answered) else "",
            tuple(answered.chat for answered in answers),
            (*(given for given in (ours, theirs) if isinstance(given, Failure)), *match.failures),
        )

    async def _match(
        self, problem: Problem, ours: Answered | Failure, theirs: Answered | Failure, rng: random.Random
    ) -> Match:
        if isinstance(ours, Answered) and isinstance(theirs, Answered):
            return await play_match(self.judge, problem, _response(ours), _response(theirs), rng)
        points = 0.5 if isinstance(ours, Failure) and isinstance(theirs, Failure) else float(isinstance(ours, Answered))
        return Match((Game(points), Game(points)))

    def _measures(self, match: Match, ours: int, theirs: int) -> dict[str, bool | float]:
        measures: dict[str, bool | float] = {}
        if match.games:
            measures[self.primary] = match.points
            if abs(ours - theirs) <= self.length_margin * max(ours, theirs):
                measures["win_rate_length_matched"] = match.points
            measures["tie"], measures["contradiction"] = match.is_tie, match.is_contradiction
        measures |= {name: n for name, n in (("characters", ours), ("characters_baseline", theirs)) if n}
        if len(match.games) == 2:
            measures["won_by_far"] = sum(game.by_far and game.points == 1 for game in match.games) / 2
            measures["lost_by_far"] = sum(game.by_far and game.points == 0 for game in match.games) / 2
        return measures

    def summarize(self, measures: Sequence[Measures]) -> Mapping[str, Any]:
        """Return Arena-Hard's score, if the judge can say that an answer wins by far."""
        rows = [row for row in measures if "won_by_far" in row]
        if not any(row["won_by_far"] or row["lost_by_far"] for row in rows):
            return {}
        extra = _BY_FAR - 1
        won = [row[self.primary] + extra * row["won_by_far"] for row in rows]
        counted = [1 + extra * (row["won_by_far"] + row["lost_by_far"]) for row in rows]
        score = ratio(won, counted)
        return {"arena_hard": score.value, "arena_hard_low": score.low, "arena_hard_high": score.high}


async def _answer(learner: Participant, problem: Problem) -> Answered | Failure:
    try:
        answered = await learner.answer(problem.chat)
        _response(answered)  # an empty one is no answer
    except ConversationError as error:
        return Failure.of(error, LEARNER)
    return answered


def _response(answered: Answered) -> Answer:
    return NONE.split(answered.response).answer


def _length(given: Answered | Failure) -> int:
    return len(given.response) if isinstance(given, Answered) else 0

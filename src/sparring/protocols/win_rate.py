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

from sparring.common.errors import Failure
from sparring.common.length_control import fit
from sparring.common.statistics import ratio
from sparring.core.exports import for_other_tools
from sparring.core.match import Game, Match, play_match, response_of
from sparring.core.partner import Judge
from sparring.core.protocol import EvaluationProtocol, Measured, Measures, Participant
from sparring.core.task import Offer, Problem, Task
from sparring.parsing.thought import Answer

Response = Answer | Failure
_BY_FAR = 3  # verdicts that a win by far counts as: Arena-Hard v0.1


@dataclass(frozen=True)
class WinRate(EvaluationProtocol):
    """The share of the first learner's wins against the second, by a judge in both orders.

    `win_rate_length_matched` counts only pairs whose lengths differ by at most `length_margin` of the longer response.
    Lengths are characters. A learner without an answer loses to one with an answer; if neither gives one, nothing is
    compared. The summary's `length_controlled` uses the instructions' difficulties if the task knows them
    (`difficulty_column` of instructions).
    """

    name: ClassVar[str] = "win_rate"
    needs: ClassVar[frozenset[Offer]] = frozenset({"question"})
    primary: ClassVar[str] = "win_rate"
    learners: ClassVar[tuple[int, int | None]] = (2, 2)

    judge: Judge
    length_margin: Annotated[float, Interval(ge=0, le=1)] = 0.1

    async def measure(
        self, problem: Problem, task: Task, learners: Sequence[Participant], rng: random.Random
    ) -> Measured:
        """Ask both learners, then the judge."""
        given = await asyncio.gather(*(learner.try_answer(problem.chat) for learner in learners))
        ours, theirs = map(response_of, given)
        match = await self._match(problem, ours, theirs, rng)
        failures = (response for response in (ours, theirs) if isinstance(response, Failure))
        difficulty = problem.data.get("difficulty")
        return Measured(
            self._measures(match, _length(ours), _length(theirs))
            | ({} if difficulty is None else {"difficulty": float(difficulty)}),
            ours.text if isinstance(ours, Answer) else "",
            tuple(one.chat for one in given),
            (*failures, *match.failures),
        )

    async def _match(self, problem: Problem, ours: Response, theirs: Response, rng: random.Random) -> Match:
        if isinstance(ours, Answer) and isinstance(theirs, Answer):
            return await play_match(self.judge, problem, ours, theirs, rng)
        if isinstance(ours, Failure) and isinstance(theirs, Failure):
            return Match(())
        won = Game(float(isinstance(ours, Answer)))
        return Match((won, won))

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

    def exports(self, learner: str, responses: Sequence[tuple[Problem, str]]) -> Mapping[str, str]:
        """Return the responses as AlpacaEval and Arena-Hard read them."""
        return for_other_tools(learner, responses)

    def summarize(self, measures: Sequence[Measures]) -> Mapping[str, Any]:
        """Return the length-controlled win rate, and Arena-Hard's score if the judge says who wins by far."""
        return {**_length_controlled(measures), **_arena_hard(measures)}


def _length_controlled(measures: Sequence[Measures]) -> dict[str, float]:
    """Return the win rate without the influence of length; where one learner gave no answer, the other wins."""
    games = [row for row in measures if "win_rate" in row]
    rows = [row for row in games if {"characters", "characters_baseline"} <= row.keys()]
    if len(rows) < 2:
        return {}
    difficulties = [row.get("difficulty", 0.0) for row in rows]
    differences = [row["characters_baseline"] - row["characters"] for row in rows]
    model = fit([row["win_rate"] for row in rows], differences, difficulties)
    decided = sum(row["win_rate"] for row in games) - sum(row["win_rate"] for row in rows)
    return {"length_controlled": (model.win_rate(difficulties) * len(rows) + decided) / len(games)}


def _arena_hard(measures: Sequence[Measures]) -> dict[str, float]:
    rows = [row for row in measures if "won_by_far" in row]
    if not any(row["won_by_far"] or row["lost_by_far"] for row in rows):
        return {}
    extra = _BY_FAR - 1
    won = [row["win_rate"] + extra * row["won_by_far"] for row in rows]
    counted = [1 + extra * (row["won_by_far"] + row["lost_by_far"]) for row in rows]
    score = ratio(won, counted)
    return {"arena_hard": score.value, "arena_hard_low": score.low, "arena_hard_high": score.high}


def _length(response: Response) -> int:
    """Return the characters of a response; 0 for none."""
    return len(response.text) if isinstance(response, Answer) else 0

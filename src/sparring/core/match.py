"""A match: a judge's verdicts on two answers, in both orders where the order matters."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from sparring.common.errors import ConversationError, Failure, Unreadable
from sparring.core.chat import LEARNER
from sparring.core.method import Answered
from sparring.core.partner import JUDGE, Compares, Judge, Verdict, preferred
from sparring.core.protocol import NoAnswer
from sparring.core.task import Problem
from sparring.parsing.thought import NONE, Answer


class Game(NamedTuple):
    """One verdict from the first answer's side: 1 for a win, 0.5 for a tie, 0 for a loss."""

    points: float
    by_far: bool = False


@dataclass(frozen=True)
class Match:
    """The games of two answers: one if the judge gives scores, two if it compares; fewer where verdicts failed."""

    games: tuple[Game, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def points(self) -> float:
        """The mean points of the first answer; it needs a game."""
        return fmean(game.points for game in self.games)

    @property
    def is_tie(self) -> bool:
        """Whether every game is a tie."""
        return all(game.points == 0.5 for game in self.games)

    @property
    def is_contradiction(self) -> bool:
        """Whether the judge prefers different answers in the two orders."""
        return {game.points for game in self.games} == {0.0, 1.0}


def response_of(given: Answered | NoAnswer) -> Answer | Failure:
    """Return the response that a judge may see, or why there is none; an empty one is none."""
    if isinstance(given, NoAnswer):
        return given.failure
    try:
        return NONE.split(given.response).answer
    except Unreadable as error:
        return Failure.of(error, LEARNER)


def is_pairwise(judge: Judge) -> bool:
    """Tell whether `judge` gives verdicts on pairs, and not only scores."""
    return isinstance(judge, Compares) and judge.mode == "pairwise"


async def play_match(judge: Judge, problem: Problem, one: Answer, other: Answer, rng: random.Random) -> Match:
    """Let `judge` decide between two answers. Equal answers tie without a call."""
    if one == other:
        return Match((Game(0.5), Game(0.5)))
    if isinstance(judge, Compares) and judge.mode == "pairwise":
        return await _both_orders(judge, problem, one, other, rng)
    scores = await judge.score(problem, (one, other), rng)
    ours, theirs = scores.values
    if ours is None or theirs is None:
        return Match((), scores.failures)
    return Match((Game(0.5 if ours == theirs else float(ours > theirs)),), scores.failures)


async def _both_orders(judge: Compares, problem: Problem, one: Answer, other: Answer, rng: random.Random) -> Match:
    games, failures = list[Game](), list[Failure]()
    in_order, swapped = await asyncio.gather(
        _verdict(judge, problem, one, other, rng), _verdict(judge, problem, other, one, rng)
    )
    for verdict, wins in ((in_order, "first"), (swapped, "second")):
        if isinstance(verdict, Failure):
            failures.append(verdict)
        else:
            points = 0.5 if verdict == "tie" else float(preferred(verdict) == wins)
            games.append(Game(points, verdict.endswith("by far")))
    return Match(tuple(games), tuple(failures))


async def _verdict(
    judge: Compares, problem: Problem, first: Answer, second: Answer, rng: random.Random
) -> Verdict | Failure:
    try:
        return await judge.compare(problem, first, second, rng)
    except ConversationError as error:
        return Failure.of(error, JUDGE)

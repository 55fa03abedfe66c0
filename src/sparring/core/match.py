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
    verdicts = await in_both_orders(judge, problem, one, other, rng)
    for verdict, wins in zip(verdicts, ("first", "second"), strict=True):
        if isinstance(verdict, ConversationError):
            failures.append(Failure.of(verdict, JUDGE))
        else:
            points = 0.5 if verdict == "tie" else float(preferred(verdict) == wins)
            games.append(Game(points, verdict.endswith("by far")))
    return Match(tuple(games), tuple(failures))


async def in_both_orders(
    judge: Compares, problem: Problem, one: Answer, other: Answer, rng: random.Random
) -> tuple[Verdict | ConversationError, Verdict | ConversationError]:
    """Return the verdict on two answers and the verdict on them swapped, or why there is none."""

    async def ask(first: Answer, second: Answer, stream: random.Random) -> Verdict | ConversationError:
        try:
            return await judge.compare(problem, first, second, stream)
        except ConversationError as error:
            return error

    streams = random.Random(rng.random()), random.Random(rng.random())
    return await asyncio.gather(ask(one, other, streams[0]), ask(other, one, streams[1]))

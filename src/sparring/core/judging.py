"""Ask a judge which of two answers is better, once or in both orders, and keep what each call said.

`match` makes points of such verdicts; an exam needs the verdicts themselves.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import fmean

from sparring.common.errors import ConversationError, Unavailable, Unreadable
from sparring.core.match import in_both_orders
from sparring.core.partner import Compares, Judge, Scores, preferred
from sparring.core.task import Problem
from sparring.parsing.thought import NONE

_PREFERENCE = {"first": 1.0, "tie": 0.5, "second": 0.0}

CONTRADICTORY = "orders contradictory"
FIRST_PREFERRED = "first preferred"
ORDER_MEASURES = {CONTRADICTORY: 0.0, FIRST_PREFERRED: 0.5}


@dataclass(frozen=True)
class PairVerdict:
    """What a judge said of two answers.

    `preferred` is 1 if it prefers the one, 0 if the other, and 0.5 for a tie or two verdicts that contradict each
    other. A verdict that cannot be used counts as 0 and in `unusable`, a share of the calls. `contradictory`: it
    preferred the same place in both orders; `first` is the share of the first place among its preferences. Both are
    None for scores and where there are too few verdicts.
    """

    preferred: float
    words: str
    unusable: float = 0.0
    contradictory: float | None = None
    first: float | None = None

    @property
    def order_marks(self) -> dict[str, float | None]:
        """The marks for ORDER_MEASURES, as far as there are any."""
        marks = {CONTRADICTORY: self.contradictory, FIRST_PREFERRED: self.first}
        return {name: mark for name, mark in marks.items() if mark is not None}


async def judge_pair(judge: Judge, problem: Problem, one: str, other: str, rng: random.Random) -> PairVerdict:
    """Ask `judge` about two answers; a pairwise judge in both orders. ConversationError if no reply can be used."""
    if isinstance(judge, Compares) and judge.mode == "pairwise":
        return await _in_both_orders(judge, problem, one, other, rng)
    scores = await judge.score(problem, [NONE.split(one).answer, NONE.split(other).answer], rng)
    return _by_score(scores)


def _by_score(scores: Scores) -> PairVerdict:
    mine, others = scores.values
    if mine is None and others is None:
        failure = next(iter(scores.failures), None)
        kind = Unavailable if failure is not None and failure.kind == Unavailable.__name__ else Unreadable
        raise kind(failure.reason if failure is not None else "the judge gave no score")
    words = " against ".join("no score" if value is None else f"{value:g}" for value in (mine, others))
    if mine is None or others is None:
        return PairVerdict(0.0, words, unusable=0.5)
    return PairVerdict(0.5 if mine == others else float(mine > others), words)


async def _in_both_orders(judge: Compares, problem: Problem, one: str, other: str, rng: random.Random) -> PairVerdict:
    replies = await in_both_orders(judge, problem, NONE.split(one).answer, NONE.split(other).answer, rng)
    verdicts = [None if isinstance(reply, ConversationError) else preferred(reply) for reply in replies]
    if verdicts == [None, None]:
        raise next(reply for reply in replies if isinstance(reply, ConversationError))
    there, back = verdicts
    shares = [_PREFERENCE[there] if there else 0.0, 1 - _PREFERENCE[back] if back else 0.0]
    decided = [verdict for verdict in verdicts if verdict in ("first", "second")]
    return PairVerdict(
        fmean(shares),
        f"{there or 'no verdict'}, in the other order {back or 'no verdict'}",
        verdicts.count(None) / 2,
        float(there == back and there != "tie") if there and back else None,
        fmean(float(verdict == "first") for verdict in decided) if decided else None,
    )

"""Examines judges by pairs of a right and a wrong answer, by the order of a pair, and by length.

A pairwise judge compares each pair in both orders. Two verdicts that contradict each other are half right, as is a tie.
The interval counts pairs, not calls, because the two verdicts on a pair are not independent.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.common.errors import ConversationError, Failure
from sparring.core.exam import SCORE, UNUSABLE, Graded, Measure, Probe, draw_probes, measures
from sparring.core.judging import ORDER_MEASURES, judge_pair
from sparring.core.partner import JUDGE, Judge
from sparring.core.planting import plant, right_answer
from sparring.core.task import Problem, Task

_PLAIN, _LONGER, _PADDED = "right over wrong", "right over longer wrong", "right and padded"
_PADDING_PREFERRED = "padding preferred"
PADDING = """I read the question carefully before I begin.
Then I go on calmly, without any hurry, and look at everything that matters here.
"""


@dataclass(frozen=True)
class JudgeExam:
    """Scores a judge by preferring right answers to wrong ones, also to longer ones."""

    name: ClassVar[str] = "judge"
    role: ClassVar[str] = JUDGE
    calls: ClassVar[int] = 2

    def probes(self, task: Task, problems: Sequence[Problem], count: int, seed: int) -> list[Probe]:
        """Return three pairs for each problem with a gold answer; padding must not make an answer right or wrong."""

        def kinds(problem: Problem, rng: random.Random) -> Iterator[Probe]:
            right, planted = right_answer(problem), plant(task, problem, rng)
            if right is None or planted is None:
                return
            wrong, longer_wrong, longer_right = planted.answer, PADDING + planted.answer, PADDING + right
            yield Probe(problem, _PLAIN, (right, wrong), "the first is better")
            if not task.is_right(problem, longer_wrong):
                yield Probe(problem, _LONGER, (right, longer_wrong), "the first is better")
            if task.is_right(problem, longer_right):
                yield Probe(problem, _PADDED, (right, longer_right), "no preference for the second")

        return draw_probes(kinds, problems, count, seed)

    async def grade(self, partner: Judge, task: Task, probe: Probe, rng: random.Random) -> Graded:
        """Ask about the pair, in both orders if the judge compares."""
        one, other = probe.given
        try:
            verdict = await judge_pair(partner, probe.problem, one, other, rng)
        except ConversationError as error:
            return Graded.failed(probe, Failure.of(error, JUDGE), scored=probe.kind != _PADDED)
        marks: dict[str, float | None] = {UNUSABLE: verdict.unusable}
        if probe.kind == _PADDED:
            marks[_PADDING_PREFERRED] = float(verdict.preferred < 0.5) if not verdict.unusable else None
        else:
            marks |= {SCORE: verdict.preferred, probe.kind: verdict.preferred}
        return Graded(probe, verdict.words, {**marks, **verdict.order_marks})

    def measures(self, graded: Sequence[Graded]) -> list[Measure]:
        """See `core.exam`."""
        own = {SCORE: 1.0, _PLAIN: 1.0, _LONGER: 1.0, _PADDING_PREFERRED: 0.0}
        return measures({**own, **ORDER_MEASURES}, graded)

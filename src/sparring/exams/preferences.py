"""Examines judges by the preferences of experts, from a file in LLMBar's format (Zeng et al., arXiv 2310.07641).

A row is `{"input", "output_1", "output_2", "label"}`; `label` 1 or 2 names the better output.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.common.records import Record
from sparring.common.row_files import read_records
from sparring.common.seeds import digest
from sparring.core.chat import question
from sparring.core.exam import SCORE, UNUSABLE, Graded, Measure, Probe, measures
from sparring.core.judging import ORDER_MEASURES, judge_pair
from sparring.core.partner import JUDGE, Judge
from sparring.core.task import Problem, Task

_LONGER = "longer preferred"
_EXPERTS_LONGER = "longer for the experts"


@dataclass(frozen=True)
class PreferencesExam:
    """Scores a judge by its agreement with experts."""

    name: ClassVar[str] = "preferences"
    role: ClassVar[str] = JUDGE
    calls: ClassVar[int] = 2

    source: str = ""

    def probes(self, task: Task, problems: Sequence[Problem], count: int, seed: int) -> list[Probe]:
        """Return pairs of the file, drawn by `seed`; none without a file."""
        rows = read_records(self.source) if self.source else []
        probes = [_probe(row) for row in rows]
        return sorted(probes, key=lambda probe: digest(seed, "preferences", probe.problem.id))[:count]

    async def grade(self, partner: Judge, task: Task, probe: Probe, rng: random.Random) -> Graded:
        """Ask about the pair; the experts' choice is the first of the two."""
        better, worse = probe.given
        verdict = await judge_pair(partner, probe.problem, better, worse, rng)
        marks: dict[str, float | None] = {SCORE: verdict.preferred, UNUSABLE: verdict.unusable}
        if len(better) != len(worse) and not verdict.unusable:
            is_longer = len(better) > len(worse)
            marks |= {_LONGER: verdict.preferred if is_longer else 1 - verdict.preferred}
            marks |= {_EXPERTS_LONGER: float(is_longer)}
        return Graded(probe, verdict.words, {**marks, **verdict.order_marks})

    def measures(self, graded: Sequence[Graded]) -> list[Measure]:
        """See `core.exam`."""
        return measures({SCORE: 1.0, **ORDER_MEASURES, _LONGER: None, _EXPERTS_LONGER: None}, graded)


def _probe(row: Record) -> Probe:
    text, outputs = row.text("input"), (row.text("output_1"), row.text("output_2"))
    label = row.plain("label")
    if label not in ("1", "2"):
        raise row.error(f"label is {label!r}, not 1 or 2")
    problem = Problem(digest("preferences", text, *outputs)[:16], question(text))
    return Probe(problem, "experts' choice", outputs if label == "1" else outputs[::-1], "the first is better")

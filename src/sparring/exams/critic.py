"""Examines critics: half of the answers are right, the others have a fault planted at a known step."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.core.exam import SCORE, UNUSABLE, Graded, Measure, Probe, draw_probes, measures
from sparring.core.leakage import states_gold
from sparring.core.partner import CRITIC, Critic
from sparring.core.planting import plant
from sparring.core.task import Problem, Task
from sparring.parsing.steps import order

_DETECTED, _STEP, _PART, _ALARM, _LEAKED = (
    "faults noticed",
    "right step named",
    "right part quoted",
    "false alarms",
    "answer given away",
)


@dataclass(frozen=True)
class CriticExam:
    """Scores a critic by finding the first wrong step, and none in a right answer."""

    name: ClassVar[str] = "critic"
    role: ClassVar[str] = CRITIC
    calls: ClassVar[int] = 1

    def probes(self, task: Task, problems: Sequence[Problem], count: int, seed: int) -> list[Probe]:
        """Return a faulty and the right answer for each problem that has a worked answer."""

        def kinds(problem: Problem, rng: random.Random) -> Iterator[Probe]:
            planted = plant(task, problem, rng) if problem.rationale else None
            if planted is not None:
                expected = task.layout.write_feedback(planted.answer, planted.fault)
                yield Probe(problem, "planted fault", (planted.answer,), expected, planted.fault)
                answer = problem.rationale or ""
                yield Probe(problem, "right answer", (answer,), task.layout.write_feedback(answer, None))

        return draw_probes(kinds, problems, count, seed)

    async def grade(self, partner: Critic, task: Task, probe: Probe, rng: random.Random) -> Graded:
        """Compare the critic's fault with the planted one."""
        attempt, planted = probe.given[0], probe.fault
        found = await partner.feedback(probe.problem, attempt, rng)
        reply = task.layout.write_feedback(attempt, found)
        marks: dict[str, float | None] = {UNUSABLE: 0.0}
        if planted is None:
            marks |= {SCORE: float(found is None), _ALARM: float(found is not None)}
        else:
            is_there = found is not None and order(found.step) == order(planted.step)
            is_part = found is not None and planted.agrees_with(found)
            marks |= {SCORE: float(is_there), _DETECTED: float(found is not None)}
            marks |= {_STEP: float(is_there), _PART: float(is_part)}
        if found is not None:
            shown = task.layout.before(attempt, found.step) + found.part
            marks[_LEAKED] = float(found.leaked or states_gold(task, probe.problem, found.reason, shown))
        return Graded(probe, reply, marks)

    def measures(self, graded: Sequence[Graded]) -> list[Measure]:
        """See `core.exam`."""
        return measures({SCORE: 1.0, _DETECTED: 1.0, _STEP: 1.0, _PART: 1.0, _ALARM: 0.0, _LEAKED: 0.0}, graded)

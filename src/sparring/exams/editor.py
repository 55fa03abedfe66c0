"""Examines editors: an answer with a planted fault, which the editor is told, must be put right from there on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sparring.core.exam import SCORE, UNUSABLE, Graded, Measure, Probe, draw_probes, measures
from sparring.core.partner import EDITOR, Editor
from sparring.core.planting import plant
from sparring.core.task import Problem, Task, is_sound

_KEPT, _CHANGED, _RIGHT, _SOUND = (
    "steps before kept",
    "faulty step changed",
    "right at the end",
    "sound",
)


@dataclass(frozen=True)
class EditorExam:
    """Scores an editor by updates that keep the right steps, change the faulty one, and are sound to the end."""

    name: ClassVar[str] = "editor"
    role: ClassVar[str] = EDITOR
    calls: ClassVar[int] = 1

    def probes(self, task: Task, problems: Sequence[Problem], count: int, seed: int) -> list[Probe]:
        """Return a faulty answer for each problem that has a worked answer."""

        def kinds(problem: Problem, rng: random.Random) -> Iterator[Probe]:
            planted = plant(task, problem, rng) if problem.rationale else None
            if planted is not None:
                expected = f"changes step ({planted.fault.step}), keeps the text before it, ends in {problem.gold}"
                yield Probe(problem, "planted fault", (planted.answer,), expected, planted.fault)

        return draw_probes(kinds, problems, count, seed)

    async def grade(self, partner: Editor, task: Task, probe: Probe, rng: random.Random) -> Graded:
        """Check the update as the methods do."""
        attempt, fault = probe.given[0], probe.fault
        assert fault is not None
        update = await partner.improve(probe.problem, attempt, fault, rng)
        is_kept = update.startswith(task.layout.before(attempt, fault.step))
        is_accepted = task.layout.refusal(attempt, fault, update) is None
        sound = is_sound(task, probe.problem, update)
        marks = {
            SCORE: float(is_accepted and sound),
            _KEPT: float(is_kept),
            _CHANGED: float(is_accepted) if is_kept else None,
            _RIGHT: float(task.is_right(probe.problem, update)),
            _SOUND: float(sound),
            UNUSABLE: 0.0,
        }
        return Graded(probe, update, marks)

    def measures(self, graded: Sequence[Graded]) -> list[Measure]:
        """See `core.exam`."""
        return measures(dict.fromkeys((SCORE, _KEPT, _CHANGED, _RIGHT, _SOUND), 1.0), graded)

"""An exam of a partner that a test wrote, as figures by name."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from sparring.common.errors import ConversationError, Failure
from sparring.core.exam import Graded, Measure
from sparring.runs.examination import EXAMS
from tests.contracts.test_partners import TASKS


def grade(exam, partner, probes, task) -> list[Graded]:
    async def one(probe) -> Graded:
        try:
            return await exam.grade(partner, task, probe, random.Random(0))
        except ConversationError as error:
            return Graded.failed(probe, Failure.of(error, exam.role))

    async def every() -> list[Graded]:
        return [await one(probe) for probe in probes]

    return asyncio.run(every())


def figures(name: str, partner, count: int = 40, task_name: str = "arithmetic-paper", **settings) -> dict[str, float]:
    """The value of each measure; None where nothing could be computed."""
    exam: Any = EXAMS[name](**settings)
    task: Any = TASKS[task_name]
    probes = exam.probes(task, task.problems("train"), count, 0)
    found: list[Measure] = exam.measures(grade(exam, partner, probes, task))
    return {measure.name: measure.value if measure.n else None for measure in found}

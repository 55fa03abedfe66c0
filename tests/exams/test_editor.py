"""What is said of editors with known faults."""

from __future__ import annotations

import pytest

from sparring.partners.task_editor import TaskEditor
from tests.contracts.test_partners import TASKS
from tests.exams.grading import figures

TASK = TASKS["arithmetic-easy"]


class Lazy:
    async def improve(self, problem, attempt, fault, rng):
        return attempt


class Thorough:
    """Writes everything anew, rightly, with other spaces."""

    async def improve(self, problem, attempt, fault, rng):
        return problem.rationale.replace("=", " = ")


class Hasty:
    """Changes the step and states the right answer at once."""

    async def improve(self, problem, attempt, fault, rng):
        return f"{TASK.layout.before(attempt, fault.step)}{problem.gold}\n{problem.gold}"


MEASURES = ("score", "steps before kept", "faulty step changed", "right at the end", "sound")


def test_the_figures_of_an_editor_that_changes_nothing():
    found = figures("editor", Lazy(), task_name="arithmetic-easy")
    assert [found[name] for name in MEASURES] == [0.0, 1.0, 0.0, 0.0, 0.0]


def test_an_editor_that_writes_all_anew_keeps_nothing_unless_the_first_step_is_wrong():
    found = figures("editor", Thorough(), task_name="arithmetic-easy")
    assert (found["right at the end"], found["sound"]) == (1.0, 1.0)
    assert found["steps before kept"] == found["score"] == pytest.approx(1 / 3, abs=0.2)


def test_the_right_answer_without_its_steps_is_not_sound():
    found = figures("editor", Hasty(), task_name="arithmetic-easy")
    assert (found["steps before kept"], found["right at the end"]) == (1.0, 1.0)
    assert found["score"] == found["sound"] < 0.9


def test_the_task_s_own_editor_has_all():
    assert [figures("editor", TaskEditor(TASK), task_name="arithmetic-easy")[name] for name in MEASURES] == [1.0] * 5

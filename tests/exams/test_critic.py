"""What is said of critics with known faults."""

from __future__ import annotations

from sparring.common.errors import Unreadable
from sparring.parsing.steps import Fault
from sparring.partners.model_critic import ModelCritic
from sparring.partners.task_critic import TaskCritic
from sparring.speakers.scripted import Scripted
from tests.contracts.test_partners import TASKS
from tests.exams.grading import figures

TASK = TASKS["arithmetic-paper"]


class Kind:
    async def feedback(self, problem, attempt, rng):
        return None


class Stern:
    """Finds a fault in every first step."""

    async def feedback(self, problem, attempt, rng):
        step = TASK.layout.split(attempt)[0]
        return Fault(step.label, step.text, "it is")


class Vague:
    """Names the right step and the whole of it, or a part that is not wrong, and tells the answer."""

    async def feedback(self, problem, attempt, rng):
        fault = TASK.first_error(problem, attempt)
        return fault and Fault(fault.step, "equation" if "equation" in attempt else "", f"it is {problem.gold}")


class Silent:
    async def feedback(self, problem, attempt, rng):
        raise Unreadable("nothing")


def test_a_critic_that_accepts_everything_is_right_on_right_answers_only():
    found = figures("critic", Kind())
    assert (found["score"], found["faults noticed"], found["false alarms"]) == (0.5, 0.0, 0.0)
    assert "answer given away" not in found  # it gave no reason


def test_a_critic_that_rejects_everything_notices_faults_and_alarms_falsely():
    found = figures("critic", Stern())
    assert (found["faults noticed"], found["false alarms"]) == (1.0, 1.0)
    assert 0 < found["right step named"] < 0.5
    assert found["score"] == found["right step named"] / 2


def test_step_part_and_leakage_are_measured_apart():
    found = figures("critic", Vague())
    assert (found["score"], found["right step named"], found["false alarms"]) == (1.0, 1.0, 0.0)
    assert found["right part quoted"] < 0.2
    assert found["answer given away"] > 0.7  # unless the question holds that number, or the answer held it


def test_replies_that_cannot_be_used_score_nothing_and_count_nowhere_else():
    found = figures("critic", Silent())
    assert found == {"score": 0.0, "unusable replies": 1.0}


def test_a_critic_that_is_a_model_is_examined_by_what_it_replies():
    kind = ModelCritic(Scripted(("All steps are correct.",)), TASK)
    assert figures("critic", kind)["score"] == 0.5
    assert figures("critic", ModelCritic(Scripted(("Well.",)), TASK))["unusable replies"] == 1.0


def test_a_task_without_rationales_gives_no_probes(tmp_path):
    found = figures("critic", TaskCritic(TASK), count=0)
    assert found == {}

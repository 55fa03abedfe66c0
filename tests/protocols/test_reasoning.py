"""Right by luck, sound, and in whose words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparring.core.evaluation import Evaluation, Outcome
from sparring.parsing.steps import LINES
from sparring.protocols.reasoning import Reasoning
from tests.protocols.asking import SUM, measure, participant


class Unchecked:
    """A task that knows the answer and checks no steps."""

    layout = LINES

    def is_right(self, problem, response):
        return response.split()[-1] == problem.gold


@pytest.mark.parametrize(
    ("reply", "measures"),
    [
        ("3+7=10\n10+5=15\n15", {"sound": True, "accuracy": True, "sound_if_right": True, "rouge_l": 1.0}),
        ("3+7=11\n11+4=15\n15", {"sound": False, "accuracy": True, "sound_if_right": False, "rouge_l": 8 / 14}),
        ("3+7=10\n10+5=16\n16", {"sound": False, "accuracy": False, "rouge_l": 10 / 14}),
    ],
)
def test_a_right_answer_with_a_wrong_step_is_not_sound(reply, measures):
    found = measure(Reasoning(), participant(reply))
    assert found.measures == pytest.approx({**measures, "concludes": True})
    assert found.response == reply


def test_without_a_checker_a_right_answer_is_sound_if_its_last_step_follows_from_the_one_before():
    for reply, concludes in (("3+7=11\nSo it is 11\n15", True), ("11+5=16\n15", False)):
        found = measure(Reasoning(), participant(reply), task=Unchecked())
        assert found.measures["sound"] is found.measures["concludes"] is concludes


def test_a_problem_without_a_rationale_has_no_rouge():
    found = measure(Reasoning(), participant("15"), problem=replace(SUM, rationale=None))
    assert "rouge_l" not in found.measures


def test_the_share_of_right_answers_that_are_sound_is_of_right_answers_only():
    replies = ("3+7=10\n10+5=15\n15", "3+7=11\n11+4=15\n15", "16", "17")
    measures = [measure(Reasoning(), participant(reply)).measures for reply in replies]
    means = Evaluation(tuple(Outcome(str(n), "all", m) for n, m in enumerate(measures)), "sound").measures()
    assert (means["sound"].value, means["sound_if_right"].value, means["accuracy"].value) == (1 / 4, 1 / 2, 1 / 2)

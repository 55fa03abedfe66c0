"""What is said of judges that look at places or lengths, and of single verdicts that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sparring.common.errors import Unavailable, Unreadable
from sparring.core.partner import Scores
from sparring.runs.examination import EXAMS
from tests.contracts.test_partners import TASKS
from tests.exams.grading import figures, grade


@dataclass
class Places:
    """Prefers a place, whatever stands there."""

    verdict: str
    mode: str = "pairwise"

    async def compare(self, problem, first, second, rng):
        return self.verdict


class Longest(Places):
    async def compare(self, problem, first, second, rng):
        lengths = len(first.text), len(second.text)
        return "tie" if lengths[0] == lengths[1] else "first" if lengths[0] > lengths[1] else "second"


@dataclass
class Scalar:
    """Scores by length."""

    sign: int = 1

    async def score(self, problem, answers, rng):
        return Scores(tuple(float(self.sign * len(answer.text)) for answer in answers))


class Mute:
    """Never gives a verdict."""

    mode = "pairwise"

    async def compare(self, problem, first, second, rng):
        raise Unavailable("no reply")


@dataclass
class EverySecond:
    """Gives every second verdict, and a right one."""

    task: object
    mode: str = "pairwise"
    asked: list = field(default_factory=list)

    async def compare(self, problem, first, second, rng):
        self.asked.append(first)
        if len(self.asked) % 2:
            raise Unreadable("mumbling")
        return "first" if self.task.is_right(problem, first.text) else "second"


def test_a_judge_that_prefers_a_place_contradicts_itself_and_is_half_right():
    for verdict, share in (("first", 1.0), ("second", 0.0)):
        found = figures("judge", Places(verdict))
        assert (found["score"], found["orders contradictory"], found["first preferred"]) == (0.5, 1.0, share)
        assert found["padding preferred"] == 0.0


def test_a_judge_of_ties_has_no_preference_for_a_place():
    found = figures("judge", Places("tie"))
    assert (found["score"], found["orders contradictory"]) == (0.5, 0.0)
    assert "first preferred" not in found


@pytest.mark.parametrize("judge", [Longest("first"), Scalar()])
def test_a_judge_of_length_prefers_padding(judge):
    found = figures("judge", judge)
    assert (found["padding preferred"], found["right over longer wrong"]) == (1.0, 0.0)


def test_a_scalar_judge_of_brevity_has_no_orders_to_contradict():
    found = figures("judge", Scalar(-1))
    assert (found["padding preferred"], found["right over longer wrong"]) == (0.0, 1.0)
    assert "orders contradictory" not in found


def test_a_padded_pair_without_a_verdict_is_not_in_the_score():
    exam, task = EXAMS["judge"](), TASKS["arithmetic-paper"]
    probes = exam.probes(task, task.problems("train"), 30, 0)
    padded = [probe for probe in probes if probe.kind == "right and padded"]
    [score, *_] = exam.measures([*grade(exam, Mute(), padded, task), *grade(exam, Scalar(-1), probes, task)])
    assert score.n == len(probes) - len(padded)
    assert score.value == figures("judge", Scalar(-1), count=30)["score"]


def test_a_verdict_that_cannot_be_used_scores_nothing_and_the_other_one_its_half():
    found = figures("judge", EverySecond(TASKS["arithmetic-paper"]))
    assert (found["score"], found["unusable replies"]) == (0.5, 0.5)
    assert "orders contradictory" not in found

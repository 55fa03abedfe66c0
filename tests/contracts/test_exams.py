"""Every exam keeps its word: a program of the task has 100 %, and one made wrong in 20 % of its calls 80 %."""

from __future__ import annotations

import asyncio

import pytest

from sparring.common.seeds import named_rng
from sparring.config.factory import PARTNERS, ROLES
from sparring.core.exam import SCORE, UNUSABLE, Graded, Measure
from sparring.core.partner import AUTHOR
from sparring.runs.examination import EXAMS
from tests.contracts.test_partners import TASKS

CASES = {
    "critic": ("critic", {}),
    "discussant": ("discussant", {}),
    "editor": ("editor", {}),
    "pointwise judge": ("judge", {"mode": "pointwise"}),
    "pairwise judge": ("judge", {"mode": "pairwise"}),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def examined(role: str, settings: dict, task, probes, *, wrong: float = 0.0, seed: int = 0) -> list[Graded]:
    """What the task's program for `role` makes of `probes`."""
    exam, partner = EXAMS[role](), PARTNERS[f"task_{role}"](task=task, wrong=wrong, **settings)

    async def grade() -> list[Graded]:
        return [
            await exam.grade(partner, task, probe, named_rng(seed, role, number)) for number, probe in enumerate(probes)
        ]

    return asyncio.run(grade())


def drawn(role: str, task, count: int, seed: int = 0):
    problems = [*task.problems("development"), *task.problems("train")]
    return EXAMS[role]().probes(task, problems, count, seed)


def score(role: str, graded: list[Graded]) -> Measure:
    first = EXAMS[role]().measures(graded)[0]
    assert first.name == SCORE
    return first


def test_the_catalogue_holds_an_exam_for_each_role_and_one_of_preferences():
    assert list(EXAMS) == ["critic", "discussant", "editor", "judge", "preferences"]
    assert {EXAMS[name].role for name in EXAMS} == set(ROLES.values()) - {AUTHOR}  # an attempt may be wrong


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_program_of_the_task_has_the_full_score_and_nothing_is_left_uncomputed(case, task):
    role, settings = case
    graded = examined(role, settings, task, drawn(role, task, 60))
    assert len(graded) == 60
    assert {one.verdict for one in graded if SCORE in one.marks} == {"right"}
    measures = {measure.name: measure for measure in EXAMS[role]().measures(graded)}
    assert (measures[SCORE].value, measures[SCORE].unknown, measures[UNUSABLE].value) == (1.0, 0, 0.0)
    free = {"answer given away", "remarks repeated"}  # a true hint may be the last step, and `2*2=4` is said twice
    for measure in measures.values():
        if measure.n and measure.wanted is not None and measure.name not in free:
            assert measure.low <= measure.wanted <= measure.high, measure


def test_a_program_that_is_wrong_in_a_fifth_of_its_calls_scores_four_fifths(case):
    """Over twenty seeds: the interval holds 0.8 in about 95 %, and the mean is near it."""
    role, settings = case
    task = TASKS["sorting-easy"]
    probes = drawn(role, task, 100)
    found = [score(role, examined(role, settings, task, probes, wrong=0.2, seed=seed)) for seed in range(20)]
    assert sum(one.low <= 0.8 <= one.high for one in found) >= 16  # of 300 seeds, 94 % to 99 %
    assert abs(sum(one.value for one in found) / 20 - 0.8) < 0.03
    assert all(one.high < 0.97 for one in found)


def test_probes_depend_on_the_seed_alone_are_distinct_and_as_many_as_asked(case):
    role, _ = case
    task = TASKS["arithmetic-easy"]
    probes = drawn(role, task, 150)
    assert probes == drawn(role, task, 150)
    assert probes != drawn(role, task, 150, seed=1)
    assert len({(probe.problem.id, probe.kind, probe.given) for probe in probes}) == len(probes) == 150

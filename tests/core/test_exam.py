"""Measures over marks: what is not computable is counted and never a number."""

from __future__ import annotations

import pytest

from sparring.common.errors import Failure
from sparring.core.chat import question
from sparring.core.exam import SCORE, UNUSABLE, Graded, Probe, draw_probes, measure, measures
from sparring.core.task import Problem

PROBLEMS = [Problem(str(number), question(f"{number}?"), gold="1") for number in range(3)]


def probe(problem: Problem, answer: str = "a") -> Probe:
    return Probe(problem, "kind", (answer,), "expected")


def test_unknown_marks_are_counted_beside_the_mean():
    found = measure("x", 1.0, [1.0, None, 0.0, None, None])
    assert (found.value, found.n, found.unknown) == (0.5, 2, 3)
    # Wilson by hand for 1 of 2: 0.5 ± 1.96 · √(0.25/2 + 3.8415/16) / (1 + 3.8415/2)
    assert (found.low, found.high) == pytest.approx((0.0945, 0.9055), abs=1e-4)


def test_a_measure_without_marks_is_no_number():
    assert measure("x", 1.0, [None]).plain() == {
        "name": "x", "wanted": 1.0, "value": None, "low": None, "high": None, "n": 0, "unknown": 1
    }  # fmt: skip


def test_a_failure_scores_nothing_and_enters_no_other_measure():
    graded = [
        Graded(probe(PROBLEMS[0]), "r", {SCORE: 1.0, "other": 1.0, UNUSABLE: 0.0}),
        Graded.failed(probe(PROBLEMS[1]), Failure("Unreadable", "critic", "hm")),
    ]
    found = {one.name: (one.value, one.n) for one in measures({SCORE: 1.0, "other": 1.0, "never": 1.0}, graded)}
    assert found == {SCORE: (0.5, 2), "other": (1.0, 1), UNUSABLE: (0.5, 2)}
    assert [one.verdict for one in graded] == ["right", "failed"]
    assert graded[1].plain()["failure"] == "Unreadable: hm"


def test_each_problem_is_used_once_before_any_is_used_again_and_no_probe_twice():
    found = draw_probes(lambda problem, rng: [probe(problem, rng.choice("ab"))], PROBLEMS, 6, seed=0)
    assert [one.problem.id for one in found[:3]] == ["0", "1", "2"]
    assert len({(one.problem.id, one.given) for one in found}) == 6
    assert len(draw_probes(lambda problem, rng: [probe(problem)], PROBLEMS, 9, seed=0)) == 3
    assert draw_probes(lambda problem, rng: [], PROBLEMS, 9, seed=0) == []

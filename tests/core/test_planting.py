"""Faults are planted where they are said to be, in answers that end wrong."""

from __future__ import annotations

import json
import random

from sparring.core.planting import plant, right_answer
from sparring.parsing.equalities import equalities
from sparring.parsing.steps import Fault
from sparring.tasks.gsm8k import Gsm8k
from sparring.tasks.table import Table
from tests.contracts.test_tasks import gsm8k_row, written
from tests.tasks.test_first_error import EASY, TASKS, all_tasks


@all_tasks
def test_a_checker_finds_the_fault_at_the_planted_step_and_the_answer_ends_wrong(task):
    labels = set()
    for seed, problem in enumerate(task.problems("train")[:80]):
        planted = plant(task, problem, random.Random(seed))
        assert task.first_error(problem, planted.answer) == planted.fault
        assert not task.is_right(problem, planted.answer)
        kept = task.layout.before(planted.answer, planted.fault.step)
        assert problem.rationale.startswith(kept)
        assert not problem.rationale.startswith(kept + planted.answer[len(kept) :].split("\n")[0] + "\n")
        labels.add(planted.fault.step)
    assert len(labels) > 2, "faults are planted at few places"


def test_without_a_checker_an_equality_is_made_false(tmp_path):
    task = Gsm8k(written(tmp_path / "train.jsonl", [gsm8k_row(n) for n in range(60)]), test=0, development=10)
    for seed, problem in enumerate(task.problems("train")):
        planted = plant(task, problem, random.Random(seed))
        assert not task.is_right(problem, planted.answer)
        for step, old in zip(task.layout.split(planted.answer), task.layout.split(problem.rationale), strict=True):
            if step.label == planted.fault.step:
                assert planted.fault.part in step.text
                assert not all(equalities(step.text))
                break
            assert step.text == old.text, "a step before the planted one was changed"


def test_a_gold_answer_alone_becomes_another_choice(tmp_path):
    rows = [{"prompt": f"Which is {n}?", "answer": "B", "choices": ["one", "two", "three"]} for n in range(30)]
    task = Table(written(tmp_path / "rows.jsonl", rows))
    found = set()
    for seed, problem in enumerate(task.problems("train")):
        assert task.is_right(problem, right_answer(problem))
        planted = plant(task, problem, random.Random(seed))
        assert not task.is_right(problem, planted.answer)
        found.add(planted.answer)
    assert found == {"The answer is A.", "The answer is C."}


def test_what_has_no_answer_gets_no_fault(tmp_path):
    task = Table(written(tmp_path / "rows.jsonl", [{"prompt": f"Say {n}."} for n in range(30)]))
    assert plant(task, task.problems("train")[0], random.Random(0)) is None


def test_words_without_numbers_are_no_place_for_a_fault_that_nobody_can_check(tmp_path):
    row = {"prompt": "Where is it?", "answer": "London", "rationale": "The Queen lives there.\nThe answer is London."}
    task = Table(written(tmp_path / "rows.jsonl", [{**row, "prompt": f"Where is {n}?"} for n in range(30)]))
    for seed, problem in enumerate(task.problems("train")):
        planted = plant(task, problem, random.Random(seed))
        assert planted.fault.step == "2", "a reason in words was changed, and called wrong"
        assert not task.is_right(problem, planted.answer)


def test_the_same_stream_plants_the_same_fault():
    task = TASKS["sorting, paper"]
    problem = task.problems("train")[3]
    assert plant(task, problem, random.Random(5)) == plant(task, problem, random.Random(5))
    assert len({json.dumps(plant(task, problem, random.Random(seed)).answer) for seed in range(9)}) > 3


class Backwards:
    """A checker that reports the last wrong step first, so that a wrong end hides an earlier fault."""

    layout = EASY.layout
    is_right = staticmethod(EASY.is_right)

    def problems(self, split):
        return EASY.problems(split)

    def first_error(self, problem, answer):
        pairs = zip(self.layout.split(answer), self.layout.split(problem.rationale), strict=True)
        wrong = [step for step, right in pairs if step.text != right.text]
        return Fault(wrong[-1].label, wrong[-1].text) if wrong else None


def test_a_fault_that_the_changed_end_hides_is_not_planted():
    task = Backwards()
    for seed, problem in enumerate(task.problems("train")[:40]):
        planted = plant(task, problem, random.Random(seed))
        assert task.first_error(problem, planted.answer) == planted.fault

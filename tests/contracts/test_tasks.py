"""Every task keeps its word: gold is right, nothing is wrong, splits are apart, and what it offers is true."""

from __future__ import annotations

import json
import random
from itertools import combinations, islice, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparring.common.registry import first_sentence
from sparring.common.schema import plain
from sparring.config.factory import TASKS, make_task, name_of
from sparring.config.recipe import Recipe
from sparring.core.planting import plant
from sparring.core.task import Checks, Claims, Endless, Grades, Solves, Task, Verifies, offers
from sparring.core.truth import is_true
from sparring.runs.bundle import Packing

SPLITS = ("train", "development", "test")
SIZES = {"train": 60, "development": 20, "test": 20}
CASES = (
    "multistep_arithmetic-easy",
    "multistep_arithmetic-paper",
    "word_sorting-easy",
    "word_sorting-paper",
    "writing-easy",
    "writing-open",
    "date_understanding-easy",
    "date_understanding-paper",
    "logical_deduction-easy",
    "logical_deduction-paper",
    "gsm8k-file",
    "table-file",
    "commonsense_qa-file",
    "mmlu-file",
)


def gsm8k_row(n: int) -> dict:
    return {
        "question": f"Ann has {n} pens and buys 3 boxes of {n + 2}. How many pens has she?",
        "answer": f"The boxes hold 3*{n + 2}=<<3*{n + 2}={3 * n + 6}>>{3 * n + 6} pens.\n"
        f"She has {n}+{3 * n + 6}=<<{n}+{3 * n + 6}={4 * n + 6}>>{4 * n + 6} pens.\n#### {4 * n + 6}",
    }


def table_row(n: int) -> dict:
    return {"prompt": f"What is {n} + {n}?", "answer": str(2 * n), "rationale": f"Twice {n}.\nThe answer is {2 * n}."}


def choice_row(n: int) -> dict:
    return {"question": f"What is {n} and {n}?", "choices": [str(2 * n + k) for k in (1, 0, 2, 3)]}


def csqa_row(n: int) -> dict:
    row = choice_row(n)
    return {**row, "choices": {"label": list("ABCD"), "text": row["choices"]}, "answerKey": "B"}


def mmlu_row(n: int) -> dict:
    return {**choice_row(n), "subject": ("sums", "")[n < 60], "answer": 1}


def choice_rationale(n: int) -> dict:
    listed = zip("ABCD", choice_row(n)["choices"], strict=True)
    prompt = "\n".join([choice_row(n)["question"], *(f"{letter}. {text}" for letter, text in listed)])
    return {"prompt": prompt, "answer": "B", "rationale": f"Twice {n}.\nThe answer is B."}


def written(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> dict[str, Task]:
    """A small task for each case, made as a recipe makes it."""
    folder = tmp_path_factory.mktemp("rows")
    written(folder / "train.jsonl", [gsm8k_row(n) for n in range(80)])
    written(folder / "test.jsonl", [gsm8k_row(n) for n in range(80, 100)])
    rows = written(folder / "rows.jsonl", [table_row(n) for n in range(100)])
    csqa, mmlu = folder / "csqa", folder / "mmlu"
    for subfolder in (csqa, mmlu):
        subfolder.mkdir()
    written(csqa / "train.jsonl", [csqa_row(n) for n in range(80)])
    written(csqa / "dev.jsonl", [csqa_row(n) for n in range(80, 100)])
    for split, numbers in (
        ("auxiliary_train", range(60)),
        ("validation", range(60, 80)),
        ("test", range(80, 100)),
        ("dev", range(100, 105)),
    ):
        written(mmlu / f"{split}.jsonl", [mmlu_row(n) for n in numbers])
    reasons = written(folder / "reasons.jsonl", [choice_rationale(n) for n in range(80)])
    asked = [{**choice_rationale(n), "prompt": f"{choice_rationale(n)['prompt']}\nAnswer:"} for n in range(60)]
    asked_reasons = written(folder / "asked_reasons.jsonl", asked)
    tables = {
        "commonsense_qa-file": {"source": str(csqa), "development": 20, "rationales": reasons},
        "mmlu-file": {"source": str(mmlu), "rationales": asked_reasons},
        "gsm8k-file": {"source": str(folder), "development": 20},
        "table-file": {"train": rows, "development_size": 20, "test_size": 20, "right": "number"},
    }
    made = {}
    for case in CASES:
        kind, _, variant = case.partition("-")
        made[case] = make_task({"kind": kind, **tables.get(case, {"range": variant, **SIZES})})
    return made


@pytest.fixture(params=CASES)
def task(request, tasks) -> Task:
    return tasks[request.param]


def test_a_bundle_packs_every_file_that_the_task_reads(task, tmp_path_factory):
    table = {"task": {"kind": name_of(task), **plain(task)}, "phase": [{"method": "sft"}]}
    assert str(tmp_path_factory.getbasetemp()) not in json.dumps(Packing(Recipe.of(table), table).table)


def everything(task: Task) -> list:
    return [problem for split in SPLITS for problem in task.problems(split)]


def test_the_catalogue_holds_ten_tasks_and_all_are_tried():
    assert list(TASKS) == [
        "commonsense_qa",
        "date_understanding",
        "gsm8k",
        "instructions",
        "logical_deduction",
        "mmlu",
        "multistep_arithmetic",
        "table",
        "word_sorting",
        "writing",
    ]
    # instructions have no right answers to be tried here: tests/tasks/test_instructions.py
    assert {case.partition("-")[0] for case in CASES} | {"instructions"} == set(TASKS)


@pytest.mark.parametrize("name", list(TASKS))
def test_it_says_in_a_line_what_it_is(name):
    assert first_sentence(TASKS[name]).endswith(".")


def test_it_is_a_task_of_its_own_name_whose_settings_make_it_again(task):
    assert isinstance(task, Task)
    again = make_task({"kind": name_of(task), **plain(task)})
    assert again == task
    assert all(again.problems(split) == task.problems(split) for split in SPLITS)


def test_it_gives_what_was_asked_for(task):
    assert {split: len(task.problems(split)) for split in SPLITS} == SIZES


def test_gold_is_right_and_nothing_is_wrong(task):
    for problem in everything(task):
        assert task.is_right(problem, problem.gold), problem
        assert problem.rationale is None or task.is_right(problem, problem.rationale), problem
        assert not task.is_right(problem, "")
        assert not task.is_right(problem, " \n\t ")


def test_another_problems_gold_is_wrong(task):
    problems = task.problems("train")
    for mine, other in pairwise(problems):
        if mine.gold != other.gold and not isinstance(task, Grades):  # many texts are right there
            assert not task.is_right(mine, other.gold)


def test_a_grade_is_full_for_what_is_right_alone_and_nothing_for_nothing(tasks):
    grading = [task for task in tasks.values() if isinstance(task, Grades)]
    assert len(grading) == 2
    for task in grading:
        problems = everything(task)
        grades = [task.grade(mine, other.gold) for mine, other in pairwise(problems)]
        assert all(0 <= grade <= 1 for grade in grades)
        assert len(set(grades)) > 5
        for (mine, other), grade in zip(pairwise(problems), grades, strict=True):
            assert task.is_right(mine, other.gold) == (grade == 1)
            assert task.grade(mine, mine.gold) == 1
            assert task.grade(mine, " ") == 0


def test_ids_are_unique_and_the_splits_apart(task):
    ids = {split: [problem.id for problem in task.problems(split)] for split in SPLITS}
    asked = {split: {problem.chat.text for problem in task.problems(split)} for split in SPLITS}
    assert all(len(set(found)) == len(found) for found in ids.values())
    for one, other in combinations(SPLITS, 2):
        assert not set(ids[one]) & set(ids[other])
        assert not asked[one] & asked[other]


def test_what_it_offers_is_there(task):
    found = offers(task)
    assert {"gold", "rationale"} <= found
    assert ("first_error" in found) == isinstance(task, Checks)
    assert ("solution" in found) == isinstance(task, Solves)
    assert ("claims" in found) == isinstance(task, Claims)


def test_rationales_have_steps_and_every_problem_a_bin(task):
    for problem in everything(task):
        assert problem.rationale is None or task.layout.split(problem.rationale)
        assert problem.bin


def test_a_checker_accepts_every_rationale_and_no_other_problems(tasks):
    checking = [task for task in tasks.values() if isinstance(task, Checks)]
    assert len(checking) == 8
    for task in checking:
        problems = everything(task)
        for problem, other in pairwise(problems):
            assert task.first_error(problem, problem.rationale) is None
            if other.gold != problem.gold:
                assert task.first_error(problem, other.rationale) is not None
            assert task.first_error(problem, "") is not None


def test_a_solver_is_right_from_the_start_and_from_every_step_on(tasks):
    solving = [task for task in tasks.values() if isinstance(task, Solves)]
    assert len(solving) == 8
    for task in solving:
        for problem in task.problems("train"):
            labels = [step.label for step in task.layout.split(problem.rationale)]
            for kept in ("", *(task.layout.before(problem.rationale, label) for label in labels)):
                solved = task.solve(problem, kept)
                assert solved.startswith(kept)
                assert task.is_right(problem, solved)
                assert task.first_error(problem, solved) is None


def test_hints_and_claims_are_words_and_follow_from_their_draw(tasks):
    claiming = [task for task in tasks.values() if isinstance(task, Claims) and isinstance(task, Verifies)]
    assert len(claiming) == 9
    for task in claiming:
        problems = task.problems("train")
        for problem, other in pairwise(problems):
            for answer in (problem.rationale, other.rationale, "", "no idea"):
                for say in (task.hint, task.false_claim):
                    said = say(problem, answer, random.Random(1))
                    assert isinstance(said, str)
                    assert said.strip()
                    assert said == say(problem, answer, random.Random(1))
            assert task.hint(problem, "", random.Random(0)) != task.false_claim(problem, "", random.Random(0))


def test_endless_problems_begin_with_the_training_split_and_are_never_held_out(tasks):
    endless = [task for task in tasks.values() if isinstance(task, Endless)]
    assert len(endless) == 10
    for task in endless:
        found = [problem.id for problem in islice(task.endless(), 300)]
        assert len(set(found)) == 300
        assert found[:60] == [problem.id for problem in task.problems("train")]
        assert not set(found) & {p.id for split in SPLITS[1:] for p in task.problems(split)}


@given(answer=st.text(max_size=200) | st.text("0123456789+-*()=.,#<>[]{}\n abcFinalresponse", max_size=200))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_makes_it_stumble(task, answer):
    problem = task.problems("train")[0]
    assert task.is_right(problem, answer) in (True, False)
    if isinstance(task, Checks):
        fault = task.first_error(problem, answer)
        assert fault is None or fault.step
    if isinstance(task, Claims):
        assert task.hint(problem, answer, random.Random(0))
        assert task.false_claim(problem, answer, random.Random(0))


def test_its_hints_are_found_true_and_its_false_claims_false(tasks):
    claiming = [task for task in tasks.values() if isinstance(task, Claims) and isinstance(task, Verifies)]
    assert len(claiming) == 9
    for task in claiming:
        for number, problem in enumerate(everything(task)[::3]):
            rng = random.Random(number)
            for answer in (problem.rationale, plant(task, problem, rng).answer):
                assert is_true(task, problem, answer, task.hint(problem, answer, rng)) is True
                assert is_true(task, problem, answer, task.false_claim(problem, answer, rng)) is False

"""Splits of a user's own rows, and real files."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from sparring.common.errors import ConfigError
from sparring.core.task import offers
from sparring.tasks.table import Table

DATA = Path(os.environ.get("SPARRING_DATA", ""))
real = pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA names the folder of real data sets")

SPLITS = ("train", "development", "test")


def sums(count):
    return [{"prompt": f"{n} + 1 = ?", "answer": n + 1} for n in range(count)]


def all_problems(task):
    return [problem for split in SPLITS for problem in task.problems(split)]


# ---- splits


def test_missing_splits_are_drawn_from_train_by_share_or_by_number(rows):
    path = rows(*sums(40))
    assert [len(Table(path).problems(split)) for split in SPLITS] == [32, 4, 4]
    sized = Table(path, development_size=0.5, test_size=3)
    assert [len(sized.problems(split)) for split in SPLITS] == [17, 20, 3]


def test_the_draw_is_the_same_each_time_and_another_for_another_seed(rows):
    path = rows(*sums(40))
    first, again, other = (Table(path, seed=seed) for seed in (0, 0, 1))
    assert first.problems("test") == again.problems("test")
    assert {p.id for p in first.problems("test")} != {p.id for p in other.problems("test")}


def test_splits_share_no_question_and_an_overlap_is_the_test_split_s(rows):
    test, development = rows(*sums(4), name="test.jsonl"), rows(*sums(6), name="development.jsonl")
    task = Table(rows(*sums(9), *sums(1), *sums(9)[8:]), development=development, test=test)
    assert [len(task.problems(split)) for split in SPLITS] == [3, 2, 4]
    assert len({problem.id for problem in all_problems(task)}) == 9
    assert task.notes[1:] == (
        "development: 4 dropped (asked in test, too)",
        "train: 5 dropped (asked in test, too)",
        "train: 2 dropped (asked in development, too)",
        "train: 1 dropped (asked before)",
    )


def test_too_few_rows_are_one_clear_line(rows):
    path = rows(*sums(2))
    with pytest.raises(ConfigError, match="has 2 questions of its own, and none is left to train on"):
        Table(path).problems("train")
    with pytest.raises(ConfigError, match="has 0 questions of its own"):
        Table(path, test=path, development_size=0).problems("train")


def test_ids_are_of_the_question_alone(rows):
    one = Table(rows(*sums(5), name="a.jsonl"))
    two = Table(rows(*reversed(sums(5)), {"prompt": "x", "answer": 1}, name="b.jsonl"))
    assert {p.id for p in all_problems(one)} < {p.id for p in all_problems(two)}


# ---- real files

STEM = {"prompt_column": "question.stem", "choices_column": "question.choices", "answer_column": "answerKey"}
COMMONSENSE = STEM | {"train": "commonsense_qa/dev_100.jsonl"}
MMLU = {"train": "mmlu/dev.jsonl", "test": "mmlu/test_sample.jsonl", "prompt_column": "question"}
BBH = {"prompt_column": "input", "answer_column": "target"}
REAL = {
    "commonsense_qa": (COMMONSENSE, 100),
    "mmlu": (MMLU | {"category_column": "subject"}, 285 + 342 - 1),
    "dates": (BBH | {"train": "bbh/date_understanding.json", "right": "choice"}, 250),
    "deduction": (BBH | {"train": "bbh/logical_deduction_five_objects.json", "right": "choice"}, 250),
    "arithmetic": (BBH | {"train": "bbh/multistep_arithmetic_two.json", "right": "number"}, 250),
    "sorting": (BBH | {"train": "bbh/word_sorting.json"}, 250),
}


def of(settings):
    paths = {key: str(DATA / value) for key, value in settings.items() if key in SPLITS}
    return Table(**settings | paths)


@real
@pytest.mark.parametrize("name", REAL)
def test_real_rows_with_answers(name):
    settings, size = REAL[name]
    task = of(settings)
    problems = all_problems(task)
    assert len({problem.id for problem in problems}) == len(problems) == size
    assert "gold" in offers(task)
    for before, problem in pairwise(problems):
        assert task.is_right(problem, problem.gold)
        assert task.is_right(problem, f"Let me see.\nThe answer is {problem.gold}.")
        assert not task.is_right(problem, "")
        assert task.is_right(problem, before.gold) == (before.gold == problem.gold)


@real
def test_real_choices_are_right_by_their_words():
    for settings in (COMMONSENSE, MMLU):
        task = of(settings)
        for problem in all_problems(task):
            texts = problem.data["choices"]
            words = texts["ABCDE".index(problem.gold)]
            if texts.count(words) == 1 and "\n" not in words:
                assert task.is_right(problem, f"The answer is {words}.")


@real
def test_real_instructions_need_no_answers():
    task = of({"train": "self_instruct/user_oriented_instructions.jsonl", "prompt_column": "instruction"})
    assert len(all_problems(task)) == 251
    assert task.notes[1:] == ("train: 1 dropped (asked before)",)
    assert offers(task) == {"question"}

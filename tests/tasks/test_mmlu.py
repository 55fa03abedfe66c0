"""MMLU: the prompt with its examples, splits, equal shares of the subjects, the real rows."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from sparring.common import records
from sparring.common.errors import ConfigError
from sparring.tasks.mmlu import MMLU

DATA = Path(os.environ.get("SPARRING_DATA", ""))
real = pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA names the folder of real data sets")
SPLITS = ("train", "development", "test")


def row(n: int, subject: str = "high_school_law", answer: int = 2) -> dict:
    return {"question": f"{n}?", "subject": subject, "choices": ["no", "yes", "both", "never"], "answer": answer}


@pytest.fixture
def folder(tmp_path):
    """Writes a folder with a file for each split and gives its path."""

    def write(**rows):
        for split, found in rows.items():
            (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in found))
        return str(tmp_path)

    return write


def test_the_prompt_is_the_authors(folder):
    source = folder(dev=[row(1), row(2, answer=0), row(3)], test=[row(4)])
    task = MMLU(source, shots=2, train=0, development=0)
    (problem,) = task.problems("test")
    options = "A. no\nB. yes\nC. both\nD. never\nAnswer:"
    assert problem.chat.text == (
        "The following are multiple choice questions (with answers) about high school law.\n\n"
        f"1?\n{options} C\n\n2?\n{options} A\n\n4?\n{options}"
    )
    assert problem.gold == "C"
    assert problem.bin == "high_school_law"
    assert task.is_right(problem, " C\n\n5?\nA. no")
    assert task.is_right(problem, "The answer is B.\nNo wait, it is C.")
    assert not task.is_right(problem, " B\n\n5?\nA. no\nAnswer: C")
    assert not task.is_right(problem, " B")


def test_without_shots_no_dev_rows_are_read_and_ids_are_the_same(folder):
    source = folder(dev=[row(1)], test=[row(4)])
    few = MMLU(source, shots=1, train=0, development=0).problems("test")[0]
    none = MMLU(source, shots=0, train=0, development=0).problems("test")[0]
    assert none.chat.text.startswith("The following are")
    assert "1?" not in none.chat.text
    assert few.id == none.id


def test_each_published_split_has_its_own_use(folder):
    auxiliary = [row(n, subject="") for n in range(3)]
    source = folder(auxiliary_train=auxiliary, validation=[row(10)], test=[row(20), row(30)], dev=[row(30), row(31)])
    task = MMLU(source, shots=2)
    assert [len(task.problems(split)) for split in SPLITS] == [3, 1, 1]  # what stands in the prompt is not asked
    assert task.notes == ("test: 1 dropped (asked in shots, too)",)
    first = task.problems("train")[0]
    assert first.bin == "auxiliary"
    assert first.chat.text == "0?\nA. no\nB. yes\nC. both\nD. never\nAnswer:"


def test_a_training_row_is_no_copy_of_a_test_row_though_it_has_no_subject(folder):
    turned = {**row(7, ""), "choices": ["never", "both", "yes", "no"], "answer": 1}
    path = folder(
        dev=[row(n) for n in range(5)],
        test=[row(7)],
        validation=[row(8)],
        auxiliary_train=[turned, row(8, ""), row(9, "")],
    )
    task = MMLU(path)
    assert [len(task.problems(split)) for split in SPLITS] == [1, 1, 1]
    assert task.problems("train")[0].chat.text.startswith("9?")


def test_a_limit_is_shared_equally_by_the_subjects(folder):
    tested = [row(n, subject) for subject, count in (("a", 5), ("b", 1), ("c", 5)) for n in range(count)]
    task = MMLU(folder(test=tested), shots=0, train=0, development=0, test=7)
    assert Counter(problem.bin for problem in task.problems("test")) == {"a": 3, "b": 1, "c": 3}
    assert [problem.bin for problem in task.problems("test")] == list("aaabccc")


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (
            {"test": [row(1)]},
            {},
            r"has no shots rows; give a folder with dev\*.jsonl .*, or set shots = 0 to do without",
        ),
        (
            {"dev": [row(1)], "test": [row(2)]},
            {},
            "high_school_law has 1 dev rows, too few for shots = 5; set shots = 1",
        ),
        ({"dev": [row(1)], "test": [row(2, "x")]}, {"shots": 1}, "has no dev rows of x for the prompt"),
        (
            {"test": [row(1, answer=4)]},
            {"shots": 0},
            "test.jsonl, row 1: answer is '4', which is not among the choices",
        ),
        ({"test": [{**row(1), "answer": None}]}, {"shots": 0}, "test.jsonl, row 1: answer is empty; give the index"),
    ],
)
def test_what_is_missing_or_wrong_is_one_clear_line(folder, rows, settings, message):
    with pytest.raises(ConfigError, match=message):
        MMLU(folder(**rows), train=0, development=0, **settings).problems("test")


def test_the_hub_is_asked_for_the_splits_that_are_wanted(monkeypatch):
    asked = []

    def read(source):
        asked.append(source)
        return [records.Record(source, row(len(asked)))]

    monkeypatch.setattr("sparring.tasks.mmlu.read_records", read)
    MMLU(shots=1).problems("test")
    names = ["auxiliary_train", "dev", "test", "validation"]
    assert sorted(asked) == [f"hub:cais/mmlu/all:{name}" for name in names]


@real
def test_the_real_rows_of_57_subjects_with_five_examples_each():
    task = MMLU(str(DATA / "mmlu"), train=0, development=0)
    problems = task.problems("test")
    assert Counter(Counter(problem.bin for problem in problems).values()) == {6: 57}
    for problem in problems:
        text = problem.chat.text
        heading = "The following are multiple choice questions (with answers) about "
        assert text.startswith(heading + problem.bin.replace("_", " "))
        assert text.count("\nAnswer: ") >= 5
        assert text.endswith("\nAnswer:")
        for letter in "ABCD":
            assert task.is_right(problem, f" {letter}") == (letter == problem.gold)
            assert task.is_right(problem, f"The answer is ({letter}).") == (letter == problem.gold)
    assert len(MMLU(str(DATA / "mmlu"), train=0, development=0, test=57).problems("test")) == 57

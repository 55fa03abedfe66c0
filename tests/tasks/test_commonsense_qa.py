"""CommonsenseQA: both formats of a row, splits, rationales, the real rows."""

import json
import os
from pathlib import Path

import pytest

from sparring.common import records
from sparring.common.errors import ConfigError
from sparring.core.task import offers
from sparring.tasks.commonsense_qa import CommonsenseQA

DATA = Path(os.environ.get("SPARRING_DATA", ""))
real = pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA names the folder of real data sets")

TEXTS = ["oven", "fridge", "bank", "moon", "lake"]
ASKED = "\nA. oven\nB. fridge\nC. bank\nD. moon\nE. lake"


def published(n: int, key: str = "B") -> dict:
    choices = [{"label": label, "text": text} for label, text in zip("ABCDE", TEXTS, strict=True)]
    return {"id": str(n), "question": {"stem": f"Where is milk {n} kept?", "choices": choices}, "answerKey": key}


def on_the_hub(n: int, key: str = "B") -> dict:
    choices = {"label": list("ABCDE"), "text": TEXTS}
    asked = f"Where is milk {n} kept?"
    return {"id": str(n), "question": asked, "question_concept": "milk", "choices": choices, "answerKey": key}


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_both_formats_of_a_row_are_the_same_problem(tmp_path):
    sources = [write(tmp_path / f"{n}.jsonl", [row(1)]) for n, row in enumerate((published, on_the_hub))]
    old, new = (CommonsenseQA(source, development=0, test=0).problems("train") for source in sources)
    assert old == new
    assert old[0].chat.text == f"Where is milk 1 kept?{ASKED}"
    assert old[0].gold == "B"


def test_right_is_the_option_by_letter_or_by_text(tmp_path):
    task = CommonsenseQA(write(tmp_path / "train.jsonl", [published(1)]), development=0, test=0)
    (problem,) = task.problems("train")
    for right in ("B", "The fridge.", "It must be cold. The answer is (B)."):
        assert task.is_right(problem, right)
    for wrong in ("", "A", "The oven", "B or C"):
        assert not task.is_right(problem, wrong)


def test_published_development_rows_are_the_test_split_and_test_rows_are_not_read(tmp_path):
    write(tmp_path / "train_rand_split.jsonl", [published(n) for n in range(10)])
    write(tmp_path / "dev_rand_split.jsonl", [published(n) for n in range(10, 14)])
    write(tmp_path / "test_rand_split_no_answers.jsonl", [published(99, "")])
    task = CommonsenseQA(str(tmp_path), development=3)
    assert [len(task.problems(split)) for split in ("train", "development", "test")] == [7, 3, 4]
    only_tested = CommonsenseQA(str(tmp_path), train=0, development=0)
    assert [len(only_tested.problems(split)) for split in ("train", "development", "test")] == [0, 0, 4]


def test_the_hub_is_asked_for_the_splits_that_are_wanted(monkeypatch):
    asked = []

    def read(source):
        asked.append(source)
        return [records.Record(source, on_the_hub(len(asked)))]

    monkeypatch.setattr("sparring.tasks.commonsense_qa.read_records", read)
    CommonsenseQA(development=0).problems("test")
    assert sorted(asked) == ["hub:tau/commonsense_qa:train", "hub:tau/commonsense_qa:validation"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (published(2, ""), "train.jsonl, row 2: answerKey is empty; name rows with answers"),
        (published(2, "F"), "train.jsonl, row 2: answerKey is 'F', which is not among the choices A. oven"),
        ({"question": "x", "answerKey": "A"}, "train.jsonl, row 2: unknown column 'choices'"),
    ],
)
def test_a_bad_row_is_one_clear_line(tmp_path, row, message):
    source = write(tmp_path / "train.jsonl", [published(1), row])
    with pytest.raises(ConfigError, match=message):
        CommonsenseQA(source, development=0, test=0).problems("train")


def test_missing_rows_are_named_with_the_settings_to_do_without(tmp_path):
    write(tmp_path / "dev.jsonl", [published(1)])
    with pytest.raises(ConfigError, match=r"no train rows; .*, or set train = 0 and development = 0 to do without"):
        CommonsenseQA(str(tmp_path)).problems("test")
    write(tmp_path / "train.jsonl", [published(2)])
    with pytest.raises(ConfigError, match="has 1 training problems, too few to draw development = 500"):
        CommonsenseQA(str(tmp_path)).problems("test")


def test_rationales_are_found_by_their_prompt_and_kept_where_right(tmp_path):
    source = write(tmp_path / "train.jsonl", [published(n) for n in range(3)])
    why = "Milk goes bad.\nThe answer is {}."
    written = [{"prompt": f"Where is milk {n} kept?{ASKED}", "rationale": why.format("ABB"[n])} for n in range(3)]
    elsewhere = {"prompt": "Where?", "rationale": "x"}
    task = CommonsenseQA(source, development=0, test=0, rationales=write(tmp_path / "why.jsonl", [*written, elsewhere]))
    assert [problem.rationale for problem in task.problems("train")] == [None, why.format("B"), why.format("B")]
    assert task.notes == ("rationales of no training problem: 1", "rationales that end in another answer: 1")
    assert offers(task) == {"question", "worked", "thoughts", "gold"}
    only = write(tmp_path / "only.jsonl", [elsewhere])
    with pytest.raises(ConfigError, match=r"only.jsonl has no rationale for a training problem .*; write them with"):
        CommonsenseQA(source, development=0, test=0, rationales=only).problems("train")


@real
def test_every_real_gold_answer_is_right_in_many_wordings_and_no_other_is():
    task = CommonsenseQA(str(DATA / "commonsense_qa"), train=0, development=0)
    problems = task.problems("test")
    assert len(problems) == 100
    for problem in problems:
        texts = problem.data["choices"]
        assert len(texts) == 5
        for letter, text in zip("ABCDE", texts, strict=True):
            is_gold = letter == problem.gold
            by_text = [f"The answer is {text}."] * (texts.count(text) == 1)  # one row has an option twice
            for reply in (letter, f"({letter}) {text}", f"So option {letter} is correct.", *by_text):
                assert task.is_right(problem, reply) == is_gold, reply

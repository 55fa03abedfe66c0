"""Open instructions as problems without answers."""

import csv
import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from sparring.common.errors import ConfigError
from sparring.common.schema import plain
from sparring.config.factory import make_task
from sparring.core.chat import SYSTEM, USER
from sparring.core.task import Task, offers
from sparring.tasks.instructions import Instructions

SPLITS = ("train", "development", "test")


@pytest.fixture
def instructions(rows):
    """Instructions that are all training problems."""

    def make(*found, **settings):
        return Instructions(rows(*found), **{"development_size": 0, "test_size": 0} | settings)

    return make


def some(count):
    return [{"instruction": f"Write {n} words."} for n in range(count)]


def test_an_instruction_is_a_question_without_an_answer(instructions):
    task = instructions({"instruction": " Write a poem. ", "output": "Roses"})
    (problem,) = task.problems("train")
    assert [(said.author, said.text) for said in problem.chat.messages] == [(USER, "Write a poem.")]
    assert (problem.gold, problem.rationale, problem.bin) == (None, None, "all")
    assert isinstance(task, Task)
    assert offers(task) == {"question"}


@pytest.mark.parametrize("column", ["input", "context"])
def test_an_input_stands_below_its_instruction_and_an_empty_one_does_not(instructions, column):
    rows = [{"instruction": "Sort.", column: value} for value in ("b a", "", None, 3)]
    asked = [problem.chat.text for problem in instructions(*rows).problems("train")]
    assert asked == ["Sort.\n\nb a", "Sort.", "Sort.\n\n3"]


def test_columns_are_named_by_the_recipe_even_in_nested_cells(instructions):
    row = {"task": "Sort.", "instances": [{"input": "b a"}], "instruction": "no", "input": "no"}
    task = instructions(row, instruction_column="task", input_column="instances.0.input")
    assert task.problems("train")[0].chat.text == "Sort.\n\nb a"


def test_a_difficulty_is_a_number_of_the_row(instructions):
    rows = ({"instruction": "Write.", "d": 0.5}, {"instruction": "Read.", "d": "-1"})
    task = instructions(*rows, difficulty_column="d")
    assert [problem.data["difficulty"] for problem in task.problems("train")] == [0.5, -1.0]
    for wrong in ("hard", None, True, "nan", 10**400):
        with pytest.raises(ConfigError, match=r"row 1: d = .* is not a finite number"):
            instructions({"instruction": "Write.", "d": wrong}, difficulty_column="d").problems("train")


def test_a_row_may_name_its_category_and_its_name_elsewhere(instructions):
    task = instructions({"prompt": "Write.", "kind": "poems", "uid": "a7"}, category_column="kind", uid_column="uid")
    [problem] = task.problems("train")
    assert (problem.bin, problem.data) == ("poems", {"uid": "a7"})


def test_a_prompt_column_will_do(instructions):
    assert instructions({"prompt": "Write."}).problems("train")[0].chat.text == "Write."


def test_a_system_prompt_stands_before_each_and_changes_no_id(instructions):
    (problem,) = instructions({"instruction": "Write."}, system="Be brief.").problems("train")
    assert [(m.author, m.text) for m in problem.chat.messages] == [(SYSTEM, "Be brief."), (USER, "Write.")]
    assert problem.id == instructions({"instruction": "Write."}).problems("train")[0].id


def test_the_same_words_are_kept_once_and_another_input_is_another_instruction(instructions):
    rows = [{"instruction": "Sort.", "input": value} for value in ("b a", "c b", "b a ")]
    task = instructions(*rows)
    assert len(task.problems("train")) == 2
    assert task.notes == ("train: 1 dropped (asked before)",)


def test_splits_share_nothing_and_are_the_same_each_time(rows):
    path = rows(*some(40))
    task, again = Instructions(path), Instructions(path)
    ids = [{problem.id for problem in task.problems(split)} for split in SPLITS]
    assert [len(found) for found in ids] == [32, 4, 4]
    assert len(set.union(*ids)) == 40
    assert all(task.problems(split) == again.problems(split) for split in SPLITS)
    held_out = Instructions(path, test=rows(*some(5), name="test.jsonl"), development_size=0.5)
    assert [len(held_out.problems(split)) for split in SPLITS] == [17, 18, 5]


def test_csv_and_parquet_are_read(tmp_path):
    found = [{"instruction": f"Write, {n}.", "input": "x\ny"} for n in range(3)]
    parquet.write_table(pyarrow.Table.from_pylist(found), tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["instruction", "input"])
        writer.writeheader()
        writer.writerows(found)
    for name in ("a.parquet", "a.csv"):
        task = Instructions(str(tmp_path / name), development_size=0, test_size=0)
        assert [p.chat.text for p in task.problems("train")] == [f"Write, {n}.\n\nx\ny" for n in range(3)]


def test_nobody_can_say_what_is_right(instructions):
    task = instructions(*some(1))
    (problem,) = task.problems("train")
    assert task.is_right(problem, " \n") is False
    with pytest.raises(ConfigError, match=r'the task instructions has no right answers, .* kind = "table"') as caught:
        task.is_right(problem, "five words")
    assert "\n" not in str(caught.value)


def test_its_settings_make_it_again(rows):
    task = Instructions(rows(*some(20)), development_size=0.2, system="Be brief.", input_column="instruction")
    assert make_task({"kind": "instructions", **plain(task)}) == task


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        (
            {"question": "x"},
            {},
            "unknown column 'instruction'; choose from question, and name it in instruction_col",
        ),
        ({"instruction": 3}, {}, r"instruction is a number \(3\), not text"),
        ({"instruction": " "}, {}, "instruction is empty"),
        ({"instruction": "x", "input": ["a"]}, {}, "input is a list .*, not text"),
        ({"instruction": "x"}, {"input_column": "inpt"}, "unknown column 'inpt'"),
    ],
)
def test_a_bad_row_is_one_clear_line_with_its_number(instructions, row, settings, message):
    with pytest.raises(ConfigError, match=rf"rows.jsonl, row 1: .*{message}") as caught:
        instructions(row, **settings).problems("train")
    assert "\n" not in str(caught.value)


def test_a_size_for_a_split_with_a_source_is_refused(rows):
    path = rows(*some(4))
    with pytest.raises(ConfigError, match="test_size = 3 is for a split without a source, but test is"):
        Instructions(path, test=path, test_size=3)


@pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA names the folder of real data sets")
def test_real_instructions_with_their_inputs():
    path = Path(os.environ.get("SPARRING_DATA", "")) / "self_instruct" / "user_oriented_instructions.jsonl"
    task = Instructions(str(path), input_column="instances.0.input")
    assert [len(task.problems(split)) for split in SPLITS] == [202, 25, 25]
    alone = Instructions(str(path))
    assert sum(len(alone.problems(split)) for split in SPLITS) == 251
    assert alone.notes == ("train: 1 dropped (asked before)",)

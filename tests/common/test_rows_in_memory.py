"""Rows that a program holds, in all the forms that tables have."""

import datetime
import json
import math
from itertools import count
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pytest

from sparring.common import rows_in_memory
from sparring.common.errors import ConfigError
from sparring.common.rows_in_memory import as_source, is_ours
from sparring.tasks.table import Table

pandas = pytest.importorskip("pandas")  # it comes with datasets
ROWS = [{"prompt": f"q{n}", "completion": f"ä{n}"} for n in range(12)]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_in_memory, "_path", lambda: tmp_path / "rows")


def stream():
    yield from ROWS


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        tuple(ROWS),
        stream(),
        datasets.Dataset.from_list(ROWS),
        datasets.IterableDataset.from_generator(stream),
        pandas.DataFrame(ROWS),
        pyarrow.Table.from_pylist(ROWS),
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_every_kind_of_table_becomes_the_same_file(rows):
    path = as_source(rows, "train")
    assert [json.loads(line) for line in Path(path).read_text().splitlines()] == ROWS
    assert path == as_source(ROWS, "train")
    assert is_ours(path)
    assert not is_ours("data/rows.jsonl")
    assert list(Path(path).parent.iterdir()) == [Path(path)], "a partial file is left behind"


def test_cells_of_other_types_become_json():
    row = {"n": np.int64(3), "a": np.array([1, 2]), "day": datetime.date(2020, 1, 2), "missing": math.nan, "t": "x"}
    [line] = Path(as_source(pandas.DataFrame([row]), "train")).read_text().splitlines()
    assert json.loads(line) == {"n": 3, "a": [1, 2], "day": "2020-01-02", "missing": None, "t": "x"}


def test_a_mapping_of_splits_fills_them():
    data = datasets.Dataset.from_list(ROWS)
    whole = datasets.DatasetDict(
        train=data.select(range(8)), validation=data.select([8, 9]), test=data.select([10, 11])
    )
    task = Table(train=whole)
    assert [len(task.problems(split)) for split in ("train", "development", "test")] == [8, 2, 2]
    task = Table(train=whole, test=data.select([11]).to_list())
    assert [len(task.problems(split)) for split in ("train", "development", "test")] == [8, 2, 1]
    with pytest.raises(ConfigError, match="train has the splits main; name one of them train"):
        Table(train=datasets.DatasetDict(main=data))


def test_a_user_without_a_name_can_have_rows(monkeypatch, tmp_path):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert len(Table(train=ROWS, development_size=0, test_size=0).problems("train")) == len(ROWS)


def test_an_endless_stream_needs_a_number_of_rows(monkeypatch):
    monkeypatch.setattr(rows_in_memory, "MOST_ROWS", 100)
    endless = datasets.IterableDataset.from_generator(lambda: ({"prompt": f"q{n}"} for n in count()))
    assert len(Table(train=endless, train_rows=40, development_size=0, test_size=0).problems("train")) == 40
    with pytest.raises(ConfigError, match="more than 100 rows, perhaps without end; set train_rows to"):
        Table(train=endless)
    with pytest.raises(ConfigError, match=r"test is a stream .*; set test to rows.take\(number\)"):
        Table(train=ROWS, test=endless)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (3, r"train is a number \(3\), not rows; give a path, a hub id, or a table of rows"),
        ([ROWS[0], "a"], r"train, row 2: it is a str \(a\), not an object"),
        ([{"prompt": "a", "picture": b"x"}], "train, row 1: picture is a bytes .*, which is not text"),
        ([{"prompt": "a\ud83d"}], "row 1: prompt contains half a character"),
        ([], "holds no rows"),
    ],
)
def test_what_is_no_table_is_one_line(rows, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Table(train=rows).problems("train")
    assert "\n" not in str(caught.value)


def test_an_image_in_a_cell_is_called_one():
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(ConfigError, match="train, row 1: picture is an image, which is not text"):
        Table(train=[{"prompt": "a", "picture": image.new("RGB", (2, 2))}])

"""Rows of files and hub data sets, and how they are parted."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sparring.common import row_files
from sparring.common.errors import ConfigError
from sparring.common.records import Record
from sparring.common.row_files import read_records
from sparring.common.splits import draw_split, without_duplicates

ROWS = [{"question": "1 + 1 = ?", "answer": "2"}, {"question": 'say "a,\nb"', "answer": "ä"}]


def written(folder: Path, ending: str) -> str:
    """The path of a file with ROWS in it."""
    path = folder / f"rows{ending}"
    if ending == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif ending == ".csv":
        path.write_text('question,answer\n1 + 1 = ?,2\n"say ""a,\nb""",ä\n', encoding="utf-8-sig")
    elif ending == ".json":
        path.write_text(json.dumps(ROWS))
    elif ending == ".jsonl.gz":
        path.write_bytes(gzip.compress(Path(written(folder, ".jsonl")).read_bytes()))
    else:
        path.write_text("\n\n".join(json.dumps(row) for row in ROWS) + "\n")
    return str(path)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, ending):
    assert [row.cells for row in read_records(written(tmp_path, ending))] == ROWS


def test_a_row_is_named_by_its_line_in_jsonl_and_by_its_place_elsewhere(tmp_path):
    assert read_records(written(tmp_path, ".jsonl"))[1].where.endswith("rows.jsonl, row 3")
    assert read_records(written(tmp_path, ".jsonl.gz"))[1].where.endswith("rows.jsonl.gz, row 3")
    assert read_records(written(tmp_path, ".csv"))[1].where.endswith("rows.csv, row 2")


def test_a_json_file_may_hold_its_rows_under_one_key(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"canary": "x", "examples": ROWS}))
    assert [row.cells for row in read_records(str(tmp_path / "a.json"))] == ROWS


def test_a_json_file_may_hold_one_object_per_line(tmp_path):
    path = Path(written(tmp_path, ".jsonl")).rename(tmp_path / "lines.json")
    assert [row.cells for row in read_records(str(path))] == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "a.jsonl, row 2: not JSON: Expecting value"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', r"a.jsonl, row 2: it is a list \(\[1\]\), not an object"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl, row 1: unreadable JSON: .*utf-8"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, row 1: unreadable JSON"),
        ("a.jsonl", b"\n\n", "a.jsonl holds no rows"),
        ("a.json", b'{"a": 1}\n{"a": \n', "a.json, row 2: not JSON: Expecting value"),
        ("a.json", b'[{"a": 1}\n', "a.json: not JSON: .* at line 2, column 1"),
        ("a.json", b'{"a": [], "b": []}', "an object with 2 lists in it"),
        ("a.json", b"3", r"holds a number \(3\), not a list of rows"),
        ("a.csv", b"a,b\n1\n", "a.csv, row 1: 1 cells, but 2 in the heading"),
        ("a.csv", b"a,a\n1,2\n", "two columns have the same name"),
        ("a.csv", b'a\n"1', "a.csv, row 1: not CSV"),
        ("a.csv", b"a\n\xff\n", "not UTF-8 text .*; save it as UTF-8"),
        ("a.csv", b"", "a.csv holds no rows"),
        ("a.csv", b"a;b\n1;2\n", "a.csv: the heading is one column, 'a;b'; separate cells by commas, not semicolons"),
        ("a.csv", b"a\tb\n1\t2\n", "by commas, not tabs"),
        ("a.jsonl.gz", b'{"a": 1}\n', "a.jsonl.gz is not a whole gzip file .*; get it again"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n')[:-9], "a.jsonl.gz is not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(b'{"a": \n'), "a.jsonl.gz, row 1: not JSON"),
        ("a.gz", b"", "unknown file extension"),
        ("a.parquet", b"no", "a.parquet is not a readable Parquet file"),
        (
            "a.xlsx",
            b"",
            r"a.xlsx has an unknown file extension; choose from .jsonl, .jsonl.gz, .json, .csv, .parquet, or give",
        ),
    ],
)
def test_a_malformed_file_is_one_clear_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_records(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no file .*missing.jsonl; give a path relative to"):
        read_records(str(tmp_path / "missing.jsonl"))
    with pytest.raises(ConfigError, match="is a folder; name one file in it"):
        read_records(str(tmp_path))


# ---- cells


NESTED = Record("t, row 1", {"q": {"stem": "why", "choices": [{"text": "so"}]}, "a.b": 1, "n": None, "list": [1]})


def test_a_column_may_be_a_path_into_nested_cells():
    assert NESTED.text("q.stem") == "why"
    assert NESTED.text("q.choices.0.text") == "so"
    assert NESTED.cell("a.b") == 1
    assert not NESTED.has("q.choices.1.text")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("lists", r"t, row 1: unknown column 'lists' \(did you mean 'list'\?\); choose from a.b, list, n, q"),
        ("q.stm", r"unknown column 'q.stm' \(did you mean 'q.stem'\?\); choose from q.choices, q.stem"),
        ("n", "t, row 1: n is empty, not text"),
        ("list", r"list is a list \(\[1\]\), not text"),
        ("a.b", r"a.b is a number \(1\), not text"),
    ],
)
def test_a_cell_that_is_no_text_is_one_clear_line(column, message):
    with pytest.raises(ConfigError, match=message):
        NESTED.text(column)


@pytest.mark.parametrize(("text", "message"), [(" ", "is empty"), ("\ud83d", "half a character")])
def test_text_without_words_or_that_cannot_be_written_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        Record("t, row 1", {"a": text}).text("a")


@pytest.mark.parametrize(
    ("value", "plain"),
    [("b ", "b"), (3, "3"), (3.0, "3"), (0.5, "0.5"), (True, "true"), (None, None), (" ", None)],
)
def test_a_plain_cell_is_text_whatever_it_was(value, plain):
    assert Record("t, row 1", {"a": value}).plain("a") == plain


@pytest.mark.parametrize("value", [float("nan"), [1], {"a": 1}])
def test_a_plain_cell_is_neither_a_list_nor_an_object_nor_no_number(value):
    with pytest.raises(ConfigError, match=r"t, row 1: a is .*, not text"):
        Record("t, row 1", {"a": value}).plain("a")


# ---- the hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that the `datasets` library takes for a data set `owner/name`."""
    place = tmp_path / "owner" / "name"
    place.mkdir(parents=True)
    for split in ("train", "test"):
        (place / f"{split}.jsonl").write_text("\n".join(json.dumps({"n": n, "split": split}) for n in range(5)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("hub")
def test_a_hub_source_names_a_split_and_a_slice_of_it():
    assert [row.cells["split"] for row in read_records("hub:owner/name")] == ["train"] * 5
    rows = read_records("hub:owner/name/default:test[1:3]")
    assert [row.cells for row in rows] == [{"n": 1, "split": "test"}, {"n": 2, "split": "test"}]
    assert rows[0].where == "hub:owner/name/default:test[1:3], row 1"


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("hub:owner/name", ("owner/name", None, {"split": "train"})),
        ("hub:owner/name@v1", ("owner/name", None, {"split": "train", "revision": "v1"})),
        ("hub:owner/name/main:test[:9]@4f2c", ("owner/name", "main", {"split": "test[:9]", "revision": "4f2c"})),
        ("hub:owner/name/main@refs/pr/1", ("owner/name", "main", {"split": "train", "revision": "refs/pr/1"})),
    ],
)
def test_a_hub_source_names_configuration_split_and_revision(monkeypatch, source, asked):
    calls = []

    def load(name, configuration, **more):
        calls.append((name, configuration, more))
        return [{"n": 1}]

    monkeypatch.setattr(row_files, "hub_problem", lambda name, kind: None)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [row.where for row in read_records(source)] == [f"{source}, row 1"]
    assert calls == [asked]


@pytest.mark.parametrize("is_cached", [True, False])
def test_without_an_answer_from_the_hub_only_cached_rows_are_read_and_at_once(is_cached, tmp_path, monkeypatch):
    if is_cached:
        (tmp_path / "owner___name").mkdir()
    asked = []

    def load(*args, **more):
        asked.append(datasets.config.HF_HUB_OFFLINE)  # offline, the library does not retry for half a minute
        return [{"n": 1}]

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(row_files, "hub_problem", lambda name, kind: "it is dead")
    monkeypatch.setattr(datasets, "load_dataset", load)
    if is_cached:
        assert len(read_records("hub:owner/name")) == 1
    else:
        with pytest.raises(ConfigError, match=r"cannot load hub:owner/name: it is dead; write hub:owner/name\["):
            read_records("hub:owner/name")
    assert asked == [True] * is_cached
    assert not datasets.config.HF_HUB_OFFLINE


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hub:owner/name:tset", "cannot load hub:owner/name:tset: Unknown split"),
        ("hub:nobody/nothing", "cannot load hub:nobody/nothing: .*; write hub:owner/name"),
        ("hub:", "names no data set; write hub:owner/name"),
    ],
)
def test_a_hub_source_that_cannot_be_loaded_is_one_clear_line(source, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_records(source)
    assert "\n" not in str(caught.value)


def test_slow_libraries_are_imported_only_where_they_are_needed():
    program = (
        "import sys, sparring.tasks.table, sparring.tasks.gsm8k\n"
        "print([m for m in ('datasets', 'pyarrow', 'torch', 'transformers') if m in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


# ---- splits


@dataclass(frozen=True)
class Item:
    id: str


items = st.lists(st.integers(0, 30).map(str).map(Item), max_size=30)


@given(items, items, items)
def test_parted_splits_share_nothing_and_the_earlier_one_keeps_it(test, development, train):
    given_ = {"test": test, "development": development, "train": train}
    kept, notes = without_duplicates(given_)
    found = [item.id for split in kept.values() for item in split]
    assert len(found) == len(set(found))
    assert set(found) == {item.id for split in given_.values() for item in split}
    assert {item.id for item in kept["test"]} == {item.id for item in test}
    lost = sum(map(len, given_.values())) - len(found)
    assert sum(int(note.split(": ")[1].split()[0]) for note in notes) == lost


def test_notes_say_what_was_dropped_and_why():
    _, notes = without_duplicates({"test": [Item("a")], "train": [Item("a"), Item("b"), Item("b")]})
    assert notes == ("train: 1 dropped (asked in test, too)", "train: 1 dropped (asked before)")


@given(st.sets(st.integers().map(str).map(Item), max_size=40), st.integers(0, 40), st.randoms())
def test_a_draw_depends_on_ids_and_seed_and_not_on_the_order(found, size, rng):
    some = sorted(found, key=lambda item: item.id)
    shuffled = rng.sample(some, len(some))
    taken, others = draw_split(some, size, 0, "test")
    assert len(taken) == min(size, len(some))
    assert set(taken) | set(others) == found
    assert set(draw_split(shuffled, size, 0, "test")[0]) == set(taken)


def test_a_draw_changes_with_the_seed_and_with_the_stream():
    some = [Item(str(n)) for n in range(100)]
    draws = {tuple(draw_split(some, 10, seed, stream)[0]) for seed in (0, 1) for stream in ("test", "development")}
    assert len(draws) == 4
    assert all(list(rng) == [item for item in some if item in rng] for rng in draws)


@pytest.mark.skipif("SPARRING_DATA" not in os.environ, reason="SPARRING_DATA names the folder of real data sets")
def test_real_files_are_read_whole():
    folder = Path(os.environ.get("SPARRING_DATA", ""))
    sizes = {"gsm8k/train_2000.jsonl": 2000, "bbh/word_sorting.json": 250, "mmlu/dev.jsonl": 285}
    assert {name: len(read_records(str(folder / name))) for name in sizes} == sizes

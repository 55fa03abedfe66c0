"""Rows of a user's file or of a hub data set, and how they are parted into splits.

A source is the path of a `.jsonl`, `.json`, `.csv` or `.parquet` file, or `hub:owner/name[/configuration][:split]`,
where the split is `train` unless it is stated and may be a slice (`hub:openai/gsm8k/main:train[:100]`). A `.json` file
holds a list of objects, or one object of which one key holds such a list. A column may be a path into nested cells:
`question.stem`, `instances.0.input`. Whatever a row has wrong is said in one line that names its number: the line of a
`.jsonl` file, otherwise the place in the table, counted from 1 without the heading.

Not here: what a row means. That is a task's to say.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

from annotated_types import Ge, Interval

from sparring.common.errors import ConfigError, nearest
from sparring.common.seeds import digest

HUB = "hub:"
_HALF = re.compile("[\ud800-\udfff]")
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<configuration>[^/:]+))?(?::(?P<split>.+))?")


@dataclass(frozen=True)
class Record:
    """One row: `where` names it in messages (`data/train.jsonl, row 3`), `cells` are its values by column."""

    where: str
    cells: Mapping[str, Any]

    def wrong(self, what: str) -> ConfigError:
        """The error that says what is wrong with this row."""
        return ConfigError(f"{self.where}: {what}")

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return self._find(column)[0]

    def cell(self, column: str) -> Any:
        """The value at `column`; ConfigError names the nearest column there is."""
        there, value = self._find(column)
        if not there:
            raise self.wrong(str(nearest("column", column, self._columns(column))))
        return value

    def text(self, column: str) -> str:
        """The words at `column`; ConfigError if there are none, or something else."""
        return check_text(self, column, self.cell(column))

    def plain(self, column: str) -> str | None:
        """The words, number or truth value at `column` as words; None where the cell is empty."""
        value = self.cell(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and math.isfinite(value):
            return str(int(value)) if value.is_integer() else str(value)
        return str(value) if isinstance(value, int) else check_text(self, column, value).strip()

    def _find(self, column: str) -> tuple[bool, Any]:
        if column in self.cells:
            return True, self.cells[column]
        value: Any = self.cells
        for key in column.split("."):
            if isinstance(value, Mapping) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                return False, None
        return True, value

    def _columns(self, column: str) -> list[str]:
        """The columns beside which `column` was looked for: of the row, or of the nested cell."""
        outer, dot, _ = column.rpartition(".")
        there, value = self._find(outer) if dot else (False, None)
        return [f"{outer}.{key}" for key in value] if there and isinstance(value, Mapping) else list(self.cells)


def check_text(row: Record, column: str, value: Any) -> str:
    """`value` if it is text with words in it that can be written down; otherwise raises what is wrong with it."""
    if not isinstance(value, str):
        raise row.wrong(f"{column} is {_kind(value)}, not text")
    if not value.strip():
        raise row.wrong(f"{column} is empty")
    if _HALF.search(value):
        raise row.wrong(f"{column} holds half a character (a lone surrogate), which cannot be written down; mend it")
    return value


def _kind(value: Any) -> str:
    names = {type(None): "empty", bool: "a truth value", int: "a number", float: "a number", list: "a list"}
    name = names.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")
    return name if value is None else f"{name} ({str(value)[:40]})"


# ---- reading


def read_records(source: str) -> list[Record]:
    """All rows of `source`, at least one."""
    pairs = _hub(source) if source.startswith(HUB) else _file(Path(source))
    rows: list[Record] = []
    for number, cells in pairs:
        where = f"{source}, row {number}"
        if not isinstance(cells, dict):
            raise ConfigError(f"{where}: it is {_kind(cells)}, not an object with a key for each column")
        rows.append(Record(where, cells))
    if not rows:
        raise ConfigError(f"{source} holds no rows")
    return rows


def _file(path: Path) -> Iterator[tuple[int, Any]]:
    reader = READERS.get(path.suffix.lower())
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name one file in it")
    if reader is None:
        raise ConfigError(
            f"{path} has an ending that is not read; there is {', '.join(READERS)}, and {HUB}owner/name for the hub"
        )
    try:
        yield from reader(path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}; a path is looked up from {Path.cwd()}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _parsed(line, f"{path}, row {number}")


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    found = _parsed(path.read_bytes(), str(path), "; a file with one object a line is called .jsonl")
    if isinstance(found, dict):
        lists = [key for key, value in found.items() if isinstance(value, list)]
        if len(lists) != 1:
            raise ConfigError(f"{path} holds an object with {len(lists)} lists in it; give it one, the list of rows")
        found = found[lists[0]]
    if not isinstance(found, list):
        raise ConfigError(f"{path} holds {_kind(found)}, not a list of rows")
    yield from enumerate(found, start=1)


def _parsed(text: bytes, where: str, remedy: str = "") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ConfigError(f"{where}: not JSON: {error.msg} at {place}{remedy}") from error
    except (RecursionError, ValueError) as error:  # too deep, too long a number, not UTF-8
        raise ConfigError(f"{where}: not JSON that can be read: {error}") from error


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        number = 0
        try:
            heading = next(rows, [])
            if len(set(heading)) < len(heading):
                raise ConfigError(f"{path}: two columns have one name in the heading {', '.join(heading)}")
            for number, cells in enumerate((row for row in rows if row), start=1):
                if len(cells) != len(heading):
                    raise ConfigError(f"{path}, row {number}: {len(cells)} cells, but {len(heading)} in the heading")
                yield number, dict(zip(heading, cells, strict=True))
        except csv.Error as error:
            raise ConfigError(
                f"{path}, row {number + 1}: not CSV: {error}; a .jsonl file has no such limits"
            ) from error


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow  # noqa: PLC0415 (a slow start, and few tables are Parquet)
    from pyarrow import parquet  # noqa: PLC0415

    try:
        table = parquet.ParquetFile(path).read()
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from error
    yield from enumerate(table.to_pylist(), start=1)


def _hub(source: str) -> Iterator[tuple[int, Any]]:
    named = _HUB_NAME.fullmatch(source.removeprefix(HUB))
    if named is None:
        raise ConfigError(f"{source!r} names no data set; write {HUB}owner/name[/configuration][:split]")
    import datasets  # noqa: PLC0415 (takes a second to import)

    try:
        found = datasets.load_dataset(named["name"], named["configuration"], split=named["split"] or "train")
    except Exception as error:  # the library raises many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"cannot load {source}: {reason}; write {HUB}owner/name[/configuration][:split]") from error
    yield from enumerate(found, start=1)


READERS: dict[str, Callable[[Path], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}


# ---- splitting


Size = Annotated[int, Ge(0)] | Annotated[float, Interval(gt=0, lt=1)]
SPLIT_SHARE = 0.1  # of the rows, for each split that is drawn from the training rows


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Identified)


def drawn(items: Sequence[T], size: int, seed: int, stream: str) -> tuple[list[T], list[T]]:
    """`items` as the `size` ones that the draw takes and the others, each in their old order.

    Who is drawn depends on the ids and the seed alone: rows that are added or moved change little.
    """
    taken = {item.id for item in sorted(items, key=lambda item: digest(seed, stream, item.id))[:size]}
    return [item for item in items if item.id in taken], [item for item in items if item.id not in taken]


def apart(splits: Mapping[str, Sequence[T]]) -> tuple[dict[str, list[T]], tuple[str, ...]]:
    """`splits` without the items that stood before, in an earlier split or in the same one; notes say how many."""
    homes: dict[str, str] = {}
    kept: dict[str, list[T]] = {}
    lost: Counter[tuple[str, str]] = Counter()
    for split, items in splits.items():
        kept[split] = []
        for item in items:
            if item.id in homes:
                lost[split, homes[item.id]] += 1
            else:
                homes[item.id] = split
                kept[split].append(item)
    notes = (
        f"{split}: {count} dropped ({'asked before' if split == home else f'asked in {home}, too'})"
        for (split, home), count in lost.items()
    )
    return kept, tuple(notes)


@dataclass(frozen=True)
class Sources:
    """Where the rows of three splits come from. A split without a source is drawn from the training rows by `seed`: so
    many rows, or that share of them if its size is below 1 (None: a tenth)."""

    train: str
    development: str | None = None
    test: str | None = None
    development_size: Size | None = None
    test_size: Size | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for split, source, size in self._wanted():
            if source is not None and size is not None:
                raise ConfigError(f"{split}_size = {size} is for a split without a source, but {split} is {source!r}")
            if size is not None and not (size >= 0 if isinstance(size, int) else 0 < size < 1):
                raise ConfigError(f"{split}_size = {size}: give a number of rows, or a share between 0 and 1")

    def parted(self, item: Callable[[Record], T]) -> tuple[dict[str, list[T]], tuple[str, ...]]:
        """What `item` makes of the rows, in three splits that share nothing, and notes on what stood twice; ConfigError
        if nothing is left to train on."""
        sources = [(split, source) for split, source, _ in self._wanted() if source] + [("train", self.train)]
        splits, lost = apart({split: [item(row) for row in read_records(source)] for split, source in sources})
        there = len(splits["train"])
        for split, source, size in self._wanted():
            if source is None:
                share = SPLIT_SHARE if size is None else size
                wanted = share if isinstance(share, int) else max(1, round(share * there))
                splits[split], splits["train"] = drawn(splits["train"], wanted, self.seed, split)
        if not splits["train"]:
            raise ConfigError(
                f"{self.train} has {there} questions of its own, and none is left to train on: "
                f"give more of them, or a smaller development_size or test_size"
            )
        return splits, lost

    def _wanted(self) -> tuple[tuple[str, str | None, int | float | None], ...]:
        """The splits other than train, the one that has the first claim to a row first."""
        return ("test", self.test, self.test_size), ("development", self.development, self.development_size)

"""Read rows of a user's file or of a hub data set, and divide them into splits.

A source is the path of a `.jsonl`, `.json`, `.csv` or `.parquet` file, or `hub:owner/name[/configuration][:split]`. The
split defaults to `train` and may be a slice (`hub:openai/gsm8k/main:train[:100]`). A `.json` file holds a list of
objects, or one object with such a list. A column may be a path into nested cells: `question.stem`,
`instances.0.input`. An error in a row is one line with the row's number: the line of a `.jsonl` file, otherwise the
position in the table, counted from 1 without the heading.

Tasks interpret the rows.
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
_SURROGATE = re.compile("[\ud800-\udfff]")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(?:/[\w.-]+)?")
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<configuration>[^/:]+))?(?::(?P<split>.+))?")


@dataclass(frozen=True)
class Record:
    """One row: `where` names it in errors (`data/train.jsonl, row 3`), `cells` holds its values by column."""

    where: str
    cells: Mapping[str, Any]

    def error(self, what: str) -> ConfigError:
        """Create the error `what` about this row."""
        return ConfigError(f"{self.where}: {what}")

    def has(self, column: str) -> bool:
        """Return whether the column exists."""
        return self._find(column)[0]

    def cell(self, column: str) -> Any:
        """Return the value at `column`; ConfigError suggests the closest column."""
        exists, value = self._find(column)
        if not exists:
            raise self.error(str(nearest("column", column, self._columns(column))))
        return value

    def text(self, column: str) -> str:
        """Return the text at `column`; ConfigError if it is empty or not text."""
        return check_text(self, column, self.cell(column))

    def plain(self, column: str) -> str | None:
        """Return the text, number or boolean at `column` as text; None if the cell is empty."""
        value = self.cell(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and math.isfinite(value):
            return str(int(value)) if value.is_integer() else str(value)
        return str(value) if isinstance(value, int) else check_text(self, column, value).strip()

    def number(self, column: str) -> float:
        """Return the finite number at `column`, also if it is written as text."""
        value = self.cell(column)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(f"{column} = {value!r} is not a finite number; correct it")
        return number

    def _find(self, column: str) -> tuple[bool, Any]:
        """Return whether `column` exists, and its value. A column named like a path goes before the path."""
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
        """Return the columns that `column` could have been: those of the nested cell it points into, or of the row."""
        outer, dot, _ = column.rpartition(".")
        exists, value = self._find(outer) if dot else (False, None)
        return [f"{outer}.{key}" for key in value] if exists and isinstance(value, Mapping) else list(self.cells)


def check_text(row: Record, column: str, value: Any) -> str:
    """Return `value` if it is text, not blank, and can be encoded; ConfigError otherwise."""
    if not isinstance(value, str):
        raise row.error(f"{column} is {_kind(value)}, not text")
    if not value.strip():
        raise row.error(f"{column} is empty")
    if _SURROGATE.search(value):
        raise row.error(f"{column} contains half a character (a lone surrogate), which has no encoding; remove it")
    return value


def _kind(value: Any) -> str:
    """Describe the type of `value`, and its beginning, for a message."""
    names = {type(None): "empty", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    name = names.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")
    return name if value is None else f"{name} ({str(value)[:40]})"


# ---- reading


def read_records(source: str) -> list[Record]:
    """Read all rows of `source`; ConfigError if there are none."""
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
            f"{path} has an unknown file extension; choose from {', '.join(READERS)}, or give {HUB}owner/name"
        )
    try:
        yield from reader(path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}; give a path relative to {Path.cwd()}") from error
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
    content = _parsed(path.read_bytes(), str(path), "; name a file with one object per line .jsonl")
    if isinstance(content, dict):
        lists = [key for key, value in content.items() if isinstance(value, list)]
        tables = [key for key in lists if content[key] and all(isinstance(row, dict) for row in content[key])]
        lists = tables if len(tables) == 1 else lists  # BIG-bench's files also hold lists of words
        if len(lists) != 1:
            raise ConfigError(f"{path} holds an object with {len(lists)} lists in it; keep one, the list of rows")
        content = content[lists[0]]
    if not isinstance(content, list):
        raise ConfigError(f"{path} holds {_kind(content)}, not a list of rows")
    yield from enumerate(content, start=1)


def _parsed(text: bytes, where: str, remedy: str = "") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ConfigError(f"{where}: not JSON: {error.msg} at {position}{remedy}") from error
    except (RecursionError, ValueError) as error:  # too deep, too long a number, not UTF-8
        raise ConfigError(f"{where}: unreadable JSON: {error}") from error


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        number = 0
        try:
            heading = next(rows, [])
            if len(set(heading)) < len(heading):
                raise ConfigError(
                    f"{path}: two columns have the same name in the heading {', '.join(heading)}; rename one"
                )
            for number, cells in enumerate((row for row in rows if row), start=1):
                if len(cells) != len(heading):
                    raise ConfigError(f"{path}, row {number}: {len(cells)} cells, but {len(heading)} in the heading")
                yield number, dict(zip(heading, cells, strict=True))
        except csv.Error as error:
            raise ConfigError(
                f"{path}, row {number + 1}: not CSV: {error}; correct it, or convert the file to .jsonl"
            ) from error


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow  # noqa: PLC0415 (slow to import, and few tables are Parquet)
    from pyarrow import parquet  # noqa: PLC0415

    try:
        table = parquet.ParquetFile(path).read()
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
    yield from enumerate(table.to_pylist(), start=1)


def _hub(source: str) -> Iterator[tuple[int, Any]]:
    match = _HUB_NAME.fullmatch(source.removeprefix(HUB))
    if match is None:
        raise ConfigError(f"{source!r} names no data set; write {HUB}owner/name[/configuration][:split]")
    import datasets  # noqa: PLC0415 (takes a second to import)

    try:
        rows = datasets.load_dataset(match["name"], match["configuration"], split=match["split"] or "train")
    except Exception as error:  # the library raises many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"cannot load {source}: {reason}; write {HUB}owner/name[/configuration][:split]") from error
    yield from enumerate(rows, start=1)


READERS: dict[str, Callable[[Path], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}


# ---- published data sets


def split_sources(
    source: str,
    splits: Mapping[str, Sequence[str]],
    optional: Mapping[str, str],
    configuration: str | None = None,
) -> dict[str, list[str]]:
    """Return the sources of each of `splits` of a published data set; ConfigError names a split that has none.

    `source` is a hub id (`owner/name`, `owner/name/configuration`), a folder, or one file of the first split. `splits`
    gives the words with which the names of a split's files may begin; the first is the split's name on the hub.
    `optional` gives the settings to do without a split. `configuration` is the hub's default one.
    """
    path = Path(source)
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in READERS]
        found = {
            split: [str(file) for file in files if file.name.startswith(tuple(words))]
            for split, words in splits.items()
        }
    elif path.suffix.lower() in READERS and not path.exists():
        raise ConfigError(f"there is no file {source}; give a file, a folder or a hub id")
    elif path.exists():
        found = {split: [source] if number == 0 else [] for number, split in enumerate(splits)}
    else:
        name = source.removeprefix(HUB)
        if not _HUB_ID.fullmatch(name):
            raise ConfigError(f"there is no file or folder {source}, and it is not a hub id; give owner/name")
        if configuration and name.count("/") == 1:
            name = f"{name}/{configuration}"
        found = {split: [f"{HUB}{name}:{words[0]}"] for split, words in splits.items()}
    for split, sources in found.items():
        if not sources:
            files_named = " and ".join(f"{words[0]}*.jsonl" for words in splits.values())
            without = f", or set {optional[split]} to do without" if split in optional else ""
            raise ConfigError(f"{source} has no {split} rows; give a folder with {files_named}{without}")
    return found


# ---- splitting


Size = Annotated[int, Ge(0)] | Annotated[float, Interval(gt=0, lt=1)]
SPLIT_SHARE = 0.1  # share of the training rows for a split without source and size


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Identified)


def draw_split(items: Sequence[T], size: int, seed: int, stream: str) -> tuple[list[T], list[T]]:
    """Divide `items` into `size` randomly drawn ones and the others, each in their original order.

    The draw depends only on ids and seed, so adding or moving rows changes it little.
    """
    taken = {item.id for item in sorted(items, key=lambda item: digest(seed, stream, item.id))[:size]}
    return [item for item in items if item.id in taken], [item for item in items if item.id not in taken]


def without_duplicates(splits: Mapping[str, Sequence[T]]) -> tuple[dict[str, list[T]], tuple[str, ...]]:
    """Remove items that occur in an earlier split or earlier in the same one; also return notes with their numbers."""
    first_split: dict[str, str] = {}  # by item id
    unique: dict[str, list[T]] = {}
    duplicates: Counter[tuple[str, str]] = Counter()  # by (split, the split of the first occurrence)
    for split, items in splits.items():
        unique[split] = []
        for item in items:
            if item.id in first_split:
                duplicates[split, first_split[item.id]] += 1
            else:
                first_split[item.id] = split
                unique[split].append(item)
    notes = (
        f"{split}: {count} dropped ({'asked before' if split == first else f'asked in {first}, too'})"
        for (split, first), count in duplicates.items()
    )
    return unique, tuple(notes)


@dataclass(frozen=True)
class Sources:
    """The sources of three splits.

    A split without a source is drawn from the training rows by `seed`. Its size is a number of rows, or a share of them
    if below 1 (None: a tenth).
    """

    train: str
    development: str | None = None
    test: str | None = None
    development_size: Size | None = None
    test_size: Size | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for split, source, size in self._held_out():
            if source is not None and size is not None:
                raise ConfigError(
                    f"{split}_size = {size} is for a split without a source, but {split} is {source!r}; "
                    "remove one of them"
                )
            if size is not None and not (size >= 0 if isinstance(size, int) else 0 < size < 1):
                raise ConfigError(f"{split}_size = {size}: give a number of rows, or a share between 0 and 1")

    def read_splits(self, item: Callable[[Record], T]) -> tuple[dict[str, list[T]], tuple[str, ...]]:
        """Convert the rows by `item` and return three disjoint splits, with notes on the duplicates removed.

        ConfigError if no training row is left.
        """
        sources = [(split, source) for split, source, _ in self._held_out() if source] + [("train", self.train)]
        splits, notes = without_duplicates(
            {split: [item(row) for row in read_records(source)] for split, source in sources}
        )
        total = len(splits["train"])
        for split, source, size in self._held_out():
            if source is None:
                share = SPLIT_SHARE if size is None else size
                count = share if isinstance(share, int) else max(1, round(share * total))
                splits[split], splits["train"] = draw_split(splits["train"], count, self.seed, split)
        if not splits["train"]:
            raise ConfigError(
                f"{self.train} has {total} questions of its own, and none is left to train on; "
                f"give more of them, or a smaller development_size or test_size"
            )
        return splits, notes

    def _held_out(self) -> tuple[tuple[str, str | None, int | float | None], ...]:
        """Return name, source and size of the splits other than train. A row in several splits stays in the first."""
        return ("test", self.test, self.test_size), ("development", self.development, self.development_size)

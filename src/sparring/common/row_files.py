"""Reads rows of a user's file or of a hub data set, one at a time: the whole never has to be in memory.

A source is the path of a `.jsonl`, `.jsonl.gz`, `.json`, `.csv` or `.parquet` file, or
`hub:owner/name[/configuration][:split][@revision]`. The split defaults to `train` and may be a slice
(`hub:openai/gsm8k/main:train[:100]`). A `.json` file holds a list of objects, or one object with such a list; this kind
and `.jsonl.gz` are read whole. An error in a row is one line with the row's number: the line of a `.jsonl` file,
otherwise the position in the table, counted from 1 without the heading.

Of `.jsonl` and `.csv` files only the offsets of their rows are kept. Large `.parquet` files and hub data sets lie in
`datasets`' memory-mapped cache.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sparring.common.errors import ConfigError
from sparring.common.hub_status import hub_problem
from sparring.common.records import Record, kind_of

HUB = "hub:"
PARQUET_BYTES = 32 * 2**20  # a Parquet file up to this size is read whole, without a copy in the cache
_HUB_NAME = re.compile(
    r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<configuration>[^/:@]+))?(?::(?P<split>[^@]+))?(?:@(?P<revision>.+))?"
)
HUB_FORM = f"{HUB}owner/name[/configuration][:split][@revision]"


class Cells(Protocol):
    """The rows of one table, as plain data, by position."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, index: int) -> Any:
        """Return the row at `index`, counted from 0."""
        ...


class Rows(Sequence[Record]):
    """The rows of `source`, each read when it is asked for; the first `limit` of them (None: all)."""

    def __init__(self, source: str, limit: int | None = None) -> None:
        self.source = source
        self._cells, self._numbers = _open(source)
        self._length = len(self._cells) if limit is None else min(limit, len(self._cells))
        if not self._length:
            raise ConfigError(f"{source} holds no rows")

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        where = f"{self.source}, row {self._numbers[index] if self._numbers else index + 1}"
        cells = self._cells[index]
        if isinstance(cells, bytes):
            cells = _parsed(cells.rstrip(), where)
        if not isinstance(cells, dict):
            raise ConfigError(f"{where}: it is {kind_of(cells)}, not an object with a key for each column")
        return Record(where, cells)


def read_records(source: str) -> list[Record]:
    """Read all rows of `source`; ConfigError if there are none."""
    return list(Rows(source))


def file_size(source: str) -> int:
    """Return the size of a file in bytes; 0 for a hub data set, whose size nobody knows yet."""
    return Path(source).stat().st_size if not source.startswith(HUB) and Path(source).is_file() else 0


def rows_reader(path: Path) -> Callable[[Path], Opened] | None:
    """Return what reads files with the ending of `path`; None if nothing does."""
    return next((reader for ending, reader in READERS.items() if path.name.lower().endswith(ending)), None)


class Opened(NamedTuple):
    """The rows of a table, and the number of each in errors (empty: its position)."""

    cells: Cells
    numbers: Sequence[int] = ()


def _open(source: str) -> Opened:
    if source.startswith(HUB):
        return Opened(_hub(source))
    path = Path(source)
    reader = rows_reader(path)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name one file in it")
    if reader is None:
        raise ConfigError(
            f"{path} has an unknown file extension; choose from {', '.join(READERS)}, or give {HUB}owner/name"
        )
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}; give a path relative to {Path.cwd()}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


# ---- JSON


class _Lines:
    """The lines of a file that start at `offsets`."""

    def __init__(self, path: Path, offsets: Sequence[int]) -> None:
        self._file, self._offsets = path.open("rb"), offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> bytes:
        self._file.seek(self._offsets[index])
        return self._file.readline()


def _jsonl(path: Path) -> Opened:
    offsets, numbers, offset = array("Q"), array("Q"), 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                offsets.append(offset)
                numbers.append(number)
            offset += len(line)
    return Opened(_Lines(path, offsets), numbers)


def _jsonl_gz(path: Path) -> Opened:
    try:
        with gzip.open(path) as file:
            lines = [(number, line) for number, line in enumerate(file, start=1) if line.strip()]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} is not a whole gzip file ({error}); get it again") from error
    return Opened([line for _, line in lines], [number for number, _ in lines])


def _json(path: Path) -> Opened:
    text = path.read_bytes()
    if _is_lines(text):
        return _jsonl(path)
    content = _parsed(text, str(path))
    if isinstance(content, dict):
        lists = [key for key, value in content.items() if isinstance(value, list)]
        tables = [key for key in lists if content[key] and all(isinstance(row, dict) for row in content[key])]
        lists = tables if len(tables) == 1 else lists  # BIG-bench's files also hold lists of words
        if len(lists) != 1:
            raise ConfigError(f"{path} holds an object with {len(lists)} lists in it; keep one, the list of rows")
        content = content[lists[0]]
    if not isinstance(content, list):
        raise ConfigError(f"{path} holds {kind_of(content)}, not a list of rows")
    return Opened(content)


def _is_lines(text: bytes) -> bool:
    """Tell whether a `.json` file holds one object per line, as `.jsonl` does."""
    first, _, rest = text.lstrip().partition(b"\n")
    try:
        return first.startswith(b"{") and bool(rest.strip()) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _parsed(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ConfigError(f"{where}: not JSON: {error.msg} at {position}") from error
    except (RecursionError, ValueError) as error:  # too deep, too long a number, not UTF-8
        raise ConfigError(f"{where}: unreadable JSON: {error}") from error


# ---- CSV


class _CsvRows:
    """The rows of a CSV file that start at `offsets`, below `heading`."""

    def __init__(self, path: Path, heading: Sequence[str], offsets: Sequence[int]) -> None:
        self._file, self._heading, self._offsets = path.open("rb"), heading, offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> dict[str, str]:
        self._file.seek(self._offsets[index])
        cells = next(csv.reader((line.decode() for line in self._file), strict=True))
        return dict(zip(self._heading, cells, strict=True))


def _csv(path: Path) -> Opened:
    """Check all rows of the file, and keep their offsets; a row may have line breaks in quoted cells."""
    offsets, number, read = array("Q"), 0, [0]  # `read`: bytes that the CSV reader has taken
    with path.open("rb") as file:
        rows = csv.reader(_decoded(file, read), strict=True)
        try:
            heading = next(rows, [])
            if len(set(heading)) < len(heading):
                raise ConfigError(
                    f"{path}: two columns have the same name in the heading {', '.join(heading)}; rename one"
                )
            _check_delimiter(path, heading)
            start = read[0]
            for cells in rows:
                if cells:
                    number += 1
                    if len(cells) != len(heading):
                        raise ConfigError(
                            f"{path}, row {number}: {len(cells)} cells, but {len(heading)} in the heading"
                        )
                    offsets.append(start)
                start = read[0]
        except csv.Error as error:
            raise ConfigError(
                f"{path}, row {number + 1}: not CSV: {error}; correct it, or convert the file to .jsonl"
            ) from error
    return Opened(_CsvRows(path, heading, offsets))


def _check_delimiter(path: Path, heading: Sequence[str]) -> None:
    """Raise ConfigError if the one column of the heading looks like several, not separated by commas."""
    for character, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(heading) == 1 and character in heading[0]:
            raise ConfigError(
                f"{path}: the heading is one column, {heading[0]!r}; separate cells by commas, not {name}"
            )


def _decoded(lines: Any, read: list[int]) -> Iterator[str]:
    for line in lines:
        is_first = not read[0]
        read[0] += len(line)
        yield (line.removeprefix(b"\xef\xbb\xbf") if is_first else line).decode()


# ---- tables


def _parquet(path: Path) -> Opened:
    import pyarrow  # noqa: PLC0415 (slow to import, and few tables are Parquet)
    from pyarrow import parquet  # noqa: PLC0415

    try:
        if path.stat().st_size <= PARQUET_BYTES:
            return Opened(parquet.ParquetFile(path).read().to_pylist())
        parquet.ParquetFile(path).close()
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
    import datasets  # noqa: PLC0415 (takes a second to import)

    datasets.disable_progress_bars()
    return Opened(datasets.Dataset.from_parquet(str(path)))


def _hub(source: str) -> Cells:
    match = _HUB_NAME.fullmatch(source.removeprefix(HUB))
    if match is None:
        raise ConfigError(f"{source!r} names no data set; write {HUB_FORM}")
    import datasets  # noqa: PLC0415 (takes a second to import)

    name = match["name"]
    problem = None if os.path.exists(name) else hub_problem(name, "data set")
    is_cached = (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).exists()
    if problem and not is_cached:
        raise ConfigError(f"cannot load {source}: {problem}; write {HUB_FORM}")
    chosen = {"revision": match["revision"]} if match["revision"] else {}
    was_offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = was_offline or problem is not None  # otherwise it retries for half a minute
    try:
        rows: Cells = datasets.load_dataset(name, match["configuration"], split=match["split"] or "train", **chosen)
    except Exception as error:  # the library raises many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"cannot load {source}: {reason}; write {HUB_FORM}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline
    return rows


READERS: dict[str, Callable[[Path], Opened]] = {
    ".jsonl": _jsonl, ".jsonl.gz": _jsonl_gz, ".json": _json, ".csv": _csv, ".parquet": _parquet,
}  # fmt: skip

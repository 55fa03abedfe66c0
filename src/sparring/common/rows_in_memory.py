"""Writes rows that a program holds (lists, frames, data sets) to a file, so that a run over them is a run over a file.

The file is named by its content and lies in a folder of this user's temporary files; a run copies it into its own
folder (`runs.own_rows`). One row after another is written, so a stream never has to be in memory.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError
from sparring.common.records import kind_of

MOST_ROWS = 1_000_000  # rows of a stream without a length; more is taken for an endless one
FRAME_ROWS = 1_000  # rows of a data frame that are converted at a time
SPLITS = {"train": ("train",), "development": ("development", "validation", "dev", "eval"), "test": ("test",)}


def splits_of(rows: Any) -> dict[str, Any]:
    """Return the tables of a `DatasetDict` or a mapping of tables by split (train, development, test)."""
    found = {ours: next((rows[name] for name in names if name in rows), None) for ours, names in SPLITS.items()}
    if found["train"] is None:
        raise ConfigError(f"train has the splits {', '.join(map(str, rows))}; name one of them train, or give its rows")
    return {split: table for split, table in found.items() if table is not None}


def as_source(rows: Any, key: str, limit: int | None = None) -> str:
    """Return `rows`, the value of `key`, as a source: a path as it is, the path of a file for rows in memory.

    At most `limit` rows are written (None: all). ConfigError names a row that cannot be written.
    """
    if isinstance(rows, str | Path):
        return str(rows)
    most = limit if limit is not None else None if hasattr(rows, "__len__") else MOST_ROWS + 1
    folder = _folder()
    digest, count = hashlib.sha256(), 0
    partial = tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False)  # noqa: SIM115 (it is renamed)
    try:
        with partial as file:
            for count, row in enumerate(islice(_rows(rows, key), most), start=1):
                line = _line(row, f"{key}, row {count}")
                digest.update(line)
                file.write(line)
        if limit is None and count > MOST_ROWS and not hasattr(rows, "__len__"):
            remedy = "train_rows to the number of rows to read" if key == "train" else f"{key} to rows.take(number)"
            raise ConfigError(f"{key} is a stream of more than {MOST_ROWS:,} rows, perhaps without end; set {remedy}")
        path = folder / f"{digest.hexdigest()[:32]}.jsonl"
        os.replace(partial.name, path)
    except BaseException:
        Path(partial.name).unlink(missing_ok=True)
        raise
    return str(path)


def is_ours(source: str) -> bool:
    """Return whether `source` is a file that `as_source` wrote."""
    return Path(source).parent == _path()


def _path() -> Path:
    # A container's user may have a number and no name; Windows has no numbers.
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return Path(tempfile.gettempdir()) / f"sparring-rows-{user}"


def _folder() -> Path:
    folder = _path()
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _rows(rows: Any, key: str) -> Iterator[Any]:
    """Yield the rows of a list, a stream, a data set of `datasets`, a frame of pandas or polars, or an Arrow table."""
    if hasattr(rows, "iloc"):  # pandas
        for start in range(0, len(rows), FRAME_ROWS):
            yield from (_without_nan(row) for row in rows.iloc[start : start + FRAME_ROWS].to_dict("records"))
    elif hasattr(rows, "iter_rows"):  # polars
        yield from rows.iter_rows(named=True)
    elif hasattr(rows, "to_batches") and not hasattr(rows, "features"):  # Arrow
        for batch in rows.to_batches():
            yield from batch.to_pylist()
    elif isinstance(rows, Iterable) and not isinstance(rows, Mapping | bytes):
        yield from rows
    else:
        raise ConfigError(f"{key} is {kind_of(rows)}, not rows; give a path, a hub id, or a table of rows")


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: None if isinstance(cell, float) and math.isnan(cell) else cell for column, cell in row.items()}


def _line(row: Any, where: str) -> bytes:
    if not isinstance(row, Mapping):
        raise ConfigError(f"{where}: it is {kind_of(row)}, not an object with a key for each column")
    try:
        try:
            return (json.dumps(dict(row), ensure_ascii=False, default=_plain) + "\n").encode()
        except UnicodeEncodeError:  # half a character, which whoever reads its column refuses
            return (json.dumps(dict(row), default=_plain) + "\n").encode()
    except (TypeError, ValueError) as error:
        column = next((name for name, cell in row.items() if not _is_plain(cell)), "a column")
        kind = "an image" if type(row.get(column)).__module__.startswith("PIL") else kind_of(row.get(column))
        raise ConfigError(f"{where}: {column} is {kind}, which is not text; remove the column or the row") from error


def _is_plain(cell: Any) -> bool:
    try:
        json.dumps(cell, default=_plain).encode()
    except (TypeError, ValueError):
        return False
    return True


def _plain(value: Any) -> Any:
    """Convert what tables hold beside JSON: dates, numbers and arrays of NumPy."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return value.tolist()
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return list(value)
    raise TypeError(type(value).__name__)

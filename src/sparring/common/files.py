"""Dataclasses to and from JSON and JSONL; a file is written whole or not at all.

Every write goes to a neighbour first and is renamed into place, so a killed process leaves the old file or
the new one. A file that is only ever added to is read up to its last whole line. What the disk refuses (full,
read-only) is one clear line, not a traceback.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from sparring.common.errors import ConfigError, RunStopped


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """The validator and serialiser of a dataclass or a union of them."""
    return TypeAdapter(kind)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the disk refuses into one line that names the file."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and "(os error " not in str(error):  # as libraries in Rust tell one
            raise
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise RunStopped(f"cannot write {path}: {reason}; free space or choose another folder, then go on") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes `content` to `path` so that a reader sees all of it or none."""
    write_lines(path, [content.encode() if isinstance(content, str) else content])


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Writes `lines` one after the other, so that a reader sees all of them or none."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)  # on a full disk it is in the way
            raise


def write_json(path: Path, value: Any) -> None:
    """Writes `value` (plain data) as indented JSON."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The plain data in `path`; ConfigError where it is no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged ({error}); put that file back") from error


class JsonLine(NamedTuple):
    """A whole line of a file that is only ever added to: where it begins and ends, and its object (None: damaged)."""

    start: int
    end: int
    value: dict[str, Any] | None


def json_lines(path: Path, start: int = 0) -> Iterator[JsonLine]:
    """The whole lines of `path` from the place `start` on; a line that a dying process left unfinished is none."""
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            yield JsonLine(start, start + len(line), value if isinstance(value, dict) else None)
            start += len(line)


def write_jsonl(path: Path, items: Iterable[Any], kind: Any) -> None:
    """Writes `items`, each of type `kind`, one JSON object a line."""
    dump = adapter(kind).dump_json
    write_lines(path, (dump(item, exclude_defaults=True) + b"\n" for item in items))


def read_jsonl(path: Path, kind: Any) -> list[Any]:
    """The objects of type `kind` in `path`; a malformed row is named by its number."""
    load = adapter(kind).validate_json
    found: list[Any] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                found.append(load(line))
            except ValidationError as error:
                what = error.errors()[0]
                raise ConfigError(f"{path}, row {number}: {what['msg']} at {what['loc']}") from error
    return found

"""Dataclasses to and from JSON and JSONL, with atomic writes.

Every write goes to a temporary file in the same folder, which then replaces the target. So a killed process leaves the
old file or the new one. An append-only file is read up to its last complete line. Disk errors (full, read-only) become
one line instead of a traceback.
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
    """Return the validator and serialiser of a dataclass or a union of dataclasses."""
    return TypeAdapter(kind)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn disk errors into a RunStopped of one line that names `path`."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and "(os error " not in str(error):  # how Rust libraries report one
            raise
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise RunStopped(f"cannot write {path}: {reason}; free space or choose another folder, then resume") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` atomically."""
    write_lines(path, [content.encode() if isinstance(content, str) else content])


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write `lines` to `path` atomically."""
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
            partial.unlink(missing_ok=True)  # it would keep a full disk full
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` (plain data) as indented JSON."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read plain data from `path`; ConfigError if it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged ({error}); put that file back") from error


class JsonLine(NamedTuple):
    """A complete line of an append-only file: its byte offsets and its object (None: damaged)."""

    start: int
    end: int
    value: dict[str, Any] | None


def is_json(value: Any) -> bool:
    """Return whether JSON can hold `value`."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def json_lines(path: Path, start: int = 0) -> Iterator[JsonLine]:
    """Yield the complete lines of `path` from byte `start` on; skip a last line without its line feed."""
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
    """Write `items`, each of type `kind`, as one JSON object per line, atomically."""
    dump = adapter(kind).dump_json
    write_lines(path, (dump(item, exclude_defaults=True) + b"\n" for item in items))


def read_jsonl(path: Path, kind: Any) -> list[Any]:
    """Read the objects of type `kind` in `path`; ConfigError names a malformed row by its number."""
    load = adapter(kind).validate_json
    items: list[Any] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                items.append(load(line))
            except ValidationError as error:
                detail = error.errors()[0]
                raise ConfigError(f"{path}, row {number}: {detail['msg']} at {detail['loc']}") from error
    return items

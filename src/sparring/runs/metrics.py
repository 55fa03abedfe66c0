"""Stores the figures of a run in `metrics.jsonl`, one JSON object per line, each under a unique key.

A resumed run repeats earlier steps; it keeps the figures that were recorded the first time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from sparring.common.files import json_lines, write_whole, writing
from sparring.core.evaluation import score

Key = tuple[str, int, int, int]  # kind, phase, round, step
_KEY = ("kind", "phase", "round", "step")


class Metrics:
    """The lines of `metrics.jsonl`, by (kind, phase, round, step).

    Each of `listeners` is called once with each line that is newly recorded, after it is in the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self._lines: dict[Key, dict[str, Any]] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        """Read the lines up to the first damaged one. Move the rest to `metrics.jsonl.damaged`; the run repeats it."""
        end = 0
        for row in json_lines(self.path):
            if row.value is None or not _is_line(row.value):
                break
            line, end = row.value, row.end
            self._lines[line["kind"], line["phase"], line["round"], line["step"]] = line
        content = self.path.read_bytes()
        if end < len(content):
            if b"\n" in content[end:]:  # more than the unfinished line of a killed process
                write_whole(self.path.with_name(self.path.name + ".damaged"), content[end:])
            write_whole(self.path, content[:end])

    def get(self, key: Key) -> dict[str, Any] | None:
        """Return the line recorded under `key`, or None."""
        return self._lines.get(key)

    def record(self, key: Key, values: dict[str, Any]) -> dict[str, Any]:
        """Record `values` under `key` unless the key has a line already; return the line of the key."""
        if key not in self._lines:
            line = {**dict(zip(_KEY, key, strict=True)), **values}
            end = self.path.stat().st_size if self.path.exists() else 0
            with writing(self.path):
                try:
                    with self.path.open("ab") as file:
                        file.write(json.dumps(line).encode() + b"\n")
                except OSError:
                    if self.path.exists():
                        os.truncate(self.path, end)  # half a line would damage the next one
                    raise
            self._lines[key] = line
            for listener in self.listeners:
                listener(line)
        return self._lines[key]

    def mean(self, kind: str, phase: int, round_: int) -> dict[str, float]:
        """Return the mean of each measure over the lines of `kind` in one round."""
        lines = [line for line in self if (line["kind"], line["phase"], line["round"]) == (kind, phase, round_)]
        names = dict.fromkeys(name for line in lines for name in line if name not in _KEY)
        return {name: fmean(line[name] for line in lines) for name in names}

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._lines.values())


def _is_line(row: dict[str, Any]) -> bool:
    """Tell whether `row` has the fields of a line, with values of the right types."""
    numbers = [row.get(name) for name in _KEY[1:]]
    if row.get("kind") == "development":
        try:
            numbers += [row["at"], score(row)]
        except (LookupError, TypeError, ValueError):
            return False
    return isinstance(row.get("kind"), str) and all(isinstance(n, int | float) for n in numbers)

"""What a run measured, one JSON object a line, each under its own key.

A run that is resumed comes by the same places again; what was recorded there stays as it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from sparring.common.files import json_lines, write_whole, writing

Key = tuple[str, int, int, int]  # kind, phase, round, step
_KEY = ("kind", "phase", "round", "step")


class Metrics:
    """The lines of `metrics.jsonl`, by (kind, phase, round, step)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[Key, dict[str, Any]] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        """Takes the lines up to the first that is damaged; what follows that is put aside, and measured again."""
        end = 0
        for row in json_lines(self.path):
            if row.value is None or not _is_line(row.value):
                break
            line, end = row.value, row.end
            self._lines[line["kind"], line["phase"], line["round"], line["step"]] = line
        content = self.path.read_bytes()
        if end < len(content):
            if b"\n" in content[end:]:  # more than the line in which the process died
                write_whole(self.path.with_name(self.path.name + ".damaged"), content[end:])
            write_whole(self.path, content[:end])

    def get(self, key: Key) -> dict[str, Any] | None:
        """The line recorded under `key`."""
        return self._lines.get(key)

    def record(self, key: Key, values: dict[str, Any]) -> dict[str, Any]:
        """Records `values` under `key` unless something is already; gives what stands there now."""
        if key not in self._lines:
            line = {**dict(zip(_KEY, key, strict=True)), **values}
            end = self.path.stat().st_size if self.path.exists() else 0
            with writing(self.path):
                try:
                    with self.path.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                except OSError:
                    if self.path.exists():
                        os.truncate(self.path, end)  # half a line would spoil the next
                    raise
            self._lines[key] = line
        return self._lines[key]

    def mean(self, kind: str, phase: int, round_: int) -> dict[str, float]:
        """The mean of each measure over the lines of `kind` of one round."""
        lines = [line for line in self if (line["kind"], line["phase"], line["round"]) == (kind, phase, round_)]
        names = dict.fromkeys(name for line in lines for name in line if name not in _KEY)
        return {name: fmean(line[name] for line in lines) for name in names}

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._lines.values())


def _is_line(row: dict[str, Any]) -> bool:
    accuracy = row.get("accuracy", 0.0) if row.get("kind") == "development" else 0.0
    at = row.get("at", 0) if row.get("kind") == "development" else 0
    numbers = [row.get(name) for name in _KEY[1:]]
    return isinstance(row.get("kind"), str) and all(isinstance(n, int | float) for n in (*numbers, accuracy, at))

"""What a run measured, one JSON object a line, each under its own key.

A run that is resumed comes by the same places again; what was recorded there stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from sparring.files import write_whole, writing

Key = tuple[str, int, int, int]


class Metrics:
    """The lines of `metrics.jsonl`, by (kind, phase, round, step)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[Key, dict[str, Any]] = {}
        if path.exists():
            text = path.read_text()
            whole = text[: text.rfind("\n") + 1]
            for line in map(json.loads, whole.splitlines()):
                self._lines[line["kind"], line["phase"], line["round"], line["step"]] = line
            if whole != text:  # the process died in mid-line
                write_whole(path, whole)

    def get(self, key: Key) -> dict[str, Any] | None:
        """The line recorded under `key`."""
        return self._lines.get(key)

    def record(self, key: Key, values: dict[str, Any]) -> dict[str, Any]:
        """Records `values` under `key` unless something is already; gives what stands there now."""
        if key not in self._lines:
            kind, phase, round_, step = key
            line = {"kind": kind, "phase": phase, "round": round_, "step": step, **values}
            with writing(self.path), self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            self._lines[key] = line
        return self._lines[key]

    def mean(self, kind: str, phase: int, round_: int) -> dict[str, float]:
        """The mean of each measure over the lines of `kind` of one round."""
        lines = [line for line in self if (line["kind"], line["phase"], line["round"]) == (kind, phase, round_)]
        names = dict.fromkeys(name for line in lines for name in line if name not in ("kind", "phase", "round", "step"))
        return {name: fmean(line[name] for line in lines) for name in names}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._lines.values())

"""One row of a table: its cells by column, and errors that name it.

A column may be a path into nested cells: `question.stem`, `instances.0.input`. `row_files` reads rows, `splits` divides
them, and tasks interpret them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparring.common.errors import ConfigError, nearest

_SURROGATE = re.compile("[\ud800-\udfff]")


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

    def is_filled(self, column: str) -> bool:
        """Return whether there is a value at `column`: an empty text is one, null and an empty list are none."""
        exists, value = self._find(column)
        return exists and value is not None and value != []

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
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(f"{column} = {value!r} is not a finite number; correct it")
        return number

    def _find(self, column: str) -> tuple[bool, Any]:
        """Return whether `column` exists, and its value. A column named like a path goes before the path."""
        if column in self.cells:
            return True, self.cells[column]
        if "." not in column:
            return False, None
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
        raise row.error(f"{column} is {kind_of(value)}, not text")
    if not value.strip():
        raise row.error(f"{column} is empty")
    if _SURROGATE.search(value):
        raise row.error(f"{column} contains half a character (a lone surrogate), which has no encoding; remove it")
    return value


def kind_of(value: Any) -> str:
    """Describe the type of `value`, and its beginning, for a message."""
    names = {type(None): "empty", bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    name = names.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")
    return name if value is None else f"{name} ({str(value)[:40]})"

"""Open instructions, as rows of a file or of a hub data set, without right or wrong responses.

A judge can score responses to them. `sparring write instructions` writes new ones. The task `table` reads rows with
answers, rationales, choices or conversations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sparring.common.errors import ConfigError, nearest
from sparring.common.records import Record
from sparring.common.schema import FilePath
from sparring.common.seeds import digest
from sparring.common.splits import Size, Sources
from sparring.core.chat import question
from sparring.core.task import Problem, RowTask
from sparring.parsing.steps import LINES, StepFormat


@dataclass(frozen=True)
class Instructions(RowTask):
    """Open instructions, which have no right answers: rows of a file or of a hub data set.

    `train`, `development` and `test` are sources (see `sparring.common.records`). A split without a source is drawn
    from the training rows by `seed`; its `…_size` is a number of rows, or a share of them if below 1 (None: a tenth).
    A repeated instruction with the same input is kept once: in the test split first, then in the development split,
    then in the training split. `notes` says how many were dropped.

    `instruction_column` (None: `instruction`, else `prompt`) holds text. The text of `input_column` (None: `input`,
    else `context`, if a row has one) is put below it. A column may be a path into nested cells (`instances.0.input`).
    `system` is a system prompt for all rows. `category_column` (None: `category`, if a row has one) is its bin.
    `difficulty_column` holds a number, AlpacaEval's difficulty of an instruction, for a length-controlled win rate;
    `uid_column` the name of a row in other tools (Arena-Hard's `uid`).
    """

    name: ClassVar[str] = "instructions"

    train: FilePath
    development: FilePath | None = None
    test: FilePath | None = None
    development_size: Size | None = None
    test_size: Size | None = None
    seed: int = 0
    system: str | None = None
    instruction_column: str | None = None
    input_column: str | None = None
    category_column: str | None = None
    difficulty_column: str | None = None
    uid_column: str | None = None

    def __post_init__(self) -> None:
        self._sources()  # validates the settings

    @property
    def layout(self) -> StepFormat:
        """Free text, split into lines."""
        return LINES

    def is_right(self, problem: Problem, response: str) -> bool:
        """Return False for an empty response; ConfigError for any other, since the task has no right answers."""
        if not response.strip():
            return False
        raise ConfigError(
            "the task instructions has no right answers, so right responses cannot be counted; a judge can compare "
            'responses, and kind = "table" reads rows that have answers'
        )

    def _sources(self) -> Sources:
        return Sources(self.train, self.development, self.test, self.development_size, self.test_size, self.seed)

    def _load(self) -> tuple[dict[str, list[Problem]], tuple[str, ...]]:
        return self._sources().read_splits(self._problem)

    def _problem(self, row: Record) -> Problem:
        text = row.text(self._instruction(row)).strip()
        column = self.input_column or next((c for c in ("input", "context") if row.has(c)), None)
        input_text = row.plain(column) if column else None
        if input_text:
            text = f"{text}\n\n{input_text}"
        data: dict[str, float | str] = {}
        if self.difficulty_column is not None:
            data["difficulty"] = row.number(self.difficulty_column)
        if self.uid_column is not None:
            data["uid"] = row.text(self.uid_column)
        column = self.category_column or ("category" if row.has("category") else None)
        category = (row.plain(column) if column else None) or "all"
        return Problem(digest("instructions", text)[:16], question(text, self.system), bin=category, data=data)

    def _instruction(self, row: Record) -> str:
        column = self.instruction_column or next((c for c in ("instruction", "prompt") if row.has(c)), None)
        if column is None:
            raise row.error(f"{nearest('column', 'instruction', row.cells)}, and name it in instruction_column")
        return column

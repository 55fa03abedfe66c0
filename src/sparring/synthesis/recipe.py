"""The settings of a synthesis: a TOML file, like a recipe.

Its tables are `[task]`, `[speaker]`, `[instructions]` or `[rationales]`, `[ledger]` and `[budget]`. All of them are
validated before the first call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import tomlkit

from sparring.common.errors import ConfigError, nearest
from sparring.common.schema import TomlTable, build, plain
from sparring.config.factory import SPEAKERS, make_speaker, make_task, name_of, roles_made_for
from sparring.config.recipe import LedgerSettings, load_table, with_settings
from sparring.core.speaker import Speaker
from sparring.core.task import Task
from sparring.ledger import Budget
from sparring.synthesis.instructions import InstructionWriter
from sparring.synthesis.output import Output
from sparring.synthesis.rationales import RationaleWriter

WritingKind = Literal["instructions", "rationales"]


class Writer(Protocol):
    """Writes one kind of data: a frozen dataclass whose fields are its settings."""

    name: ClassVar[str]
    row_type: ClassVar[type]
    changeable: ClassVar[tuple[str, ...]]  # settings that may change on resume: the rows so far do not depend on them

    @property
    def max_failures(self) -> float:
        """The fraction of replies that may fail."""
        ...

    def total(self, task: Task) -> int:
        """Return the number of steps for the progress bar; ConfigError if `task` lacks what is needed."""
        ...

    async def write(self, task: Task, speaker: Speaker, output: Output) -> None:
        """Write rows into `output`."""
        ...


WRITERS: dict[str, type[Any]] = {writer.name: writer for writer in (InstructionWriter, RationaleWriter)}


@dataclass(frozen=True)
class SynthesisRecipe:
    """The settings of a synthesis."""

    task: Task
    speaker: Speaker
    writer: Writer
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    budget: Budget = field(default_factory=Budget)

    @classmethod
    def read(cls, kind: WritingKind, source: str | Path | TomlTable, settings: Sequence[str] = ()) -> SynthesisRecipe:
        """Read a file, or a table of the same shape; `settings` are changes to it, each `key.path=value`."""
        table = source if isinstance(source, Mapping) else load_table(str(source))
        return cls.of(kind, with_settings(table, settings))

    @classmethod
    def of(cls, kind: WritingKind, table: TomlTable) -> SynthesisRecipe:
        """Build the settings from `table`; raises ConfigError."""
        if kind not in WRITERS:
            raise nearest("kind of data", kind, WRITERS)
        names = ("task", "speaker", kind, "ledger", "budget")
        for name, value in table.items():
            if name not in names:
                raise nearest(f"table for writing {kind}", name, names)
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name} must be a table (got {value!r}); give its keys under [{name}]")
        return cls(
            make_task(table.get("task", {})),
            _speaker(table.get("speaker", {})),
            build(WRITERS[kind], table.get(kind, {}), f"[{kind}]"),
            build(LedgerSettings, table.get("ledger", {}), "[ledger]"),
            build(Budget, table.get("budget", {}), "[budget]"),
        )

    def table(self) -> dict[str, Any]:
        """Return the settings as a table, defaults included."""
        return {
            "task": {"kind": name_of(self.task), **plain(self.task)},
            "speaker": {"by": name_of(self.speaker), **plain(self.speaker)},
            self.writer.name: plain(self.writer),
            "ledger": plain(self.ledger),
            "budget": plain(self.budget),
        }

    def toml(self) -> str:
        """Return the same table as TOML."""
        return tomlkit.dumps(self.table())


def _speaker(table: TomlTable) -> Speaker:
    by = table.get("by")
    if not isinstance(by, str):
        raise ConfigError(f"in [speaker]: the key by is missing; choose from {', '.join(SPEAKERS)}")
    if roles := roles_made_for(by):
        raise ConfigError(f"in [speaker]: by = {by!r} can only be a {' or a '.join(roles)}; choose another speaker")
    return make_speaker(by, {key: setting for key, setting in table.items() if key != "by"}, "[speaker]")

"""What is to be written, of whom and for which task: a TOML file, as a recipe is.

Its tables are `[task]`, `[speaker]`, one of the name of what is written (`[instructions]`, `[rationales]`), `[ledger]`
and `[budget]`. All of it is checked before a call is paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import tomlkit

from sparring.common.errors import ConfigError, nearest
from sparring.common.schema import TomlTable, build, plain
from sparring.config.factory import PARTNERS, ROLES, SPEAKERS, make_speaker, make_task, name_of
from sparring.config.recipe import LedgerSettings, load_table, with_settings
from sparring.core.speaker import Speaker
from sparring.core.task import Task
from sparring.ledger import Budget
from sparring.synthesis.instructions import InstructionWriter
from sparring.synthesis.output import Output
from sparring.synthesis.rationales import RationaleWriter

WritingKind = Literal["instructions", "rationales"]


class Writer(Protocol):
    """One kind of data to be written: a frozen dataclass whose fields are its settings."""

    name: ClassVar[str]
    row: ClassVar[type]
    extent: ClassVar[tuple[str, ...]]  # settings that change how far it goes, and nothing of what it has written

    @property
    def max_failures(self) -> float:
        """The share of replies that may fail."""
        ...

    def total(self, task: Task) -> int:
        """How many things there are to do; ConfigError if `task` lacks what is needed."""
        ...

    async def write(self, task: Task, speaker: Speaker, output: Output) -> None:
        """Fills `output`."""
        ...


WRITERS: dict[str, type[Any]] = {writer.name: writer for writer in (InstructionWriter, RationaleWriter)}


@dataclass(frozen=True)
class WritingOrder:
    """All that a writing is made of."""

    task: Task
    speaker: Speaker
    writer: Writer
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    budget: Budget = field(default_factory=Budget)

    @classmethod
    def read(cls, kind: WritingKind, source: str | Path | TomlTable, settings: Sequence[str] = ()) -> WritingOrder:
        """The order in a file, or in a table of the same shape; `settings` are changes, each `key.path=value`."""
        table = source if isinstance(source, Mapping) else load_table(str(source))
        return cls.of(kind, with_settings(table, settings))

    @classmethod
    def of(cls, kind: WritingKind, table: TomlTable) -> WritingOrder:
        """The order that `table` tells."""
        if kind not in WRITERS:
            raise nearest("kind of data", kind, WRITERS)
        known = ("task", "speaker", kind, "ledger", "budget")
        for name, told in table.items():
            if name not in known:
                raise nearest(f"table for writing {kind}", name, known)
            if not isinstance(told, Mapping):
                raise ConfigError(f"{name} = {told!r} is not a table; give its keys under [{name}]")
        return cls(
            make_task(table.get("task", {})),
            _speaker(table.get("speaker", {})),
            build(WRITERS[kind], table.get(kind, {}), f"[{kind}]"),
            build(LedgerSettings, table.get("ledger", {}), "[ledger]"),
            build(Budget, table.get("budget", {}), "[budget]"),
        )

    def table(self) -> dict[str, Any]:
        """The order as a table with nothing left to default."""
        return {
            "task": {"kind": name_of(self.task), **plain(self.task)},
            "speaker": {"by": name_of(self.speaker), **plain(self.speaker)},
            self.writer.name: plain(self.writer),
            "ledger": plain(self.ledger),
            "budget": plain(self.budget),
        }

    def toml(self) -> str:
        """The same as a TOML file."""
        return tomlkit.dumps(self.table())


def _speaker(table: TomlTable) -> Speaker:
    by = table.get("by")
    if not isinstance(by, str):
        raise ConfigError(f"in [speaker]: the key by is missing; give one of {', '.join(SPEAKERS)}")
    if made_for := [role for role in ROLES.values() if f"{by}_{role}" in PARTNERS.modules()]:
        raise ConfigError(f"in [speaker]: by = {by!r} can only be a {' or a '.join(made_for)}; let another write")
    return make_speaker(by, {key: setting for key, setting in table.items() if key != "by"}, "[speaker]")

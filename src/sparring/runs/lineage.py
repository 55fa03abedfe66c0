"""The runs that a learner went through, as far as their folders are still there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparring.config.recipe import load_table, run_of
from sparring.models.source import USAGE
from sparring.runs.bundle import without_secrets
from sparring.runs.folder import RECIPE
from sparring.training.checkpoint import Usage, read_usage


@dataclass(frozen=True)
class Stage:
    """One of the runs: the learner it gave is in `folder`, and its recipe, without secrets, is `table`.

    `run` is None and `table` empty if the learner is in no run, such as one that was exported.
    """

    folder: Path
    usage: Usage | None
    run: Path | None = None
    table: Mapping[str, Any] = field(default_factory=dict)

    @property
    def start(self) -> str:
        """The model that the run began with; empty if it is unknown."""
        return str(self.table.get("learner", {}).get("model", ""))

    @property
    def phases(self) -> list[Mapping[str, Any]]:
        """The tables of the phases that have trained the learner."""
        origin = self.usage.origin if self.usage is not None else None
        return list(self.table.get("phase", []))[: origin.phase if origin is not None else None]

    @property
    def methods(self) -> list[str]:
        """The names of the methods that have trained the learner, in their order."""
        return [phase["method"] for phase in self.phases] or ([self.usage.method] if self.usage is not None else [])


def stages(folder: Path) -> list[Stage]:
    """Return the runs behind the learner in `folder`, the first one first."""
    found: list[Stage] = []
    while not any(folder.samefile(stage.folder) for stage in found):
        run = run_of(folder)
        table = without_secrets(load_table(str(run / RECIPE))) if run is not None else {}
        found.insert(0, Stage(folder, read_usage(folder), run, table))
        folder = Path(found[0].start)
        if not found[0].start or not (folder / USAGE).exists():
            break
    return found

"""Runs a synthesis in a folder, where it can be resumed.

The folder holds `recipe.toml` (all settings), `run.json` (status and counts), `ledger.sqlite`, and the rows in
`instructions.jsonl` or `rationales.jsonl`. The rows are written in one go at the end or when the synthesis stops. A
resumed synthesis rebuilds them from the ledger, where recorded calls are free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from rich.console import Console

from sparring.common.concurrency import run_sync
from sparring.common.errors import ConfigError, SparringError
from sparring.common.files import write_json, write_jsonl, write_whole, writing
from sparring.common.progress import progress_bar
from sparring.common.schema import TomlTable, differences
from sparring.common.terminal import Terminal
from sparring.core.attempts import Recordable
from sparring.ledger import Recorded
from sparring.runs.recording import STATUS, check_ready, identity, ledger_path, open_ledger
from sparring.speakers.human import Human
from sparring.synthesis.output import WRITER, Output
from sparring.synthesis.recipe import SynthesisRecipe


@dataclass(frozen=True)
class SynthesisResult:
    """A finished synthesis: its file, the number of rows, and the counts of replies and of the items in them."""

    file: Path
    rows: int
    counts: dict[str, dict[str, int]]

    def summary(self) -> str:
        """Return the file and the counts in three lines."""
        replies, items = (_list_counts(self.counts[kind]) for kind in ("replies", "found"))
        return f"{self.rows:,} rows in {self.file}\nreplies: {replies}\nfound: {items}"


def synthesize(
    recipe: SynthesisRecipe, run: str | Path, *, resume: bool = False, console: Console | None = None
) -> SynthesisResult:
    """Run the synthesis `recipe` in the folder `run`, or resume it there. Works in a notebook too."""
    return run_sync(_run(recipe, Path(run), resume, console or Terminal(stderr=True)))


async def _run(recipe: SynthesisRecipe, folder: Path, resume: bool, console: Console) -> SynthesisResult:
    _check_folder(recipe, folder, resume)
    run = identity(folder, ledger_path(recipe.ledger.path, folder))
    total = recipe.writer.total(recipe.task)
    check_ready(recipe.speaker, recipe.ledger.mode, ledger_path(recipe.ledger.path, folder))
    shows_bar = console.is_terminal and not isinstance(recipe.speaker, Human)  # a bar would overwrite a person's input
    with progress_bar(recipe.writer.name, total, console, shows_bar) as advance:
        output = Output(recipe.writer.max_failures)
        output.on_progress = lambda steps: advance(steps, _list_counts(output.replies))
        try:
            await _write(recipe, folder, run, output)
            output.check()
        except (SparringError, KeyboardInterrupt, asyncio.CancelledError) as error:
            if (folder / "recipe.toml").exists():  # otherwise nothing was started
                _save(recipe, folder, output, "stopped", run, reason=str(error) or "interrupted")
            raise
    return SynthesisResult(_save(recipe, folder, output, "finished", run), len(output.rows), output.counts())


async def _write(recipe: SynthesisRecipe, folder: Path, run: str, output: Output) -> None:
    """Write all rows, with every call on the ledger; in the end wait for calls in flight, since they are paid."""
    if not isinstance(recipe.speaker, Recordable):
        write_whole(folder / "recipe.toml", recipe.toml())
        await recipe.writer.write(recipe.task, recipe.speaker, output)
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with open_ledger(recipe.ledger, recipe.budget, folder, run) as ledger:
        write_json(folder / STATUS, {"id": run, "status": "running"})
        write_whole(folder / "recipe.toml", recipe.toml())  # only now: a synthesis that cannot start leaves none
        try:
            await recipe.writer.write(recipe.task, Recorded(recipe.speaker, ledger, WRITER), output)
        finally:
            await ledger.settle()


def _check_folder(recipe: SynthesisRecipe, folder: Path, resume: bool) -> None:
    """Raise ConfigError if the folder holds a run that may not be resumed with `recipe`."""
    path = folder / "recipe.toml"
    if not path.exists():
        return
    if not resume:
        raise ConfigError(f"{folder} holds a run already; resume it with --resume, or choose another folder")
    saved = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    if changed := differences(_fixed_settings(recipe, saved), _fixed_settings(recipe, recipe.table())):
        raise ConfigError(
            f"{folder} was started with other settings ({'; '.join(changed[:5])}); resume with the same, or choose "
            "another folder"
        )


def _fixed_settings(recipe: SynthesisRecipe, table: TomlTable) -> dict[str, Any]:
    """Return `table` without the settings that may change on resume."""
    fixed = {name: settings for name, settings in table.items() if name not in ("budget", "ledger")}
    own = fixed.get(recipe.writer.name, {})
    return {**fixed, recipe.writer.name: {key: own[key] for key in own if key not in recipe.writer.changeable}}


def _save(recipe: SynthesisRecipe, folder: Path, output: Output, status: str, run: str, **more: Any) -> Path:
    path = folder / f"{recipe.writer.name}.jsonl"
    if status == "finished" or len(output.rows) >= _count_lines(path):  # keeps the file if an earlier stop had more
        write_jsonl(path, output.rows, recipe.writer.row_type)
    write_json(folder / STATUS, {"id": run, "status": status, "rows": _count_lines(path), **output.counts(), **more})
    return path


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _list_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"

"""An order carried out in a folder that can be gone on with.

`recipe.toml` (the order, resolved) · `run.json` (status and counts) · `instructions.jsonl` or `rationales.jsonl` ·
`ledger.sqlite`. The rows are written whole, at the end or where the writing stopped. A writing that is gone on with
puts them together anew from what the ledger holds, which is not paid again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sparring.common.concurrency import wait_for
from sparring.common.errors import ConfigError, SparringError
from sparring.common.files import write_json, write_jsonl, write_whole, writing
from sparring.common.schema import TomlTable, differences
from sparring.common.terminal import Terminal
from sparring.core.attempts import Recordable
from sparring.ledger import Ledger, Recorded
from sparring.runs.recording import STATUS, USED, Prepared, identity, place
from sparring.speakers.human import Human
from sparring.synthesis.order import WritingOrder
from sparring.synthesis.output import WRITER, Output


@dataclass(frozen=True)
class Written:
    """A finished writing: its file, how many rows that has, and the counts of replies and of what was in them."""

    file: Path
    rows: int
    counts: dict[str, dict[str, int]]

    def told(self) -> str:
        """Itself in three lines."""
        replies, found = (_listed(self.counts[kind]) for kind in ("replies", "found"))
        return f"{self.rows:,} rows in {self.file}\nreplies: {replies}\nfound: {found}"


def write_data(
    order: WritingOrder, run: str | Path, *, resume: bool = False, console: Console | None = None
) -> Written:
    """Carries out `order` in the folder `run`, or goes on with what stands there. Works in a notebook too."""
    return wait_for(_carried_out(order, Path(run), resume, console or Terminal(stderr=True)))


async def _carried_out(order: WritingOrder, folder: Path, resume: bool, console: Console) -> Written:
    _check(order, folder, resume)
    run = identity(folder, place(order.ledger.path, folder))
    total = order.writer.total(order.task)
    if order.ledger.mode != "replay" and isinstance(order.speaker, Prepared):
        order.speaker.ready()
    shown = console.is_terminal and not isinstance(order.speaker, Human)  # a bar would write over a person's words
    with _bar(order.writer.name, total, console, shown) as bar:
        output = Output(order.writer.max_failures)
        output.advanced = lambda steps: bar.update(bar.task_ids[0], advance=steps, told=_listed(output.replies))
        try:
            await _ask(order, folder, run, output)
            output.check()
        except (SparringError, KeyboardInterrupt, asyncio.CancelledError) as error:
            if (folder / "recipe.toml").exists():  # otherwise nothing was begun
                _save(order, folder, output, "stopped", run, reason=str(error) or "interrupted")
            raise
    return Written(_save(order, folder, output, "finished", run), len(output.rows), output.counts())


async def _ask(order: WritingOrder, folder: Path, run: str, output: Output) -> None:
    """Has it written, every call on the ledger; what is under way at the end is waited for, as it is being paid."""
    if not isinstance(order.speaker, Recordable):
        write_whole(folder / "recipe.toml", order.toml())
        await order.writer.write(order.task, order.speaker, output)
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path, name = place(order.ledger.path, folder), folder.resolve().name
    with Ledger(path, run, order.ledger.mode, order.budget, used=folder / USED, name=name) as ledger:
        write_json(folder / STATUS, {"id": run, "status": "running"})
        write_whole(folder / "recipe.toml", order.toml())  # now that nothing is left to be mended in it
        try:
            await order.writer.write(order.task, Recorded(order.speaker, ledger, WRITER), output)
        finally:
            await ledger.settle()


def _check(order: WritingOrder, folder: Path, resume: bool) -> None:
    """ConfigError if the folder holds something that may not be gone on with."""
    path = folder / "recipe.toml"
    if not path.exists():
        return
    if not resume:
        raise ConfigError(f"{folder} holds a run already; go on with it by --resume, or choose another folder")
    begun = tomlkit.parse(path.read_text()).unwrap()
    if changed := differences(_decisive(order, begun), _decisive(order, order.table())):
        raise ConfigError(
            f"{folder} was begun otherwise ({'; '.join(changed[:5])}); go on with the same, or choose another folder"
        )


def _decisive(order: WritingOrder, table: TomlTable) -> dict[str, Any]:
    """`table` without what may change from one sitting to the next."""
    kept = {name: told for name, told in table.items() if name not in ("budget", "ledger")}
    own = kept.get(order.writer.name, {})
    return {**kept, order.writer.name: {key: own[key] for key in own if key not in order.writer.extent}}


def _save(order: WritingOrder, folder: Path, output: Output, status: str, run: str, **more: Any) -> Path:
    path = folder / f"{order.writer.name}.jsonl"
    if status == "finished" or len(output.rows) >= _lines(path):  # or it was further before it was stopped again
        write_jsonl(path, output.rows, order.writer.row)
    write_json(folder / STATUS, {"id": run, "status": status, "rows": _lines(path), **output.counts(), **more})
    return path


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


# ---- what is shown


@contextmanager
def _bar(name: str, total: int, console: Console, shown: bool) -> Iterator[Progress]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        bar.add_task(name, total=total, told="")
        yield bar


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"

"""`sparring ledger`: what a run's partners were asked, what it cost, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparring.common.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from sparring.ledger import Total

OPEN = " ?"
OPENED = """? {count:,} of the calls were sent and have no result here: they are under way, or a kill has cut them off.
  They may have been paid, and may be asked again. They count, with the most tokens that they may be billed for."""


def ledger(
    run: Annotated[Path, typer.Argument(help="A run, or a ledger's file.")],
    failures: Annotated[bool, typer.Option("--failures", help="List what went wrong, commonest first.")] = False,
    output: Annotated[Path | None, typer.Option(help="JSONL file for every attempt.")] = None,
) -> None:
    """Show what a run's partners were asked: calls, tokens, cost and failures by role, round and model."""
    from sparring.common.terminal import Terminal
    from sparring.ledger import entries, export, runs, totals

    path, run_id = _ledger(run)
    console, sums = Terminal(), totals(path, run_id)
    console.print(_table(sums, None if run_id else runs(path)))
    console.print(
        f"{sum(total.calls for total in sums):,} calls, {sum(total.failed for total in sums):,} failed, "
        f"cost {sum(total.cost for total in sums):.4f}"
    )
    if unknown := sum(total.open for total in sums):
        console.print(OPENED.format(count=unknown), highlight=False)
    if failures:
        counts = Counter((entry["outcome"], entry["error"]) for entry in entries(path, run_id, failed=True))
        for (outcome, error), count in counts.most_common():
            console.print(f"{count:>6} × {outcome}: {error}")
    if output is not None:
        console.print(f"{export(path, output, run_id):,} entries in {output}")


def _table(sums: Sequence[Total], names: Mapping[str, str] | None) -> Table:
    """A row for each sum; `names`: the names of the runs by id, None where all sums are of one run."""
    from rich.table import Table

    table = Table(box=None)
    run_column = ("run",) if names is not None else ()
    for heading in (*run_column, "phase", "round", "role", "model", "calls", "failed", "tokens in", "out", "cost"):
        table.add_column(heading, overflow="fold")
    for total in sums:
        run_cell = (names.get(total.run, total.run),) if names is not None else ()
        calls = f"{total.calls:,}{OPEN if total.open else ''}"
        counts = (f"{count:,}" for count in (total.failed, total.prompt_tokens, total.completion_tokens))
        table.add_row(
            *run_cell, total.phase, str(total.round), total.role, total.model, calls, *counts, f"{total.cost:.4f}"
        )
    return table


def _ledger(place: Path) -> tuple[Path, str | None]:
    """The ledger's file, and the id of the run (None: all runs that share the ledger)."""
    from sparring.runs.recording import identity, ledger_of

    if place.is_file():
        return place, None
    if not (place / "recipe.toml").exists():
        raise ConfigError(f"{place} is neither a run nor a ledger's file; give one of the two")
    path = ledger_of(place)
    if path is None:
        raise ConfigError(f"{place} has no ledger: its partners are programs, and nothing was paid")
    return path, identity(place, path)

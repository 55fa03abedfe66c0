"""`sparring ledger`: lists the calls to a run's partners, their cost and their failures."""

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
OPEN_CALLS = """? {count:,} calls were sent but have no result yet: they are running, or the run was killed.
  They may be billed, and a resumed run may repeat them. They count with the most tokens that they may be billed for."""


def ledger(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a ledger file.")],
    failures: Annotated[bool, typer.Option("--failures", help="List the errors, most frequent first.")] = False,
    output: Annotated[Path | None, typer.Option(help="JSONL file to export every attempt to.")] = None,
) -> None:
    """Show the calls to a run's partners: calls, failures, tokens and cost by role, round and model."""
    from sparring.common.terminal import Terminal
    from sparring.ledger import entries, export, runs, totals

    path, run_id = _ledger(run)
    console, sums = Terminal(), totals(path, run_id)
    console.print(_table(sums, None if run_id else runs(path)))
    console.print(
        f"{sum(total.calls for total in sums):,} calls, {sum(total.failed for total in sums):,} failed, "
        f"cost {sum(total.cost for total in sums):.4f}"
    )
    if open_calls := sum(total.open for total in sums):
        console.print(OPEN_CALLS.format(count=open_calls), highlight=False)
    if failures:
        counts = Counter((entry["outcome"], entry["error"]) for entry in entries(path, run_id, failed=True))
        for (outcome, error), count in counts.most_common():
            console.print(f"{count:>6} × {outcome}: {error}")
    if output is not None:
        console.print(f"wrote {export(path, output, run_id):,} entries to {output}")


def _table(sums: Sequence[Total], names: Mapping[str, str] | None) -> Table:
    """Make a table with a row per sum. `names` maps run ids to names; None leaves out the column of runs."""
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


def _ledger(source: Path) -> tuple[Path, str | None]:
    """Find the ledger file, and the id of the run (None: all runs that share the ledger)."""
    from sparring.runs.recording import identity, ledger_of

    if source.is_file():
        return source, None
    if not (source / "recipe.toml").exists():
        raise ConfigError(f"{source} is neither a run nor a ledger file; give one of the two")
    path = ledger_of(source)
    if path is None:
        raise ConfigError(f"{source} has no ledger: its partners are programs, so no call was paid")
    return path, identity(source, path)

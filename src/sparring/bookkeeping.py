"""`sparring ledger`: what a run's partners were asked, what it cost, what failed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.table import Table as Columns

from sparring.errors import ConfigError
from sparring.ledger import entries, export, totals
from sparring.recording import ledger_of
from sparring.terminal import Terminal


def show(place: Path, failures: bool, output: Path | None) -> None:
    """Prints the totals of the ledger of `place` (a run, or a ledger's file), its failures if asked for, and writes all
    entries to `output`."""
    path, run = _ledger(place)
    console = Terminal()
    found = totals(path, run)
    columns = Columns(box=None)
    for heading in ("phase", "round", "role", "model", "calls", "failed", "tokens in", "out", "cost"):
        columns.add_column(heading, overflow="fold")
    for t in found:
        counts = (f"{n:,}" for n in (t.calls, t.failed, t.prompt_tokens, t.completion_tokens))
        columns.add_row(t.phase, str(t.round), t.role, t.model, *counts, f"{t.cost:.4f}")
    console.print(columns)
    console.print(
        f"{sum(t.calls for t in found):,} calls, {sum(t.failed for t in found):,} failed, "
        f"cost {sum(t.cost for t in found):.4f}"
    )
    if failures:
        for (outcome, error), count in Counter(
            (entry["outcome"], entry["error"]) for entry in entries(path, run, failed=True)
        ).most_common():
            console.print(f"{count:>6} × {outcome}: {error}")
    if output is not None:
        console.print(f"{export(path, output, run):,} entries in {output}")


def _ledger(place: Path) -> tuple[Path, str | None]:
    """The ledger's file, and the run meant (None: all that share it)."""
    if place.is_file():
        return place, None
    if not (place / "recipe.toml").exists():
        raise ConfigError(f"{place} is neither a run nor a ledger's file; give one of the two")
    path = ledger_of(place)
    if path is None:
        raise ConfigError(f"{place} has no ledger: its partners are programs, and nothing was paid")
    return path, place.name

"""`sparring ledger`: what a run's partners were asked, what it cost, what failed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.table import Table as Columns

from sparring.common.errors import ConfigError
from sparring.common.terminal import Terminal
from sparring.ledger import entries, export, runs, totals
from sparring.runs.recording import identity, ledger_of


def show(place: Path, failures: bool, output: Path | None) -> None:
    """Prints the totals of the ledger of `place` (a run, or a ledger's file), its failures if asked for, and writes all
    entries to `output`."""
    path, run = _ledger(place)
    console = Terminal()
    found, names = totals(path, run), runs(path)
    columns = Columns(box=None)
    several = () if run else ("run",)
    for heading in (*several, "phase", "round", "role", "model", "calls", "failed", "tokens in", "out", "cost"):
        columns.add_column(heading, overflow="fold")
    for t in found:
        whose = () if run else (names.get(t.run, t.run),)
        calls = f"{t.calls:,}{OPEN if t.open else ''}"
        counts = (f"{n:,}" for n in (t.failed, t.prompt_tokens, t.completion_tokens))
        columns.add_row(*whose, t.phase, str(t.round), t.role, t.model, calls, *counts, f"{t.cost:.4f}")
    console.print(columns)
    console.print(
        f"{sum(t.calls for t in found):,} calls, {sum(t.failed for t in found):,} failed, "
        f"cost {sum(t.cost for t in found):.4f}"
    )
    if unknown := sum(t.open for t in found):
        console.print(OPENED.format(count=unknown), highlight=False)
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
    return path, identity(place, path)


OPEN = " ?"
OPENED = """? {count:,} of the calls were sent and have no result here: they are under way, or a kill has cut them off.
  They may have been paid, and may be asked again. They count, with the most tokens that they may be billed for."""

"""`sparring demo`: trains a tiny model with every method on easy arithmetic and prints a table.

Each arm is a shipped recipe. Recipes that begin with the same warm-up share it: it runs once, and each arm's run
branches from it. Arms run in processes of one thread each, as many at a time as there are cores.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table as Columns
from rich.text import Text

from sparring.common.errors import ConfigError, nearest
from sparring.common.files import json_lines, read_json, write_json
from sparring.common.seeds import digest
from sparring.common.terminal import Terminal
from sparring.config.recipe import Recipe, load_table, with_settings
from sparring.core.evaluation import score
from sparring.runs.display import Display
from sparring.runs.folder import branch
from sparring.runs.run import train
from sparring.runs.selection import without_progress

ARMS = ("sft", "saie", "tripost", "thought_preference", "response_preference")
REFRESH = 1.0  # seconds between two updates of the table


@dataclass(frozen=True)
class Arm:
    """One recipe of the demo: its table, and the folders of its warm-up and of its own run."""

    name: str
    table: dict[str, Any]
    warm_up: Path
    folder: Path


def run_demo(folder: Path, seed: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Run the arms `names`, show their progress, print the table of results and write `summary.json`."""
    for name in names:
        if name not in ARMS:
            raise nearest("arm of the demo", name, ARMS)
    if not names:
        raise ConfigError(f"--methods names no arm; choose from {', '.join(ARMS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"--methods names an arm twice: {', '.join(names)}; name each once")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; choose another folder with --run, or remove it")
    start_time = time.monotonic()
    arms = [_arm(name, folder, seed) for name in names]
    console = Terminal()
    console.print(f"running {len(arms)} arms on {_cores()} cores, one thread each, in {folder}")
    seconds = _run_all(arms, console)
    summary: dict[str, Any] = {
        "seconds": round(time.monotonic() - start_time, 1),
        "methods": {arm.name: {**_figures(arm), "seconds": round(seconds[arm.name], 1)} for arm in arms},
    }
    write_json(folder / "summary.json", summary)
    console.print(_columns(arms, summary["methods"]))
    for arm in arms:
        for phase in without_progress(read_json(arm.folder / "evaluation.json")):
            console.print(f"{arm.name}: {phase.describe()}")
    console.print(f"took {summary['seconds']:.0f} s; wrote the results to {folder / 'summary.json'}")
    console.print(f"to talk to a learner: sparring talk {arms[-1].folder}")
    return summary


def _arm(name: str, folder: Path, seed: int) -> Arm:
    """Make the arm of the shipped recipe `name`. Equal warm-ups get the same folder."""
    table = with_settings(load_table(name), [f"run.seed={seed}", "run.threads=1"])
    shared = digest(json.dumps({**table, "phase": table["phase"][:1]}, sort_keys=True))[:8]
    return Arm(name, table, folder / f"warm-up-{shared}", folder / name)


def _run_all(arms: list[Arm], console: Terminal) -> dict[str, float]:
    """Run the warm-ups, then each arm once its warm-up is done. Return the seconds of each arm without its warm-up."""
    warm_ups = {arm.warm_up: {**arm.table, "phase": arm.table["phase"][:1]} for arm in arms}
    monitors = {folder: Monitor(folder) for arm in arms for folder in (arm.warm_up, arm.folder)}
    with (
        ProcessPoolExecutor(_cores(), mp_context=get_context("spawn")) as pool,
        Live(console=console, auto_refresh=False, transient=True) as live,
    ):
        warming = {warm_up: pool.submit(_train, table, warm_up, None) for warm_up, table in warm_ups.items()}
        running: dict[str, Future[float]] = {}
        while len(running) < len(arms) or not all(future.done() for future in running.values()):
            for arm in arms:
                if arm.name not in running and warming[arm.warm_up].done():
                    warming[arm.warm_up].result()
                    running[arm.name] = pool.submit(_train, arm.table, arm.folder, arm.warm_up)
            unfinished = [future for future in (*warming.values(), *running.values()) if not future.done()]
            wait(unfinished, timeout=REFRESH, return_when=FIRST_COMPLETED)
            changed = [monitor.update() for monitor in monitors.values()]  # a list, so that every monitor updates
            if any(changed):
                live.update(_columns(arms, {arm.name: _progress(arm, monitors) for arm in arms}), refresh=True)
        return {name: future.result() for name, future in running.items()}


def _train(table: dict[str, Any], folder: Path, warm_up: Path | None) -> float:
    """Train one run, branched from `warm_up` if given; return the seconds it took. Runs in a process of its own."""
    start_time = time.monotonic()
    recipe = Recipe.of(table)
    if warm_up is not None:
        branch(warm_up, folder, recipe)
    train(recipe, folder, resume=warm_up is not None, display=Display(quiet=True))
    return time.monotonic() - start_time


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────


class Monitor:
    """Follows the progress of a run; reads each line of its metrics once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rounds = 0
        self.development: float | None = None
        self.ended = False
        self._offset = 0

    def update(self) -> bool:
        """Read the new lines; tell whether there is something new to show."""
        path = self.folder / "metrics.jsonl"
        before = self.rounds, self.development, self.ended
        for row in json_lines(path, self._offset) if path.exists() else ():
            self._offset = row.end
            line = row.value or {}
            self.rounds += line.get("kind") == "round"
            self.development = score(line) if line.get("kind") == "development" else self.development
            self.ended = (self.folder / "evaluation.json").exists()
        return (self.rounds, self.development, self.ended) != before


def _figures(arm: Arm) -> dict[str, Any]:
    """Return test accuracies of an arm: at its start, of the best learner (with interval, origin), of the final one."""
    start, end = (read_json(folder / "evaluation.json") for folder in (arm.warm_up, arm.folder))
    best = end["measures"][end["primary"]]
    own = {"accuracy": best["value"], "low": best["low"], "high": best["high"], "origin": end["origin"]}
    return {"start": score(start), **own, "final": score(end["final"])}


def _progress(arm: Arm, monitors: Mapping[Path, Monitor]) -> dict[str, Any]:
    """Return the figures of an arm that has ended, or the stage that it is in."""
    own, warm_up = monitors[arm.folder], monitors[arm.warm_up]
    if own.ended:
        return _figures(arm)
    run = own if own.rounds else warm_up
    stage = f"round {run.rounds}" if own.rounds else f"warm-up, round {run.rounds}"
    return {"stage": stage + (f", development {run.development:.1%}" if run.development is not None else "")}


def _columns(arms: list[Arm], figures: dict[str, dict[str, Any]]) -> Columns:
    columns = Columns("method", "start", "best", "95 % interval", "gain", "from", "final", "seconds", box=None)
    for arm in arms:
        row = figures[arm.name]
        if "accuracy" not in row:
            columns.add_row(arm.name, "", Text(row["stage"], style="dim"), "", "", "", "", "")
            continue
        columns.add_row(
            arm.name,
            f"{row['start']:.1%}",
            f"{row['accuracy']:.1%}",
            f"{row['low']:.1%} – {row['high']:.1%}",
            f"{100 * (row['accuracy'] - row['start']):+.1f}",
            _origin(row["origin"]),
            f"{row['final']:.1%}",
            f"{row['seconds']:.0f}" if "seconds" in row else "",
        )
    return columns


def _origin(origin: Mapping[str, Any]) -> str:
    """Return where an arm's best learner is from; the first phase of each arm is its warm-up."""
    return f"round {origin['round']}" if origin["phase"] > 1 else "warm-up"


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

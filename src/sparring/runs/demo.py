"""`sparring demo`: every method on the easy arithmetic, side by side, from nothing to a table.

The arms are the shipped recipes. Recipes that begin with the same warm-up share it: it is run once, and each arm's run
branches from it. Arms run in processes of one thread each, as many as there are cores.
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
from sparring.runs.display import Display
from sparring.runs.folder import branch
from sparring.runs.run import train
from sparring.runs.selection import behind

ARMS = ("sft", "saie", "tripost", "thought_preference", "response_preference")
LOOK = 1.0  # seconds between two looks at how the arms come on


@dataclass(frozen=True)
class Arm:
    """One recipe of the demo: its table, and the folders of its warm-up and of itself."""

    name: str
    table: dict[str, Any]
    warm_up: Path
    folder: Path


def run_demo(folder: Path, seed: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Runs the arms called `names`, shows how they come on, prints the table and writes `summary.json`."""
    for name in names:
        if name not in ARMS:
            raise nearest("arm of the demo", name, ARMS)
    if not names:
        raise ConfigError(f"--methods names no arm; there is {', '.join(ARMS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"--methods names an arm twice: {', '.join(names)}; name each once")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; choose another folder with --run, or remove it")
    begun = time.monotonic()
    arms = [_arm(name, folder, seed) for name in names]
    console = Terminal()
    console.print(f"{len(arms)} arms on {_cores()} cores, one thread each, in {folder}")
    seconds = _run_all(arms, console)
    summary: dict[str, Any] = {
        "seconds": round(time.monotonic() - begun, 1),
        "methods": {arm.name: {**_figures(arm), "seconds": round(seconds[arm.name], 1)} for arm in arms},
    }
    write_json(folder / "summary.json", summary)
    console.print(_columns(arms, summary["methods"]))
    for arm in arms:
        for phase in behind(read_json(arm.folder / "evaluation.json")):
            console.print(f"{arm.name}: {phase.told()}")
    console.print(f"{summary['seconds']:.0f} s in all; summary in {folder / 'summary.json'}")
    console.print(f"talk to a learner: sparring talk {arms[-1].folder}")
    return summary


def _arm(name: str, folder: Path, seed: int) -> Arm:
    table = with_settings(load_table(name), [f"run.seed={seed}", "run.threads=1"])
    shared = digest(json.dumps({**table, "phase": table["phase"][:1]}, sort_keys=True))[:8]
    return Arm(name, table, folder / f"warm-up-{shared}", folder / name)


def _run_all(arms: list[Arm], console: Terminal) -> dict[str, float]:
    """The seconds each arm took, its warm-up not counted. Warm-ups first, each arm as soon as its own is done."""
    first = {arm.warm_up: {**arm.table, "phase": arm.table["phase"][:1]} for arm in arms}
    watched = {folder: Watched(folder) for arm in arms for folder in (arm.warm_up, arm.folder)}
    with (
        ProcessPoolExecutor(_cores(), mp_context=get_context("spawn")) as pool,
        Live(console=console, auto_refresh=False, transient=True) as live,
    ):
        warming = {warm_up: pool.submit(_train, table, warm_up, None) for warm_up, table in first.items()}
        running: dict[str, Future[float]] = {}
        while len(running) < len(arms) or not all(future.done() for future in running.values()):
            for arm in arms:
                if arm.name not in running and warming[arm.warm_up].done():
                    warming[arm.warm_up].result()
                    running[arm.name] = pool.submit(_train, arm.table, arm.folder, arm.warm_up)
            under_way = [future for future in (*warming.values(), *running.values()) if not future.done()]
            wait(under_way, timeout=LOOK, return_when=FIRST_COMPLETED)
            news = [run.look() for run in watched.values()]  # all of them look
            if any(news):
                told = {arm.name: _so_far(arm, watched) for arm in arms}
                live.update(_columns(arms, told), refresh=True)
        return {name: future.result() for name, future in running.items()}


def _train(table: dict[str, Any], folder: Path, warm_up: Path | None) -> float:
    """One run in a process of its own; the seconds it took."""
    begun = time.monotonic()
    recipe = Recipe.of(table)
    if warm_up is not None:
        branch(warm_up, folder, recipe)
    train(recipe, folder, resume=warm_up is not None, display=Display(quiet=True))
    return time.monotonic() - begun


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────


class Watched:
    """A run as it comes on; every line of its metrics is read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rounds = 0
        self.development: float | None = None
        self.ended = False
        self._read = 0

    def look(self) -> bool:
        """Whether there was something new to show."""
        path = self.folder / "metrics.jsonl"
        before = self.rounds, self.development, self.ended
        for row in json_lines(path, self._read) if path.exists() else ():
            self._read = row.end
            line = row.value or {}
            self.rounds += line.get("kind") == "round"
            self.development = line["accuracy"] if line.get("kind") == "development" else self.development
            self.ended = (self.folder / "evaluation.json").exists()
        return (self.rounds, self.development, self.ended) != before


def _figures(arm: Arm) -> dict[str, Any]:
    """Where an arm began and where it ended, on the test problems: its best learner and where that is from, and its
    final one."""
    start, end = (read_json(folder / "evaluation.json") for folder in (arm.warm_up, arm.folder))
    own = {name: end[name] for name in ("accuracy", "low", "high", "origin")}
    return {"start": start["accuracy"], **own, "final": end["final"]["accuracy"]}


def _so_far(arm: Arm, watched: Mapping[Path, Watched]) -> dict[str, Any]:
    own, warm_up = watched[arm.folder], watched[arm.warm_up]
    if own.ended:
        return _figures(arm)
    run = own if own.rounds else warm_up
    stage = f"round {run.rounds}" if own.rounds else f"warm-up, round {run.rounds}"
    return {"stage": stage + (f", development {run.development:.1%}" if run.development is not None else "")}


def _columns(arms: list[Arm], figures: dict[str, dict[str, Any]]) -> Columns:
    columns = Columns("method", "start", "best", "95 % interval", "gain", "from", "final", "seconds", box=None)
    for arm in arms:
        found = figures[arm.name]
        if "accuracy" not in found:
            columns.add_row(arm.name, "", Text(found["stage"], style="dim"), "", "", "", "", "")
            continue
        columns.add_row(
            arm.name,
            f"{found['start']:.1%}",
            f"{found['accuracy']:.1%}",
            f"{found['low']:.1%} – {found['high']:.1%}",
            f"{100 * (found['accuracy'] - found['start']):+.1f}",
            _origin(found["origin"]),
            f"{found['final']:.1%}",
            f"{found['seconds']:.0f}" if "seconds" in found else "",
        )
    return columns


def _origin(origin: Mapping[str, Any]) -> str:
    """Where an arm's best learner is from, in few words: each arm warms up in its first phase."""
    return f"round {origin['round']}" if origin["phase"] > 1 else "warm-up"


def _cores() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

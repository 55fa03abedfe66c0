"""`sparring demo`: every method on the easy arithmetic, side by side, from nothing to a table.

The arms are the shipped recipes. Recipes that begin with the same warm-up share it: it is run once, and each arm's run
branches from it. Arms run in processes of one thread each, as many as there are cores.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table as Columns
from rich.text import Text

from sparring.display import Display
from sparring.errors import ConfigError, nearest
from sparring.files import write_json
from sparring.recipe import Recipe, load_table, with_settings
from sparring.run import branch, train
from sparring.seeds import digest
from sparring.terminal import Terminal

ARMS = ("sft", "saie", "tripost", "thought_preference", "response_preference")


@dataclass(frozen=True)
class Arm:
    """One recipe of the demo: its table, and the folders of its warm-up and of itself."""

    name: str
    table: dict[str, Any]
    warm_up: Path
    folder: Path


def show(folder: Path, seed: int, names: tuple[str, ...]) -> dict[str, Any]:
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
    with (
        ProcessPoolExecutor(_cores(), mp_context=get_context("spawn")) as pool,
        Live(console=console, refresh_per_second=2, transient=True) as live,
    ):
        warming = {warm_up: pool.submit(_train, table, warm_up, None) for warm_up, table in first.items()}
        running: dict[str, Future[float]] = {}
        while len(running) < len(arms) or not all(future.done() for future in running.values()):
            for arm in arms:
                if arm.name not in running and warming[arm.warm_up].done():
                    warming[arm.warm_up].result()
                    running[arm.name] = pool.submit(_train, arm.table, arm.folder, arm.warm_up)
            wait([f for f in (*warming.values(), *running.values()) if not f.done()], timeout=0.5)
            live.update(_columns(arms, {arm.name: _so_far(arm) for arm in arms}))
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


def _lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    whole = (line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return [line for line in map(json.loads, whole) if line["kind"] == kind]


def _figures(arm: Arm) -> dict[str, float]:
    """Where an arm began and where it ended, on the test problems."""
    start, end = _lines(arm.folder, "test")
    return {"start": start["accuracy"], **{name: end[name] for name in ("accuracy", "low", "high")}}


def _so_far(arm: Arm) -> dict[str, Any]:
    tests = _lines(arm.folder, "test")
    if len(tests) == 2:
        return _figures(arm)
    folder = arm.folder if tests else arm.warm_up
    rounds = len(_lines(folder, "round"))
    development = [line["accuracy"] for line in _lines(folder, "development")]
    stage = f"round {rounds}" if tests else f"warm-up, round {rounds}"
    return {"stage": stage + (f", development {development[-1]:.1%}" if development else "")}


def _columns(arms: list[Arm], figures: dict[str, dict[str, Any]]) -> Columns:
    columns = Columns("method", "start", "accuracy", "95 % interval", "gain", "seconds", box=None)
    for arm in arms:
        found = figures[arm.name]
        if "accuracy" not in found:
            columns.add_row(arm.name, "", Text(found["stage"], style="dim"), "", "", "")
            continue
        columns.add_row(
            arm.name,
            f"{found['start']:.1%}",
            f"{found['accuracy']:.1%}",
            f"{found['low']:.1%} – {found['high']:.1%}",
            f"{100 * (found['accuracy'] - found['start']):+.1f}",
            f"{found['seconds']:.0f}" if "seconds" in found else "",
        )
    return columns


def _cores() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

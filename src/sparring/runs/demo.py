"""`sparring demo`: trains a tiny model with every method on easy arithmetic and prints what each of them is for.

Each arm is a shipped recipe. Recipes that begin with the same warm-up share it: it runs once, and each arm's run
branches from it. After the warm-up every arm trains on the same number of gradient tokens. Arms run in processes of one
thread each, as many at a time as there are cores.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from shlex import quote
from typing import Any

from rich.live import Live
from rich.table import Table as Columns

from sparring.common.errors import ConfigError, nearest
from sparring.common.files import json_lines, read_json, write_json
from sparring.common.seeds import digest
from sparring.common.terminal import Terminal
from sparring.config.recipe import Recipe, load_table, with_settings
from sparring.core.evaluation import score
from sparring.runs.demo_figures import FURTHER, ArmFigures, figures_of, further_table, training_table
from sparring.runs.display import Display
from sparring.runs.evaluation import evaluate
from sparring.runs.folder import branch
from sparring.runs.run import train
from sparring.runs.selection import without_progress

ARMS = ("sft", "saie", "tripost", "thought_preference", "response_preference")
GRADIENT_TOKENS = 220_000  # of each arm after its warm-up
FURTHER_PROBLEMS = 300  # of each further measurement
REFRESH = 1.0  # seconds between two updates of the table


@dataclass(frozen=True)
class Arm:
    """One recipe of the demo under one seed: its table, and the folders of its warm-up and of its own run."""

    name: str
    seed: int
    table: dict[str, Any]
    warm_up: Path
    folder: Path


def run_demo(folder: Path, seeds: Sequence[int], names: tuple[str, ...]) -> dict[str, Any]:
    """Run the arms `names` under each of `seeds`, show progress, print the results and write `summary.json`."""
    _check(folder, names)
    start_time = time.monotonic()
    arms = [_arm(name, folder, seed) for name in names for seed in seeds]
    console = Terminal()
    console.print(
        f"running {len(arms)} arms on {_cores()} cores, one thread each, in {folder}; "
        f"after its warm-up every arm trains on {GRADIENT_TOKENS:,} gradient tokens"
    )
    seconds = _run_all(arms, console)
    figures = [
        figures_of(name, [(arm.warm_up, arm.folder, seconds[arm.folder.name]) for arm in arms if arm.name == name])
        for name in names
    ]
    summary: dict[str, Any] = {
        "seconds": round(time.monotonic() - start_time, 1),
        "seeds": list(seeds),
        "gradient_tokens": GRADIENT_TOKENS,
        "methods": {arm.name: arm.plain() for arm in figures},
    }
    write_json(folder / "summary.json", summary)
    _print(figures, arms, summary, console)
    return summary


def _check(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in ARMS:
            raise nearest("arm of the demo", name, ARMS)
    if not names:
        raise ConfigError(f"--methods names no arm; choose from {', '.join(ARMS)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"--methods names an arm twice: {', '.join(names)}; name each once")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; choose another folder with --run, or remove it")


def _print(figures: Sequence[ArmFigures], arms: Sequence[Arm], summary: Mapping[str, Any], console: Terminal) -> None:
    console.print(training_table(figures))
    console.print()
    console.print(further_table(figures))
    seeds = summary["seeds"]
    if len(seeds) == 1:
        console.print("one seed: the intervals cover other problems, not training with another seed (see --seeds)")
    for arm in arms:
        for phase in without_progress(read_json(arm.folder / "evaluation.json")):
            console.print(f"{arm.folder.name}: {phase.describe()}")
    folder = arms[0].folder.parent
    console.print(f"took {summary['seconds']:.0f} s; wrote the results to {folder / 'summary.json'}")
    console.print(f"to talk to a learner: sparring talk {quote(str(arms[-1].folder))}")
    if len({arm.name for arm in arms}) > 1:
        one, two = (quote(f"{folder}/{arm.name}-*") for arm in (arms[0], arms[-1]))
        console.print(f"to compare two methods: sparring compare {one} {two}")


def _arm(name: str, folder: Path, seed: int) -> Arm:
    """Make the arm of the shipped recipe `name`. Equal warm-ups get the same folder."""
    budget = f"phase.2.max_gradient_tokens={GRADIENT_TOKENS}"
    table = with_settings(load_table(name), [f"run.seed={seed}", "run.threads=1", budget])
    table["phase"][1].pop("rounds", None)  # as many as the budget allows
    shared = digest(json.dumps({**table, "phase": table["phase"][:1]}, sort_keys=True))[:8]
    return Arm(name, seed, table, folder / f"warm-up-{shared}", folder / f"{name}-{seed}")


def _run_all(arms: list[Arm], console: Terminal) -> dict[str, float]:
    """Run the warm-ups, then each arm once its warm-up is done.

    Return the seconds of each arm's training, without its warm-up, by the name of its folder.
    """
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
                if arm.folder.name not in running and warming[arm.warm_up].done():
                    warming[arm.warm_up].result()
                    running[arm.folder.name] = pool.submit(run_arm, arm)
            unfinished = [future for future in (*warming.values(), *running.values()) if not future.done()]
            wait(unfinished, timeout=REFRESH, return_when=FIRST_COMPLETED)
            changed = [monitor.update() for monitor in monitors.values()]  # a list, so that every monitor updates
            if any(changed):
                live.update(_progress_table(arms, monitors), refresh=True)
        return {name: future.result() for name, future in running.items()}


def run_arm(arm: Arm) -> float:
    """Train an arm and measure what its method is for; return the seconds of the training. Runs in its own process."""
    seconds = _train(arm.table, arm.folder, arm.warm_up)
    for protocol in FURTHER.get(arm.name, ()):
        settings = [f"evaluation.seed={arm.seed}"]
        evaluate(arm.folder, protocol=protocol, problems=FURTHER_PROBLEMS, run=arm.folder / protocol, settings=settings)
    return seconds


def _train(table: dict[str, Any], folder: Path, warm_up: Path | None) -> float:
    """Train one run, branched from `warm_up` if given; return the seconds it took. Runs in a process of its own."""
    start_time = time.monotonic()
    recipe = Recipe.of(table)
    if warm_up is not None:
        branch(warm_up, folder, recipe)
    train(recipe, folder, resume=warm_up is not None, display=Display(quiet=True))
    return time.monotonic() - start_time


# ── progress ────────────────────────────────────────────────────────────────────────────────────────────────


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


def _progress_table(arms: Sequence[Arm], monitors: Mapping[Path, Monitor]) -> Columns:
    columns = Columns("arm", "stage", "development", box=None)
    for arm in arms:
        own, warm_up = monitors[arm.folder], monitors[arm.warm_up]
        run = own if own.rounds else warm_up
        stage = "done, or being measured" if own.ended else f"round {run.rounds}"
        stage = stage if own.rounds else f"warm-up, {stage}"
        columns.add_row(arm.folder.name, stage, "" if run.development is None else f"{run.development:.1%}")
    return columns


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

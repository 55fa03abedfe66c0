"""`sparring evaluate`: a saved learner asked held-out problems, shown as a table and written as JSON."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from rich.progress import Progress
from rich.table import Table as Columns

from sparring.common.concurrency import wait_for
from sparring.common.errors import ConfigError
from sparring.common.files import write_json
from sparring.common.terminal import Terminal
from sparring.config.factory import make_task
from sparring.config.recipe import load_table, with_settings
from sparring.core.chat import LEARNER
from sparring.core.evaluation import Evaluation, Rate, evaluate
from sparring.core.task import Split, Task
from sparring.models.source import check_learner


def examine(
    place: str,
    *,
    kind: str | None,
    settings: list[str],
    split: Split,
    count: int | None,
    protocol: str,
    output: Path | None,
) -> Evaluation:
    """Asks `place`'s learner `count` problems of `split`, prints what came of it, and writes it to `output`."""
    if output is not None:
        write_json(output, {})  # said at once, not after the questions
    task = _task(Path(place), kind, settings)
    problems = list(task.problems(split))[:count]
    if not problems:
        raise ConfigError(f"the task has no {split} problems; choose another --split")
    task.is_right(problems[0], "?")  # a ConfigError where nothing tells what is right: now, not after the questions
    check_learner(place)
    from sparring.inference.model_speaker import Voice  # noqa: PLC0415
    from sparring.runs.load import open_learner  # noqa: PLC0415 - slow to start, and mistakes are told before

    used = open_learner(place, protocol)
    with Progress(console=Terminal(stderr=True), transient=True) as bar:
        asking = bar.add_task(f"{len(problems)} {split} problems", total=len(problems))
        found: Evaluation = wait_for(
            evaluate(
                task,
                problems,
                used.way,
                lambda problem: Voice(used.model, LEARNER, ("evaluate", problem.id)),
                on_outcome=lambda outcome: bar.advance(asking),
            )
        )
    _show(found)
    if output is not None:
        write_json(output, {**found.plain(), "outcomes": [asdict(outcome) for outcome in found.outcomes]})
    return found


def _task(place: Path, kind: str | None, settings: list[str]) -> Task:
    """The task named, otherwise the one that the run was trained on."""
    table: dict[str, object] = {"kind": kind}
    if kind is None:
        recipe = place / "recipe.toml"
        if not os.path.exists(recipe):
            raise ConfigError(f"{place} is not a run, so it names no task; give one with --task")
        table = {**load_table(str(recipe)).get("task", {})}
        table.pop("problems", None)  # how a run chooses among them
    return make_task(with_settings(table, settings))


def _show(found: Evaluation) -> None:
    told = found.plain()
    columns = Columns("bin", "accuracy", "95 % interval", "problems", box=None)
    for name, rate in {**found.bins(), "all": found.accuracy}.items():
        columns.add_row(name, *_cells(rate))
    console = Terminal()
    console.print(columns)
    console.print(
        f"right at first {told['right_first']:.1%}, revised {told['revised']:.1%}, "
        f"fixed {told['fixed']:.1%}, broken {told['broken']:.1%}; failed: {told['failed'] or 'none'}"
    )


def _cells(rate: Rate) -> tuple[str, str, str]:
    figures = rate.plain()
    return f"{rate.value:.1%}", f"{figures['low']:.1%} – {figures['high']:.1%}", str(rate.total)

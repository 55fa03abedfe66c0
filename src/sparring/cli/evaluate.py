"""`sparring evaluate`: measures a saved learner on held-out problems, prints a table and writes JSON."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sparring.cli.shared import ModelArgument, ProtocolOption
from sparring.common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparring.core.evaluation import Evaluation, Rate
    from sparring.core.task import Problem, Task
    from sparring.runs.load import SavedLearner


def evaluate(
    model: ModelArgument,
    task: Annotated[
        str | None, typer.Option(help="Task to evaluate on; default: the task that the run was trained on.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Set a key of the task: key=value.")] = None,
    split: Annotated[Literal["train", "development", "test"], typer.Option(help="Which problems to use.")] = "test",
    problems: Annotated[int | None, typer.Option(min=1, help="Number of problems; default: all.")] = None,
    protocol: ProtocolOption = "as_trained",
    output: Annotated[
        Path | None, typer.Option(help="JSON file for the results and the outcome of each problem.")
    ] = None,
) -> None:
    """Measure a model's accuracy on held-out problems, overall and per bin, with 95 % intervals."""
    from sparring.common.files import write_json
    from sparring.models.source import check_learner

    if output is not None:
        write_json(output, {})  # fails now, not after the evaluation, if the path cannot be written
    target = _task(Path(model), task, settings or [])
    chosen = list(target.problems(split))[:problems]
    if not chosen:
        raise ConfigError(f"the task has no {split} problems; choose another --split")
    target.is_right(chosen[0], "?")  # fails now, not after the evaluation, if the task cannot check answers
    check_learner(model)
    from sparring.runs.load import load_learner  # slow (torch): imported only after the arguments are checked

    evaluation = _measure(target, chosen, load_learner(model, protocol), f"{len(chosen)} {split} problems")
    _print(evaluation)
    if output is not None:
        outcomes = [asdict(outcome) for outcome in evaluation.outcomes]
        write_json(output, {**evaluation.plain(), "outcomes": outcomes})


def _task(run: Path, kind: str | None, settings: list[str]) -> Task:
    """Make the task `kind`, or if it is None the task of the recipe in the folder `run`."""
    from sparring.config.factory import make_task
    from sparring.config.recipe import load_table, with_settings

    table: dict[str, object] = {"kind": kind}
    if kind is None:
        recipe = run / "recipe.toml"
        if not os.path.exists(recipe):
            raise ConfigError(f"{run} is not a run, so the task is unknown; name one with --task")
        table = {**load_table(str(recipe)).get("task", {})}
        table.pop("problems", None)  # a key of the run ("fixed" or "fresh"), not of the task
    return make_task(with_settings(table, settings))


def _measure(task: Task, problems: Sequence[Problem], learner: SavedLearner, title: str) -> Evaluation:
    """Evaluate the learner and show a progress bar named `title`."""
    from rich.progress import Progress

    from sparring.common.concurrency import run_sync
    from sparring.common.terminal import Terminal
    from sparring.core.chat import LEARNER
    from sparring.core.evaluation import evaluate as evaluate_all
    from sparring.inference.model_speaker import ModelSpeaker

    with Progress(console=Terminal(stderr=True), transient=True) as bar:
        bar_task = bar.add_task(title, total=len(problems))
        return run_sync(
            evaluate_all(
                task,
                problems,
                learner.answerer,
                lambda problem: ModelSpeaker(learner.model, LEARNER, ("evaluate", problem.id)),
                on_outcome=lambda outcome: bar.advance(bar_task),
            )
        )


def _print(evaluation: Evaluation) -> None:
    from rich.table import Table

    from sparring.common.terminal import Terminal

    shares = evaluation.plain()
    table = Table("bin", "accuracy", "95 % interval", "problems", box=None)
    for name, rate in {**evaluation.bins(), "all": evaluation.accuracy}.items():
        table.add_row(name, *_cells(rate))
    failures = ", ".join(f"{count} × {kind}" for kind, count in shares["failed"].items())
    console = Terminal()
    console.print(table)
    console.print(
        f"first attempt right {shares['right_first']:.1%}, revised {shares['revised']:.1%}, "
        f"fixed by revision {shares['fixed']:.1%}, broken by revision {shares['broken']:.1%}; "
        f"failed: {failures or 'none'}"
    )


def _cells(rate: Rate) -> tuple[str, str, str]:
    figures = rate.plain()
    return f"{rate.value:.1%}", f"{figures['low']:.1%} – {figures['high']:.1%}", str(rate.total)

"""`sparring evaluate`: asks a saved learner held-out problems; shows a table, and writes JSON."""

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
    task: Annotated[str | None, typer.Option(help="Kind of task; for a run, by default its own.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value for the task.")] = None,
    split: Annotated[Literal["train", "development", "test"], typer.Option(help="Which problems.")] = "test",
    problems: Annotated[int | None, typer.Option(min=1, help="How many of them; all unless given.")] = None,
    protocol: ProtocolOption = "as_trained",
    output: Annotated[Path | None, typer.Option(help="JSON file for all figures and outcomes.")] = None,
) -> None:
    """Measure a model on held-out problems, with a 95 % interval and per bin."""
    from sparring.common.files import write_json
    from sparring.models.source import check_learner

    if output is not None:
        write_json(output, {})  # a path that cannot be written is told now, not after the questions
    asked = _task(Path(model), task, settings or [])
    chosen = list(asked.problems(split))[:problems]
    if not chosen:
        raise ConfigError(f"the task has no {split} problems; choose another --split")
    asked.is_right(chosen[0], "?")  # a ConfigError where nothing tells what is right: now, not after the questions
    check_learner(model)
    from sparring.runs.load import load_learner  # only now: a mistake is told before torch is imported

    evaluation = _measure(asked, chosen, load_learner(model, protocol), f"{len(chosen)} {split} problems")
    _print(evaluation)
    if output is not None:
        outcomes = [asdict(outcome) for outcome in evaluation.outcomes]
        write_json(output, {**evaluation.plain(), "outcomes": outcomes})


def _task(place: Path, kind: str | None, settings: list[str]) -> Task:
    """The task named, otherwise the one that the run was trained on."""
    from sparring.config.factory import make_task
    from sparring.config.recipe import load_table, with_settings

    table: dict[str, object] = {"kind": kind}
    if kind is None:
        recipe = place / "recipe.toml"
        if not os.path.exists(recipe):
            raise ConfigError(f"{place} is not a run, so it names no task; give one with --task")
        table = {**load_table(str(recipe)).get("task", {})}
        table.pop("problems", None)  # how a run chooses among them
    return make_task(with_settings(table, settings))


def _measure(task: Task, problems: Sequence[Problem], learner: SavedLearner, title: str) -> Evaluation:
    """Asks the learner, under a progress bar."""
    from rich.progress import Progress

    from sparring.common.concurrency import wait_for
    from sparring.common.terminal import Terminal
    from sparring.core.chat import LEARNER
    from sparring.core.evaluation import evaluate as ask_all
    from sparring.inference.model_speaker import ModelSpeaker

    with Progress(console=Terminal(stderr=True), transient=True) as bar:
        asking = bar.add_task(title, total=len(problems))
        return wait_for(
            ask_all(
                task,
                problems,
                learner.way,
                lambda problem: ModelSpeaker(learner.model, LEARNER, ("evaluate", problem.id)),
                on_outcome=lambda outcome: bar.advance(asking),
            )
        )


def _print(evaluation: Evaluation) -> None:
    from rich.table import Table

    from sparring.common.terminal import Terminal

    shares = evaluation.plain()
    table = Table("bin", "accuracy", "95 % interval", "problems", box=None)
    for name, rate in {**evaluation.bins(), "all": evaluation.accuracy}.items():
        table.add_row(name, *_cells(rate))
    console = Terminal()
    console.print(table)
    console.print(
        f"right at first {shares['right_first']:.1%}, revised {shares['revised']:.1%}, "
        f"fixed {shares['fixed']:.1%}, broken {shares['broken']:.1%}; failed: {shares['failed'] or 'none'}"
    )


def _cells(rate: Rate) -> tuple[str, str, str]:
    figures = rate.plain()
    return f"{rate.value:.1%}", f"{figures['low']:.1%} – {figures['high']:.1%}", str(rate.total)

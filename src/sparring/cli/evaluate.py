"""`sparring evaluate`: measures learners on held-out problems by a protocol, prints a table, writes all transcripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sparring.cli.entry import loading
from sparring.cli.shared import PlainOption, ProtocolOption, TaskOption, say

if TYPE_CHECKING:
    from sparring.common.statistics import Mean
    from sparring.core.evaluation import Evaluation


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL_OR_RUN", help="Runs, checkpoints, model folders or hub ids."),
    ] = None,
    protocol: ProtocolOption = None,
    task: TaskOption = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder for the results, the transcripts and the ledger; default: none.")
    ] = None,
    split: Annotated[
        Literal["train", "development", "test"] | None, typer.Option(help="Which problems to use; default: test.")
    ] = None,
    problems: Annotated[int | None, typer.Option(min=1, help="Number of problems; default: all.")] = None,
    plain: PlainOption = False,
    recipe: Annotated[
        str | None, typer.Option(help="A TOML file with the evaluation, such as the recipe.toml of another one.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a key: task.range=easy, protocol.samples=8, learner.by=endpoint, …"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the evaluation in the folder; done problems are not asked again.")
    ] = False,
) -> None:
    """Measure learners on held-out problems: overall and per bin, with 95 % intervals and every transcript."""
    from sparring.config.evaluation import EvaluationRecipe

    chosen = {"task.kind": task, "protocol.kind": protocol, "evaluation.split": split,
              "evaluation.problems": problems, "evaluation.plain": "true" if plain else None}  # fmt: skip
    options = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    evaluation_recipe = EvaluationRecipe.read(recipe or {}, models or [], [*options, *(settings or [])])
    evaluation_recipe.problems()  # fails now, before anything slow is imported, if there are none
    with loading():
        from sparring.runs.evaluation import results, run_evaluation

    evaluation = run_evaluation(evaluation_recipe, run, resume=resume)
    _print(evaluation, results(evaluation_recipe, evaluation)["summary"])
    if run is not None:
        say(f"wrote results.json and problems.jsonl to {run}")


def _print(evaluation: Evaluation, summary: dict[str, Any]) -> None:
    from rich.table import Table

    from sparring.common.terminal import Terminal
    from sparring.core.evaluation import in_words

    console = Terminal()
    bins = evaluation.bins()
    if len(bins) > 1:
        table = Table("bin", evaluation.primary, "95 % interval", "problems", box=None)
        for name, means in bins.items():
            table.add_row(name, *_cells(evaluation.primary, means.get(evaluation.primary)))
        table.add_row("macro average", in_words(evaluation.primary, evaluation.macro()), "", "")
        console.print(table)
        console.print()
    table = Table("measure", "mean", "95 % interval", "problems", box=None)
    for name, mean in evaluation.measures().items():
        table.add_row(name, *_cells(name, mean))
    for name, value in summary.items():
        table.add_row(name, in_words(name, value) if isinstance(value, int | float) else str(value), "", "")
    console.print(table)
    console.print(f"failures: {', '.join(evaluation.failures_in_words()) or 'none'}", markup=False)
    if unavailable := sum(outcome.is_unavailable for outcome in evaluation.outcomes):
        console.print(f"{unavailable} problems got no reply and are measured as unanswered; --resume asks them again")


def _cells(measure: str, mean: Mean | None) -> tuple[str, str, str]:
    from sparring.core.evaluation import in_words, interval_in_words

    if mean is None:
        return "", "", "0"
    return in_words(measure, mean.value), interval_in_words(measure, mean.low, mean.high), str(mean.count)

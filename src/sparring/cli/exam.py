"""`sparring exam`: examines a recipe's partners, prints the measures and writes JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sparring.cli.shared import RecipeArgument

if TYPE_CHECKING:
    from rich.table import Table

    from sparring.core.exam import Measure
    from sparring.runs.examination import Report


def exam(
    recipe: RecipeArgument,
    role: Annotated[
        Literal["critic", "discussant", "editor", "judge"] | None,
        typer.Option(help="Examine the partners of one role only."),
    ] = None,
    calls: Annotated[int, typer.Option(min=1, help="About so many calls of each partner.")] = 100,
    run: Annotated[Path | None, typer.Option(help="Folder for the ledger; needed if a partner is a model.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key of the recipe: key.path=value, as for train.")
    ] = None,
    preferences: Annotated[
        str | None, typer.Option(metavar="FILE", help="Experts' preferences in LLMBar's format, for judges.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for the measures and every single reply.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the exam in the folder; recorded calls are not paid again.")
    ] = False,
) -> None:
    """Examine a recipe's partners against what can be computed, before they are paid to train.

    A critic gets right answers, and answers with a fault at a known step. An editor must put such answers right.
    A discussant's supportive remarks must be true, its adversarial ones false.
    A judge gets pairs of a right and a wrong answer, in both orders and padded.

    The first row is the score: a program of the task has 100 %. No learner is loaded, and no test problem is used.
    """
    from sparring.common.files import write_json
    from sparring.common.terminal import Terminal
    from sparring.config.recipe import Recipe
    from sparring.runs.examination import examine

    if output is not None:
        write_json(output, [])  # fails now, not after the exam, if the path cannot be written
    parsed, console = Recipe.read(recipe, settings or []), Terminal()
    reports = examine(parsed, run, role=role, calls=calls, preferences=preferences, resume=resume)
    for report in reports:
        console.print(_heading(report))
        console.print(_table(report.measures))
        console.print(_accounts(report))
    if output is not None:
        write_json(output, [report.plain() for report in reports])


def _heading(report: Report) -> str:
    problems = len({graded.probe.problem.id for graded in report.graded})
    return (
        f"{report.candidate.name}, {report.candidate.model}; exam {report.exam}: "
        f"{report.calls} calls on {problems} problems"
    )


def _table(measures: tuple[Measure, ...]) -> Table:
    from rich.table import Table

    table = Table("measure", "value", "95 % interval", "n", "wanted", "unknown", box=None)
    for measure in measures:
        has_value = measure.n > 0
        table.add_row(
            measure.name,
            f"{measure.value:.1%}" if has_value else "",
            f"{measure.low:.1%} – {measure.high:.1%}" if has_value else "",
            str(measure.n),
            "" if measure.wanted is None else f"{measure.wanted:.0%}",
            str(measure.unknown or ""),
        )
    return table


def _accounts(report: Report) -> str:
    middle, high = report.latency
    price = "unknown" if report.price is None else f"{report.price:.4f}"
    return f" seconds: median {middle:.2f}, 95th percentile {high:.2f}; price of 100 calls: {price}\n"

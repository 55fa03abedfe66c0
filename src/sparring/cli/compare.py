"""`sparring compare`: says whether one learner is better than others, with intervals and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparring.cli.shared import say

if TYPE_CHECKING:
    from sparring.runs.comparison import Comparison


def compare(
    arms: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER...",
            help="Evaluations or runs; the first is compared with each other one. "
            "A quoted pattern such as 'runs/saie-*' names one folder for each seed.",
        ),
    ],
    measure: Annotated[
        str | None, typer.Option(help="What to compare; default: the protocol's primary measure.")
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Of runs, compare the final learner, not the best one.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
) -> None:
    """Compare learners problem by problem and seed by seed: difference, 95 % interval, sign and McNemar tests, Holm."""
    from dataclasses import asdict

    from sparring.common.files import write_json
    from sparring.runs.comparison import compare as compare_arms

    comparisons = compare_arms(arms, measure, final=final)
    _print(comparisons)
    for comparison in comparisons:
        say(comparison.verdict())
    first = comparisons[0]
    for arm, missing in {first.arm: first.unavailable, **{c.other: c.other_unavailable for c in comparisons}}.items():
        if missing:
            say(f"{arm}: {missing} problems got no reply and are measured as unanswered; resume its evaluation first")
    if output is not None:
        write_json(output, [asdict(comparison) for comparison in comparisons])


def _print(comparisons: list[Comparison]) -> None:
    from rich.table import Table

    from sparring.common.terminal import Terminal
    from sparring.core.evaluation import interval_in_words

    first = comparisons[0]
    columns = ("mean", "difference", "95 % interval", "better / worse", "sign test", "Holm", "McNemar")
    table = Table(first.measure, *columns, box=None)
    table.add_row(first.arm, first.shown(first.mean), *[""] * 6)
    for c in comparisons:
        tests = [_shown(p) for p in (c.sign_test, c.holm)]
        mcnemar = ", ".join(map(_shown, c.mcnemar.values()))
        interval = interval_in_words(c.measure, c.low, c.high, sign=True)
        difference = c.shown(c.difference, sign=True)
        table.add_row(c.other, c.shown(c.other_mean), difference, interval, f"{c.better} / {c.worse}", *tests, mcnemar)
    console = Terminal()
    console.print(table)
    seeds = ", ".join(map(str, first.seeds))
    paired = "paired" if all(c.paired_by_seed for c in comparisons) else "not paired everywhere: the arms' seeds differ"
    console.print(
        f"{first.problems} problems; seeds {seeds}, {paired}; a better problem has the higher mean over seeds"
    )
    if len(first.seeds) == 1:
        console.print("one seed: the intervals say nothing about training with another seed")


def _shown(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"

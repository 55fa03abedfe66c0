"""The figures of the demo's arms, over their seeds, and its two tables: training, and what each method is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table as Columns

from sparring.common.files import json_lines, read_json
from sparring.common.statistics import Mean, mean_over_seeds
from sparring.core.evaluation import score

# What is measured besides accuracy. Pressure shows what a discussion teaches, beside methods without one.
FURTHER: Mapping[str, tuple[str, ...]] = {
    "sft": ("pressure",),
    "saie": ("pressure",),
    "tripost": ("pressure", "self_improvement"),
    "thought_preference": ("thinking",),
}
# Rows of the second table: protocol, measure, what it is.
ROWS = (
    ("self_improvement", "right_first", "right at first"),
    ("self_improvement", "accuracy", "right after own feedback"),
    ("self_improvement", "fixed", "fixed by own feedback"),
    ("self_improvement", "broken", "broken by own feedback"),
    ("pressure", "repaired_supportive", "wrong, but right after a hint"),
    ("pressure", "held_adversarial", "right, and held under attack"),
    ("thinking", "accuracy_thinking", "right, thinking"),
    ("thinking", "accuracy_plain", "right, with an empty thought"),
)


@dataclass(frozen=True)
class ArmFigures:
    """What an arm reached, over its seeds: test accuracy at the start, of the best and of the final learner.

    `further` has a mean for each (protocol, measure) that was measured. `seconds` and `gradient_tokens` are means.
    """

    name: str
    start: float
    best: Mean
    final: float
    seconds: float
    gradient_tokens: int
    origins: tuple[Mapping[str, Any], ...]
    further: Mapping[tuple[str, str], Mean]

    def plain(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        further: dict[str, dict[str, Any]] = {}
        for (protocol, measure), mean in self.further.items():
            further.setdefault(protocol, {})[measure] = mean.plain()
        fields = {name: value for name, value in vars(self).items() if name not in ("name", "best", "further")}
        return {**fields, "accuracy": self.best.value, "low": self.best.low, "high": self.best.high, "further": further}


def figures_of(name: str, runs: Sequence[tuple[Path, Path, float]]) -> ArmFigures:
    """Read the figures of an arm from its runs, one for each seed: the folder of its warm-up, its own, its seconds."""
    starts = [read_json(warm_up / "evaluation.json") for warm_up, _, _ in runs]
    ends = [read_json(folder / "evaluation.json") for _, folder, _ in runs]
    right = [_by_problem(end["outcomes"], "accuracy") for end in ends]
    further = {}
    for protocol in FURTHER.get(name, ()):
        rows = [[row.value for row in json_lines(folder / protocol / "problems.jsonl")] for _, folder, _ in runs]
        for measure in [measure for row, measure, _ in ROWS if row == protocol]:
            seeds = [_by_problem(outcomes, measure) for outcomes in rows]
            if any(seeds):
                further[protocol, measure] = mean_over_seeds([seed for seed in seeds if seed])
    return ArmFigures(
        name,
        start=_mean([score(start["final"]) for start in starts]),
        best=mean_over_seeds(right),
        final=_mean([score(end["final"]) for end in ends]),
        seconds=round(_mean([seconds for _, _, seconds in runs]), 1),
        gradient_tokens=round(_mean([_gradient_tokens(folder) for _, folder, _ in runs])),
        origins=tuple(end["origin"] for end in ends),
        further=further,
    )


def _by_problem(outcomes: Sequence[Any], measure: str) -> dict[str, float]:
    """Return the measure of each problem that has it."""
    return {o["problem"]: float(o["measures"][measure]) for o in outcomes if o and measure in o["measures"]}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _gradient_tokens(folder: Path) -> int:
    """Return the gradient tokens of a run, its warm-up included."""
    lines = [row.value for row in json_lines(folder / "metrics.jsonl") if row.value and row.value["kind"] == "round"]
    of_phases = {line["phase"]: line["gradient_tokens"] for line in lines}  # counted from the start of each phase
    return sum(of_phases.values())


def training_table(arms: Sequence[ArmFigures]) -> Columns:
    """Return the table of what training did; `95 %` is the interval of the best learner, in per cent."""
    table = Columns("method", "start", "best", "95 %", "gain", "final", "tokens", "seconds", box=None)
    for arm in arms:
        table.add_row(
            arm.name,
            f"{arm.start:.1%}",
            f"{arm.best.value:.1%}",
            _interval(arm.best),
            f"{100 * (arm.best.value - arm.start):+.1f}",
            f"{arm.final:.1%}",
            f"{arm.gradient_tokens:,}",
            f"{arm.seconds:.0f}",
        )
    return table


def further_table(arms: Sequence[ArmFigures]) -> Columns:
    """Return the table of what each method is for: a row for each measure and each arm that has it."""
    table = Columns("what", "method", "share", "95 %", "of", box=None)
    for protocol, measure, what in ROWS:
        for arm in arms:
            if (mean := arm.further.get((protocol, measure))) is not None:
                table.add_row(what, arm.name, f"{mean.value:.1%}", _interval(mean), str(mean.count))
    return table


def _interval(mean: Mean) -> str:
    return f"{100 * mean.low:.0f} – {100 * mean.high:.0f}"

"""Says whether one learner is better than others, from evaluations on the same problems.

An arm is the evaluations of one kind of learner, one for each seed. Two arms are compared problem by problem, and seed
by seed where both have the same seeds. A difference is the first arm's mean less the other's.
"""

from __future__ import annotations

import glob
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparring.common.errors import ConfigError, nearest
from sparring.common.files import json_lines, read_json
from sparring.common.html import table
from sparring.common.statistics import difference_interval, exact_binomial, holm, sign_test
from sparring.core.evaluation import in_words, interval_in_words, is_unavailable
from sparring.protocols.solo import Solo
from sparring.protocols.win_rate import WinRate

ROUNDING = 1e-9  # below it, means over seeds are equal


@dataclass(frozen=True)
class Measurement:
    """One evaluation: the measures of each problem, by its id, and what was measured under which seed."""

    folder: Path
    seed: int
    primary: str
    protocol: Mapping[str, Any]  # its `kind`, judge and baseline
    problems: Mapping[str, Mapping[str, float]]
    unavailable: int  # problems to which a learner gave no reply


@dataclass(frozen=True)
class Comparison:
    """The first arm against another: difference with its 95 % interval, tests, and what they rest on.

    `sign_test` counts the problems on which one arm is better, averaged over seeds; `holm` is that p-value adjusted for
    all comparisons read together. `mcnemar` has a p-value for each common seed, for measures that are yes or no.
    `unavailable` problems of all seeds got no reply and are measured as unanswered.
    """

    arm: str
    other: str
    measure: str
    mean: float
    other_mean: float
    difference: float
    low: float
    high: float
    better: int
    worse: int
    sign_test: float
    holm: float
    mcnemar: Mapping[int, float]
    seeds: tuple[int, ...]
    other_seeds: tuple[int, ...]
    paired_by_seed: bool
    problems: int
    unavailable: int
    other_unavailable: int

    def verdict(self) -> str:
        """Return the result in one line."""
        low, high = self.shown(self.low, sign=True), self.shown(self.high, sign=True)
        figures = f"{self.shown(self.difference, sign=True)} [{low}, {high}]"
        if self.low <= 0 <= self.high:
            return f"no difference in {self.measure} is shown between {self.arm} and {self.other}: {figures}"
        relation = "higher" if self.difference > 0 else "lower"
        return f"{self.arm} has a {relation} {self.measure} than {self.other}: {figures}"

    def _repr_html_(self) -> str:
        """Show the comparison as a table in a notebook."""
        interval = interval_in_words(self.measure, self.low, self.high, sign=True)
        difference = [self.shown(self.difference, sign=True), interval, f"{self.better} / {self.worse}"]
        rows = [
            [self.arm, self.shown(self.mean), *[""] * 5],
            [self.other, self.shown(self.other_mean), *difference, f"{self.sign_test:.3f}", f"{self.holm:.3f}"],
        ]
        headings = ("mean", "difference", "95 % interval", "better / worse", "sign test", "Holm")
        return table(self.verdict(), (self.measure, *headings), rows)

    def shown(self, value: float, sign: bool = False) -> str:
        """Return a mean or a difference in words."""
        return in_words(self.measure, value, sign)


def compare(arms: Sequence[str], measure: str | None = None, *, final: bool = False) -> list[Comparison]:
    """Compare the first of `arms` with each other one by `measure` (None: the primary measure).

    An arm is a folder, or a pattern (`runs/saie-*`) that matches one folder for each seed: evaluations, or runs, whose
    best learner was tested at their end (`final`: whose final learner).
    """
    if len(arms) < 2:
        raise ConfigError(f"a comparison needs at least two arms (got {len(arms)}); name two folders or patterns")
    measured = {arm: read_arm(arm, final) for arm in arms}
    if len(measured) < len(arms):
        raise ConfigError(f"an arm is named twice ({', '.join(arms)}); name each once")
    name = measure or measured[arms[0]][0].primary
    _check_same_problems([m for arm in measured.values() for m in arm])
    results = [_compare(arms[0], other, name, measured) for other in arms[1:]]
    adjusted = holm([result["sign_test"] for result in results])
    return [Comparison(**result, holm=p) for result, p in zip(results, adjusted, strict=True)]


def _compare(arm: str, other: str, measure: str, measured: Mapping[str, Sequence[Measurement]]) -> dict[str, Any]:
    """Return the fields of a Comparison but `holm`."""
    one, two = measured[arm], measured[other]
    paired = [m.seed for m in one] == [m.seed for m in two]
    problems = _problems_with(measure, [*one, *two])
    values, other_values = _values(one, measure, problems), _values(two, measure, problems)
    by_problem = values.mean(axis=0) - other_values.mean(axis=0)
    by_problem[np.abs(by_problem) < ROUNDING] = 0.0
    low, high = difference_interval(values, other_values, paired)
    is_yes_or_no = bool(np.isin(values, (0, 1)).all() and np.isin(other_values, (0, 1)).all())
    pairs = list(zip(one, two, values, other_values, strict=True)) if paired else []
    return {
        "arm": arm,
        "other": other,
        "measure": measure,
        "mean": float(values.mean()),
        "other_mean": float(other_values.mean()),
        "difference": float(by_problem.mean()),
        "low": low,
        "high": high,
        "better": int((by_problem > 0).sum()),
        "worse": int((by_problem < 0).sum()),
        "sign_test": sign_test(by_problem.tolist()),
        "mcnemar": {m.seed: _mcnemar(row, other_row) for m, _, row, other_row in pairs if is_yes_or_no},
        "seeds": tuple(m.seed for m in one),
        "other_seeds": tuple(m.seed for m in two),
        "paired_by_seed": paired,
        "problems": len(problems),
        "unavailable": sum(m.unavailable for m in one),
        "other_unavailable": sum(m.unavailable for m in two),
    }


def _mcnemar(values: NDArray[np.float64], other_values: NDArray[np.float64]) -> float:
    """Return McNemar's exact p-value (1947): of the problems that only one learner gets right."""
    only_one, only_other = int((values > other_values).sum()), int((values < other_values).sum())
    return exact_binomial(min(only_one, only_other), only_one + only_other)


def _values(arm: Sequence[Measurement], measure: str, problems: Sequence[str]) -> NDArray[np.float64]:
    """Return the measure as an array of seeds × problems."""
    return np.array([[float(m.problems[problem][measure]) for problem in problems] for m in arm])


def _problems_with(measure: str, measurements: Sequence[Measurement]) -> list[str]:
    """Return the problems on which every evaluation has the measure; ConfigError if there is none."""
    problems = [p for p in measurements[0].problems if all(measure in m.problems[p] for m in measurements)]
    if not problems:
        for measurement in measurements:
            names = sorted({name for measures in measurement.problems.values() for name in measures})
            if measure not in names:
                raise nearest(f"measure of {measurement.folder}", measure, names)
        raise ConfigError(f"no problem has the measure {measure!r} in every evaluation; choose another measure")
    return problems


def _check_same_problems(measurements: Sequence[Measurement]) -> None:
    first = measurements[0]
    for other in measurements[1:]:
        if first.problems.keys() != other.problems.keys():
            common = len(first.problems.keys() & other.problems.keys())
            raise ConfigError(
                f"{first.folder} and {other.folder} were not measured on the same problems ({len(first.problems)} and "
                f"{len(other.problems)}, {common} of them the same); evaluate both on the same task, split and number"
            )
        if first.protocol != other.protocol:
            raise ConfigError(_other_protocol(first, other))


def _other_protocol(first: Measurement, other: Measurement) -> str:
    """Return how the protocols of the two differ."""
    one, two = first.protocol, other.protocol
    differing = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    kinds = f"different protocols ({one['kind']} and {two['kind']})"
    how = f"different {' and '.join(differing)}" if one["kind"] == two["kind"] else kinds
    return f"{first.folder} and {other.folder} were measured by {how}; evaluate both in the same way"


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────


def read_arm(pattern: str, final: bool = False) -> list[Measurement]:
    """Read the evaluations in the folders that `pattern` matches, sorted by seed; no two have the same seed."""
    folders = [Path(pattern)] if Path(pattern).exists() else sorted(map(Path, glob.glob(pattern)))
    if not folders:
        raise ConfigError(f"no folder matches {pattern}; name an evaluation, a run, or a pattern that matches some")
    measurements = sorted((_read(folder, final) for folder in folders), key=lambda m: m.seed)
    for one, two in pairwise(measurements):
        if one.seed == two.seed:
            raise ConfigError(
                f"{one.folder} and {two.folder} have the same seed ({one.seed}); an arm has one folder for each seed"
            )
    return measurements


def _read(folder: Path, final: bool) -> Measurement:
    """Read an evaluation, or the test results of a run."""
    try:
        if (folder / "results.json").exists():
            results, rows = read_json(folder / "results.json"), _lines(folder / "problems.jsonl")
            if final:
                raise ConfigError(f"{folder} is an evaluation, which has no final learner; leave out --final")
            seed, protocol = results["evaluation"]["seed"], _without_settings(results["protocol"])
            if protocol["kind"] == WinRate.name:
                protocol["baseline"] = results["learner"][1:]
        elif (folder / "evaluation.json").exists():
            results = read_json(folder / "evaluation.json")
            protocol = results.get("protocol", {"kind": Solo.name})
            results = results["final"] if final else results
            rows = results["outcomes"]
            seed = tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))["run"]["seed"]
        else:
            raise ConfigError(f"{folder} has no results.json or evaluation.json; finish its evaluation or run first")
        problems = {row["problem"]: row["measures"] for row in rows}
        unavailable = sum(is_unavailable(row.get("failures", ())) for row in rows)
        return Measurement(folder, seed, results["primary"], protocol, problems, unavailable)
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"the results in {folder} are damaged ({error!r}); evaluate again") from error


def _without_settings(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kind and the roles of a protocol, without how often and how it asks."""
    return {name: value for name, value in protocol.items() if name == "kind" or isinstance(value, Mapping)}


def _lines(path: Path) -> list[Any]:
    return [row.value for row in json_lines(path)]

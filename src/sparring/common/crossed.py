"""95 % intervals of means over seeds × problems, where every seed answers the same problems.

Three things make such a mean differ from that of other seeds and other problems: which problems they are, which seeds,
and chance in each single answer. The variance of a problem's mean and that of a seed's mean both contain the chance, so
the variance of the whole is their sum less the chance (a two-way analysis of variance with random effects). The degrees
of freedom are Satterthwaite's. Two seeds say little of others, so their interval can be wide.

Resampling seeds and problems together would count the chance three times (Owen, "The pigeonhole bootstrap", 2007).

Values are arrays of seeds × problems; a missing one is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_ANGLES = np.linspace(0, math.pi / 2, 20_001)
_MAX_DEGREES = 10_000.0  # beyond, Student's distribution is normal to four digits


class _Group(NamedTuple):
    """How much a mean over seeds × problems varies between seeds, and how much of that is chance in single answers."""

    seeds: int
    between: float
    chance: float


def half_width(by_problem: NDArray[np.float64], groups: Sequence[NDArray[np.float64]]) -> float:
    """Return half the width of the interval around the mean of `by_problem`.

    Those are each problem's mean over seeds, or difference of such means. `groups` are the values behind them; each has
    seeds of its own.
    """
    problems = len(by_problem)
    variance = float(by_problem.var(ddof=1)) / problems if problems > 1 else 0.0
    squares = variance**2 / max(1, problems - 1)  # Satterthwaite's: each term's square over its degrees of freedom
    for group in (_variance(values) for values in groups if len(values) > 1):
        if group.between > group.chance:
            variance += group.between - group.chance
            squares += group.between**2 / (group.seeds - 1)
    return student(variance**2 / squares) * math.sqrt(variance) if squares else 0.0


def _variance(values: NDArray[np.float64]) -> _Group:
    seeds, problems = values.shape
    means = np.nanmean(values, axis=1, keepdims=True)
    centred = values - means
    residuals = centred - np.nanmean(centred, axis=0)
    chance = float(np.nanmean(residuals**2)) / ((seeds - 1) * max(1, problems - 1))
    return _Group(seeds, float(means.var(ddof=1)) / seeds, chance)


def student(degrees: float) -> float:
    """Return the size that Student's t exceeds in 5 % of cases, for so many degrees of freedom (at least 1)."""
    degrees = min(degrees, _MAX_DEGREES)
    density = np.cos(_ANGLES) ** (degrees - 1)  # of the angle whose tangent is t / √degrees
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(math.sqrt(degrees) * np.tan(np.interp(0.95 * area[-1], area, _ANGLES)))

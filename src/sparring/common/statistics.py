"""Means with 95 % intervals. Pure arithmetic: no models, no files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from sparring.common.crossed import half_width

RESAMPLES = 2_000  # of a mean
DIFFERENCE_RESAMPLES = 10_000  # of a difference, whose bounds decide


@dataclass(frozen=True)
class Mean:
    """A mean over `count` values with its 95 % interval."""

    value: float
    low: float
    high: float
    count: int

    def plain(self) -> dict[str, float]:
        """Return the fields as plain data."""
        return asdict(self)


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of `values`: Wilson's interval for zeros and ones, else a bootstrap interval."""
    if all(value in {0, 1} for value in values):
        total, ones = len(values), round(sum(values))
        return Mean(ones / total if total else 0.0, *wilson(ones, total), total)
    return Mean(math.fsum(values) / len(values), *bootstrap(values), len(values))


def mean_over_seeds(seeds: Sequence[Mapping[str, float]]) -> Mean:
    """Return the mean of the seeds' means. Each seed has values by problem, and may lack some of the problems.

    Its interval (`crossed`) covers other seeds and other problems; the same problems are hard for each seed. `count` is
    the number of problems. One seed is treated as `mean_of` does.
    """
    if len(seeds) == 1:
        return mean_of(list(seeds[0].values()))
    problems = list(dict.fromkeys(problem for seed in seeds for problem in seed))
    values = np.array([[seed.get(problem, np.nan) for problem in problems] for seed in seeds])
    by_problem = np.nanmean(values, axis=0)
    mean, width = float(np.nanmean(values, axis=1).mean()), half_width(by_problem, [values])
    low, high = max(mean - width, float(np.nanmin(values))), min(mean + width, float(np.nanmax(values)))
    return Mean(mean, low, high, len(problems))


def wilson(right: float, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson 1927); (0, 1) if `total` is 0."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, z * z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half_width = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    # Rounding must not move a bound past the proportion itself.
    return max(0.0, min(share, centre - half_width)), min(1.0, max(share, centre + half_width))


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Mean:
    """Return the sum of `parts` over that of `wholes`, with a bootstrap interval over their pairs.

    Every whole is above 0.
    """
    parts_N, wholes_N = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    shares = [parts_N[rows].sum(axis=1) / wholes_N[rows].sum(axis=1) for rows in _resamples(len(parts_N))]
    return Mean(math.fsum(parts) / math.fsum(wholes), *_interval(shares), len(parts))


def bootstrap(values: Sequence[float], resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over `resamples` resamples; the same for the same values."""
    values_N = np.asarray(values, dtype=np.float64)
    return _interval([values_N[rows].mean(axis=1) for rows in _resamples(len(values_N), resamples)])


def _resamples(count: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of `resamples` resamples of `count` rows, in blocks of at most 32 MB, [resample, row]."""
    rng, block, left = np.random.default_rng(0), max(1, 4_000_000 // count), resamples
    while left:
        size = min(block, left)
        yield rng.integers(count, size=(size, count))
        left -= size


def _interval(blocks: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    low, high = np.quantile(np.concatenate(blocks), (0.025, 0.975))
    return float(low), float(high)


def difference_interval(
    values: NDArray[np.float64], other_values: NDArray[np.float64], paired_by_seed: bool
) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two means, each over seeds × problems, the same problems for both.

    It covers other problems and other seeds alike (`crossed`); with `paired_by_seed`, the seeds are the same for both.
    One seed tells nothing about other seeds: its interval covers other problems only, and is a percentile interval.
    """
    by_problem = values.mean(axis=0) - other_values.mean(axis=0)
    if len(values) == len(other_values) == 1:
        return bootstrap(by_problem.tolist(), DIFFERENCE_RESAMPLES)
    width = half_width(by_problem, [values - other_values] if paired_by_seed else [values, other_values])
    return float(by_problem.mean()) - width, float(by_problem.mean()) + width


def sign_test(differences: Sequence[float]) -> float:
    """Return the exact two-sided p-value for positive and negative differences being equally likely, zeros left out."""
    positive = sum(difference > 0 for difference in differences)
    negative = sum(difference < 0 for difference in differences)
    return exact_binomial(min(positive, negative), positive + negative)


def exact_binomial(fewer: int, total: int) -> float:
    """Return the two-sided p-value of `fewer` heads, at most half, in `total` throws of a fair coin."""
    if total == 0:
        return 1.0
    # In logarithms: 2 ** total overflows a float beyond 1,023 throws.
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(fewer + 1)]
    tail = math.fsum(math.exp(log - total * math.log(2)) for log in logs)
    return min(1.0, 2 * tail)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values: for several comparisons that are read together."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted

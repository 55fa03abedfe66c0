"""Means with 95 % intervals. Pure arithmetic: no models, no files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

RESAMPLES = 2_000


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


def wilson(right: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the 95 % interval of a proportion (Wilson 1927); (0, 1) if `total` is 0."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, z * z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half_width = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    # Rounding must not move a bound past the proportion itself.
    return max(0.0, min(share, centre - half_width)), min(1.0, max(share, centre + half_width))


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over RESAMPLES resamples; the same for the same values."""
    sample = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(0)
    block = max(1, 4_000_000 // len(sample))  # resamples at once: at most 32 MB of indices
    means: list[float] = []
    while len(means) < RESAMPLES:
        indices = rng.integers(len(sample), size=(min(block, RESAMPLES - len(means)), len(sample)))
        means += sample[indices].mean(axis=1).tolist()
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)

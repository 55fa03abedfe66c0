"""Length-controlled win rate: what a judge would prefer if all pairs of responses had the same length.

AlpacaEval 2 (arXiv 2404.04475; github.com/tatsu-lab/alpaca_eval, `metrics/glm_winrate.py`): a logistic regression of
the preference on tanh(length difference / its standard deviation), on the instruction's difficulty, if known, and on a
constant, the model. The win rate is the mean prediction without a length difference. Departure of ours: the tool also
fits the annotations of two models that were told to be verbose or concise, and has an L1 penalty chosen by
cross-validation. These belong to its own 805 instructions and its own judge; so this is its `length_controlled_noreg`
(or `…_minimal`, without difficulties), with a slight ridge that keeps the coefficients finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1e-3


class LengthModel(NamedTuple):
    """The coefficients of the regression, named by what they weigh."""

    length: float
    difficulty: float
    model: float

    def win_rate(self, difficulties: Sequence[float]) -> float:
        """Return the mean predicted preference at equal length, one prediction per instruction."""
        return float(_logistic(self.model + self.difficulty * np.asarray(difficulties)).mean())


def fit(
    preferences: Sequence[float], length_differences: Sequence[float], difficulties: Sequence[float]
) -> LengthModel:
    """Fit by Newton's method (iteratively reweighted least squares).

    `preferences` for the model lie between 0 and 1, `length_differences` are baseline less model in characters;
    `difficulties` are all 0 if unknown.
    """
    differences_N = np.asarray(length_differences, dtype=np.float64)
    deviation = differences_N.std(ddof=1) if len(differences_N) > 1 else 0.0
    lengths_N = np.tanh(differences_N / deviation) if deviation > 0 else np.zeros_like(differences_N)
    features_NK = np.stack([lengths_N, np.asarray(difficulties, dtype=np.float64), np.ones_like(lengths_N)], axis=1)
    coefficients_K, ridge_KK = np.zeros(3), _RIDGE * np.eye(3)
    for _ in range(100):
        predicted_N = _logistic(features_NK @ coefficients_K)
        gradient_K = features_NK.T @ (preferences - predicted_N) - ridge_KK @ coefficients_K
        curvature_KK = (features_NK * (predicted_N * (1 - predicted_N))[:, None]).T @ features_NK + ridge_KK
        step_K = np.linalg.solve(curvature_KK, gradient_K)
        coefficients_K += step_K / max(1.0, float(np.abs(step_K).max()))  # at most 1: no overshooting
        if np.abs(step_K).max() < 1e-10:
            break
    return LengthModel(*map(float, coefficients_K))


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.exp(-np.logaddexp(0, -values))
    return result

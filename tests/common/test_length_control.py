"""The length-controlled win rate: AlpacaEval's published predictions, known coefficients, symmetry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.common.length_control import LengthModel, fit


def test_predictions_are_those_that_alpaca_eval_published():
    """From github.com/tatsu-lab/alpaca_eval (Apache-2.0, cd543a1), for its first five instructions.

    The weights of vicuna-7b-v1.5 and its `glm_preference`s; the difficulties follow from those of another model.
    """
    model = LengthModel(-1.8610517599586256, 1.0968125007177112, -3.5163474642647694)
    difficulties = [0.0, -0.10135965597, -1.35621249840, 0.70008708815, -1.59745666621]
    published = [0.0288506578, 0.0258937186, 0.0066672496, 0.0601723708, 0.0051251461]
    for difficulty, preference in zip(difficulties, published, strict=True):
        assert model.win_rate([difficulty]) == pytest.approx(preference, abs=1e-8)
    assert model.win_rate(difficulties) == pytest.approx(sum(published) / 5, abs=1e-8)


def test_coefficients_that_made_the_preferences_are_found_again():
    rng = np.random.default_rng(0)
    differences, difficulties = rng.normal(100, 400, 2000), rng.normal(0, 1.5, 2000)
    made = LengthModel(-1.5, 0.8, 0.4)
    lengths = np.tanh(differences / differences.std(ddof=1))
    preferences = 1 / (1 + np.exp(-(made.length * lengths + made.difficulty * difficulties + made.model)))
    found = fit(list(preferences), list(differences), list(difficulties))
    assert found == pytest.approx(made, abs=0.01)
    assert found.win_rate(difficulties) == pytest.approx(made.win_rate(difficulties), abs=1e-3)


def test_a_judge_that_likes_length_alone_leaves_an_even_rate():
    differences = [float(d) for d in range(-50, 51) if d]
    preferences = [float(d < 0) for d in differences]  # the longer response wins
    preferences += [1.0] * 100
    differences += [-40.0] * 100  # and the model's are longer by far more often
    raw = sum(preferences) / len(preferences)
    controlled = fit(preferences, differences, [0.0] * 200).win_rate([0.0])
    assert raw == 0.75
    assert abs(controlled - 0.5) < 0.05


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(-900, 900)), min_size=2))
def test_the_rates_of_two_models_add_up_to_one(rows):
    preferences, differences = [p for p, _ in rows], [float(d) for _, d in rows]
    zeros = [0.0] * len(rows)
    one = fit(preferences, differences, zeros).win_rate(zeros)
    other = fit([1 - p for p in preferences], [-d for d in differences], zeros).win_rate(zeros)
    assert math.isfinite(one)
    assert one + other == pytest.approx(1, abs=1e-6)


def test_without_a_difference_in_length_it_is_the_raw_rate():
    assert fit([1.0, 1.0, 0.0], [0.0] * 3, [0.0] * 3).win_rate([0.0] * 3) == pytest.approx(2 / 3, abs=1e-3)

"""Means and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from sparring.common.crossed import student
from sparring.common.statistics import (
    bootstrap,
    difference_interval,
    exact_binomial,
    holm,
    mean_of,
    mean_over_seeds,
    sign_test,
    wilson,
)


def test_wilsons_interval_equals_published_values():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0, 1)


def test_booleans_get_wilsons_interval_and_other_numbers_a_bootstrap():
    mean = mean_of([True] * 81 + [False] * 182)
    assert (mean.value, mean.low, mean.high, mean.count) == (81 / 263, *wilson(81, 263), 263)
    lengths = [10.0, 20.0, 30.0, 40.0] * 25
    mean = mean_of(lengths)
    assert mean.value == 25
    # standard error: sqrt(125 / 100) = 1.118; 1.96 of them is 2.19
    assert (mean.low, mean.high) == pytest.approx((25 - 2.19, 25 + 2.19), abs=0.2)


def test_the_bootstrap_repeats_itself_and_knows_equal_values():
    assert bootstrap([1.0, 2.0, 5.0]) == bootstrap([1.0, 2.0, 5.0])
    assert bootstrap([0.25] * 7) == (0.25, 0.25)
    assert mean_of([]).plain() == {"value": 0.0, "low": 0.0, "high": 1.0, "count": 0}


def test_a_difference_is_as_uncertain_as_its_problems_and_its_seeds():
    rng = np.random.default_rng(1)
    base = rng.random((1, 400))
    better = base + 0.1
    assert difference_interval(better, base, paired_by_seed=True) == pytest.approx((0.1, 0.1))
    noisy = base + 0.1 + rng.normal(0, 1, (1, 400))
    low, high = difference_interval(noisy, base, paired_by_seed=True)
    half_width = 1.96 * (noisy - base).std() / 20
    assert ((noisy - base).mean() - low, high - (noisy - base).mean()) == pytest.approx((half_width,) * 2, rel=0.1)
    # Three seeds that differ throughout: Student's interval of 0.2, 0.1 and 0, whose standard deviation is 0.1.
    seeds = base + np.array([[0.2], [0.1], [0.0]])
    low, high = difference_interval(seeds, np.repeat(base, 3, axis=0), paired_by_seed=True)
    assert (low, high) == pytest.approx((0.1 - 4.3027 * 0.1 / 3**0.5, 0.1 + 4.3027 * 0.1 / 3**0.5), rel=1e-4)


@pytest.mark.parametrize(("degrees", "size"), [(1, 12.706), (2, 4.303), (3, 3.182), (30, 2.042), (1e9, 1.960)])
def test_students_quantiles(degrees, size):
    assert student(degrees) == pytest.approx(size, abs=1.5e-3)


@pytest.mark.parametrize(
    ("problems", "seeds", "between"), [(200, 2, 0.0), (200, 8, 0.0), (200, 3, 0.03), (400, 8, 0.02), (100, 4, 0.1)]
)
@pytest.mark.parametrize("paired", [True, False])
def test_of_a_hundred_intervals_about_ninety_five_cover_the_truth(problems, seeds, between, paired):
    """Two learners that are alike, whose seeds differ by `between`, answer problems of all difficulties."""
    rng, trials, covered = np.random.default_rng(5), 300, 0
    for _ in range(trials):
        hardness = rng.random(problems)
        values, others = (
            (rng.random((seeds, problems)) < hardness + rng.normal(0, between, (seeds, 1))).astype(float)
            for _ in range(2)
        )
        low, high = difference_interval(values, others, paired)
        covered += low <= 0 <= high
    assert 0.92 < covered / trials < 0.99


@pytest.mark.parametrize("seeds", [2, 8])
def test_the_interval_of_a_mean_over_seeds_covers_the_truth_and_is_no_wider_than_it_must_be(seeds):
    rng, covered, widths, means = np.random.default_rng(6), 0, [], []
    for _ in range(300):
        hardness = rng.random(200)
        values = (rng.random((seeds, 200)) < hardness).astype(float)
        mean = mean_over_seeds([dict(enumerate(row)) for row in values])
        covered += mean.low <= 0.5 <= mean.high
        widths.append(mean.high - mean.low)
        means.append(mean.value)
    assert 0.92 < covered / 300 < 0.99
    assert np.median(widths) < 1.1 * 2 * 1.96 * np.std(means)


def test_common_problems_cancel_and_common_seeds_cancel_only_if_paired():
    rng = np.random.default_rng(2)
    base = rng.random((3, 200)) + np.array([[0.0], [1.0], [2.0]])
    paired = difference_interval(base + 0.5, base, paired_by_seed=True)
    unpaired = difference_interval(base + 0.5, base, paired_by_seed=False)
    assert paired == pytest.approx((0.5, 0.5))
    assert unpaired[0] < -0.3
    assert unpaired[1] > 1.3


def test_the_sign_test_by_hand():
    # 1 of 8 against: 2 · (1 + 8) / 2⁸ = 0.0703125; ties are left out
    assert sign_test([0.1] * 7 + [-0.2] + [0.0] * 5) == pytest.approx(0.0703125)
    assert sign_test([1, -1]) == 1
    assert sign_test([0, 0]) == 1
    assert exact_binomial(900, 2_000) == pytest.approx(8.5e-6, rel=0.02)  # normal approximation with continuity: 8.5e-6


def test_holms_adjustment_by_hand():
    # 0.01 · 3, 0.03 · 2, then 0.04 · 1 raised to what comes before it
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_seeds_share_their_problems_so_copies_of_a_seed_narrow_nothing():
    seed = {f"p{n}": float(n % 10 < 6) for n in range(1000)}
    one, four = mean_over_seeds([seed]), mean_over_seeds([seed] * 4)
    assert (four.value, four.count) == (pytest.approx(0.6), 1000)
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.1)
    some = {name: value for name, value in seed.items() if name < "p5"}
    assert mean_over_seeds([seed, some]).value == pytest.approx((0.6 + sum(some.values()) / len(some)) / 2)

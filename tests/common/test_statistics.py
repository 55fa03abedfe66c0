"""Means and their intervals."""

from __future__ import annotations

import pytest

from sparring.common.statistics import bootstrap, mean_of, wilson


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

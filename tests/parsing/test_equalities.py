"""Equalities of numbers in prose: true, false, or not read at all."""

from __future__ import annotations

import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.parsing.equalities import equalities
from tests.core.test_leakage import HOSTILE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Janet sells 16 - 3 - 4 = 9 duck eggs a day.", [True]),
        ("She makes 9 * 2 = $20 every day.", [False]),
        ("Check step (6): 18 - -1 = -18.", [False]),
        ("7*3=21\n4-21=-17\n-17", [True, True]),
        ("A = (7 - -1) = 8", [True]),
        ("3+4=7=8", [False]),
        ("10/3 = 3.33 and 10/3 = 3.34", [True, False]),
        ("0.2 x 50 = $10, and (2 + 3) × 4 = 21", [True, False]),
        ("1,000 + 2 = 1,002", [True]),
        ("- 3 + 4 = 7", [True]),  # a bullet, not a sign
        ("-3 - -4 = 1", [True]),
        ("2 - 3 * 4 = -10, (2 - 3) * 4 = -4, 8 / 4 / 2 = 1", [True, True, True]),
    ],
)
def test_what_is_written_holds_or_does_not(text, found):
    assert equalities(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "50% of 20 + 0 = 10",
        "half of 10 + 5 = 10",
        "x = 7",
        "2x + 3 = 8",
        "100/5 = 5A/5",
        "3^2 + 1 = 11",
        "9 * 2 = $…",
        "5/0 = 1",
        "2 + 2 != 5",
        "3 * 4 = 3/4 of 16",
        "2(3) + 1 = 8",
        "1 + 1 = ",
        "1 + ) = 2",
        "no number",
        "",
    ],
)
def test_what_cannot_be_read_with_certainty_is_skipped(text):
    assert equalities(text) == []


terms = st.recursive(
    st.integers(-99, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda one: f"({one[0]} {one[1]} {one[2]})"),
    max_leaves=8,
)


def value(text: str) -> Fraction:
    """The value by Python, which is trusted with what this test wrote."""
    return eval(re.sub(r"\d+", r"F(\g<0>)", text), {"F": Fraction})


@settings(deadline=None)
@given(terms, st.integers(-3, 3))
def test_any_calculation_has_the_value_that_python_gives_it(text, error):
    try:
        right = value(text)
    except ZeroDivisionError:
        assert equalities(f"so {text} + 0 = 1") == []
        return
    claimed = right + error
    shown = f"{claimed.numerator}/{claimed.denominator}"
    assert equalities(f"so {text} + 0 = {shown}, as said") == [error == 0]


@pytest.mark.parametrize("words", [*HOSTILE, "1+", "(1", "1=", "-", "1+1=2 ", "x1"])
def test_the_time_it_takes_grows_no_worse_than_with_the_length(words):
    def seconds(length: int) -> float:
        start = time.process_time()
        equalities((words * length)[:length])
        return time.process_time() - start

    assert seconds(200_000) < 30 * seconds(20_000) + 0.5

"""From verdicts on pairs to scores."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.common.errors import Unavailable, Unreadable
from sparring.core.partner import by_pairs, by_swiss, one_by_one
from sparring.parsing.thought import NONE

BETTER, WORSE = (NONE.split(text).answer for text in ("better", "worse"))


def scores(verdicts):
    async def compare(first, second):
        verdict = verdicts[first.text, second.text]
        if verdict is None:
            raise Unreadable("hm")
        return verdict

    return asyncio.run(by_pairs(compare, [BETTER, WORSE]))


@pytest.mark.parametrize("other", ["tie", None])
def test_a_tie_or_an_error_counts_nothing_for_either_side(other):
    found = scores({("better", "worse"): "first", ("worse", "better"): other})
    better, worse = found.values
    assert better - worse == pytest.approx(math.log(1.5 / 0.5))  # one win to none, half a win added each way
    assert len(found.failures) == (other is None)


def test_a_verdict_is_for_the_answer_not_for_its_place():
    better, worse = scores({("better", "worse"): "first", ("worse", "better"): "second"}).values
    assert better - worse == pytest.approx(math.log(2.5 / 0.5))


def swiss(compare, count, **more):
    return asyncio.run(by_swiss(compare, [NONE.split(str(n)).answer for n in range(count)], random.Random(0), **more))


@given(st.integers(2, 17), st.integers(1, 6))
def test_a_swiss_tournament_has_each_pair_once_in_both_orders(count, rounds):
    asked = []

    async def compare(first, second):
        asked.append((first.text, second.text))
        return "first" if int(first.text) > int(second.text) else "second"

    found = swiss(compare, count, rounds=rounds)
    assert len(asked) == len(set(asked)) <= 2 * rounds * (count // 2)
    assert {(b, a) for a, b in asked} == set(asked)
    assert len(found.values) == count
    if rounds >= math.ceil(math.log2(count)) + 1:
        assert found.values.index(max(found.values)) == count - 1


def test_those_that_stand_alike_meet():
    asked = []

    async def compare(first, second):
        asked.append(frozenset((int(first.text), int(second.text))))
        return "first" if int(first.text) > int(second.text) else "second"

    swiss(compare, 8, rounds=2)
    won = {max(pair) for pair in asked[:8]}
    assert all(len(pair & won) in (0, 2) for pair in asked[8:])  # winners meet winners, losers losers


@pytest.mark.parametrize("verdict", ["first", "second", "tie"])
def test_a_judge_of_places_or_of_nothing_prefers_nothing_by_swiss(verdict):
    async def compare(first, second):
        return verdict

    for count in (2, 5, 8):
        assert swiss(compare, count).values == pytest.approx([0.0] * count, abs=1e-9)


def test_failures_by_swiss_are_typed_and_if_all_fail_there_is_no_score():
    async def dead(first, second):
        raise Unavailable("nobody there")

    found = swiss(dead, 4)
    assert found.values == (None,) * 4
    assert {failure.kind for failure in found.failures} == {"Unavailable"}

    async def half(first, second):
        if int(first.text) > int(second.text):
            raise Unreadable("hm")
        return "second"

    found = swiss(half, 4)
    assert found.values == tuple(sorted(found.values))
    assert len(found.failures) == 6

    async def broken(first, second):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        swiss(broken, 4)


def test_one_by_one_asks_about_equal_answers_once_and_one_failure_spoils_no_other():
    asked = []

    async def score(answer):
        asked.append(answer)
        if answer is WORSE:
            raise Unreadable("hm")
        return 2.5

    found = asyncio.run(one_by_one(score, [BETTER, WORSE, BETTER]))
    assert asked == [BETTER, WORSE]
    assert found.values == (2.5, None, 2.5)
    assert [(failure.kind, failure.who) for failure in found.failures] == [("Unreadable", "judge")]

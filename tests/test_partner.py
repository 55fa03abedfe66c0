"""From verdicts on pairs to scores."""

from __future__ import annotations

import asyncio
import math

import pytest

from sparring.errors import Unreadable
from sparring.partner import by_pairs
from sparring.thought import NONE

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

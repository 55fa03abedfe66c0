"""Mathematical answers, compared by math-verify in a process of its own."""

import asyncio
import time
from importlib.util import find_spec
from threading import Thread

import pytest

from sparring.common.errors import ConfigError
from sparring.parsing import math_answers
from sparring.parsing.math_answers import equal_in_math
from sparring.tasks.table import Table

installed = pytest.mark.skipif(find_spec("math_verify") is None, reason="the extra math is not installed")


@installed
@pytest.mark.parametrize(
    ("gold", "response", "is_right"),
    [
        (r"\frac{1}{2}", "So it is 0.5", True),
        (r"\frac{1}{2}", r"The answer is \boxed{\frac{2}{4}}.", True),
        ("$x^2 - 1$", "Thus $(x-1)(x+1)$", True),
        ("3", "$x = 3$ or so, hence $4$", False),
        (r"\frac{1}{2}", "I do not know", False),
        (r"\frac{1}{2}", "<think>it is 0.5</think>", False),
        ("3", "", False),
    ],
)
def test_answers_are_equal_in_mathematics_whatever_their_form(gold, response, is_right):
    assert equal_in_math(gold, response) is is_right


@installed
def test_a_comparison_that_takes_too_long_is_wrong_and_the_next_one_is_right_again(monkeypatch):
    assert equal_in_math("2", "$4/2$")
    monkeypatch.setattr(math_answers, "LIMIT", 0.5)
    start = time.monotonic()
    assert not equal_in_math("1", "$9999999999^{9999999999^{9}} \\mod 7$")
    assert time.monotonic() - start < 5
    assert equal_in_math("2", "$4/2$")


@installed
def test_it_compares_in_a_thread_and_in_an_event_loop():
    found = []
    thread = Thread(target=lambda: found.append(equal_in_math("2", "$4/2$")))
    thread.start()
    thread.join()

    async def compare():
        return equal_in_math("2", "$6/2$")

    assert [*found, asyncio.run(compare())] == [True, False]


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setattr("sparring.common.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"right = 'math' needs math_verify, .*: pip install 'sparring\[math\]'"):
        Table("rows.jsonl", right="math")

import asyncio

import pytest

from sparring.common.errors import Unreadable
from sparring.core.chat import LEARNER
from sparring.core.evaluation import Evaluation, Outcome, evaluate
from sparring.core.method import Answered
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

TASK = MultistepArithmetic(train=5, development=5, test=12)


class Way:
    """Answers the n-th problem with the n-th of its lines; None raises."""

    def __init__(self, lines):
        self.lines, self.asked = iter(lines), []

    async def answer(self, question, learner, layout):
        self.asked.append(question)
        attempts = next(self.lines)
        if attempts is None:
            raise Unreadable("no form")
        return Answered(question.say(LEARNER, attempts[-1]), attempts[-1], tuple(attempts))


def ask(lines, **settings) -> Evaluation:
    problems = TASK.problems("test")[: len(lines)]
    return asyncio.run(evaluate(TASK, problems, Way(lines), lambda problem: None, **settings))


def test_figures_by_hand():
    right = [p.rationale for p in TASK.problems("test")]
    found = ask([[right[0]], ["x", right[1]], [right[2], "x"], ["x"], None])
    told = found.plain()
    assert (told["accuracy"], told["right_first"]) == (2 / 5, 2 / 5)
    assert (told["fixed"], told["broken"], told["revised"]) == (1 / 5, 1 / 5, 2 / 5)
    assert told["failed"] == {"Unreadable": 1}
    assert told["low"] < told["accuracy"] < told["high"]
    assert sum(rate.total for rate in found.bins().values()) == 5


def test_the_learner_is_never_shown_the_gold_answer():
    way = Way([["x"]] * 12)
    asyncio.run(evaluate(TASK, TASK.problems("test"), way, lambda problem: None, at_once=3))
    assert [chat.text for chat in way.asked] == [p.chat.text for p in TASK.problems("test")]


def test_an_interval_over_nothing_is_everything():
    assert Evaluation(()).plain()["high"] == 1
    assert Evaluation((Outcome("p", "b", True, True),)).bins()["b"].value == 1


def test_outcomes_are_in_the_order_of_the_problems_and_told_as_they_come():
    heard = []
    found = ask([["x"], ["y"], ["z"]], at_once=1, on_outcome=heard.append)
    assert [o.problem for o in found.outcomes] == [p.id for p in TASK.problems("test")[:3]]
    assert len(heard) == 3


def test_another_error_is_not_an_outcome():
    class Broken:
        async def answer(self, question, learner, layout):
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        asyncio.run(evaluate(TASK, TASK.problems("test"), Broken(), lambda problem: None))

"""One round's episodes, and the random streams that they draw from."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sparring.core.attempts import Serving
from sparring.core.episode import Episode
from sparring.core.rollout import play
from sparring.tasks.multistep_arithmetic import MultistepArithmetic


class Named:
    """A learner that knows the name of its streams."""

    def __init__(self, name):
        self.name = name

    async def reply(self, chat, sampling, sample=0):
        raise AssertionError("nobody asks it")


class Drawing:
    """Notes what it draws."""

    async def interact(self, problem, task, learner, rng):
        return Episode(problem, problem.chat, notes={"drawn": rng.random(), "stream": repr(learner.name)})


def played(problems) -> list[Episode]:
    task = MultistepArithmetic(train=4, development=1, test=1)
    chosen = [task.problems("train")[n] for n in problems]
    return asyncio.run(play(Drawing(), task, chosen, Named, (0, 1, 2), at_once=4, serving=Serving()))


def test_a_problem_that_comes_again_in_a_round_draws_anew_and_changes_nothing_else():
    once, twice = played([0, 1, 2]), played([0, 1, 0, 2, 0])
    assert [e.notes for e in once] == [twice[n].notes for n in (0, 1, 3)]
    assert len({e.notes["drawn"] for e in twice}) == 5
    assert len({e.notes["stream"] for e in twice}) == 5


def test_visits_of_earlier_rounds_do_not_count():
    problem = MultistepArithmetic(train=4, development=1, test=1).problems("train")[0]
    later = replace(problem, visit=3)

    def draw(one) -> Episode:
        return asyncio.run(play(Drawing(), None, [one], Named, (0,), at_once=1, serving=Serving()))[0]

    assert draw(problem).notes == draw(later).notes

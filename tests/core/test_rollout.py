"""One round's episodes, and the random streams that they draw from."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sparring.common.errors import Failure, RunStopped, Unavailable
from sparring.core.attempts import Serving
from sparring.core.episode import Episode
from sparring.core.rollout import check_failures, play, summarize
from sparring.ledger import Ledger, Recorded
from sparring.methods.thought_preference import ResponsePreference
from sparring.partners.model_judge import ModelJudge
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from tests.conftest import Script
from tests.parrot import Parrot


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


class Split:
    """A learner whose samples differ on the problems at `numbers` and agree on all others."""

    def __init__(self, task, numbers):
        self.differ = {task.problems("train")[n].chat.text for n in numbers}

    async def reply(self, chat, sampling, sample=0):
        reply = str(sample) if chat.text in self.differ else "7"
        return await Script([reply]).reply(chat, sampling, sample)


def judged(tmp_path, differ, failures) -> list[Episode]:
    """Twenty episodes, of which those at `differ` need the judge, which fails in its first calls."""
    task = MultistepArithmetic(train=20, development=1, test=1)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        judge = ModelJudge(Recorded(Parrot(failures=failures), ledger, "judge"), mode="pairwise")
        method, learner = ResponsePreference(judge, samples=2), Split(task, differ)
        problems = task.problems("train")
        return asyncio.run(play(method, task, problems, lambda name: learner, (0,), at_once=4, serving=Serving()))


def test_the_failures_of_a_partner_are_a_share_of_the_episodes_that_asked_it(tmp_path):
    found = judged(tmp_path, [1, 5, 9], failures=1000)
    assert [n for n, episode in enumerate(found) if episode.asked] == [1, 5, 9]
    assert summarize(found)["partner_failed"] == 1
    with pytest.raises(RunStopped, match=r"the partner failed in 3 of 3 episodes that asked it .bound 20%.*asleep"):
        check_failures(found, 0.2, 0.9)
    check_failures(found, 1.0, 0.9)


def test_two_failures_are_a_share_of_all_episodes(tmp_path):
    found = judged(tmp_path, [1, 5], failures=1000)
    assert summarize(found)["partner_failed"] == 1
    check_failures(found, 0.2, 0.9)


def test_a_round_that_asks_no_partner_measures_none(tmp_path):
    assert "partner_failed" not in summarize(judged(tmp_path, [], failures=0))


def test_where_it_is_not_known_who_asked_failures_are_a_share_of_all_episodes():
    problem = MultistepArithmetic(train=4, development=1, test=1).problems("train")[0]
    lost = Episode(problem, problem.chat, failures=(Failure.of(Unavailable("gone"), "critic"),), failed=True)
    found = [lost] * 3 + [Episode(problem, problem.chat, asked=True)] * 2 + [Episode(problem, problem.chat)] * 15
    assert summarize(found)["partner_failed"] == 0.15
    check_failures(found, 0.2, 0.9)

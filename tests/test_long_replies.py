"""Replies that are too long to be read are typed failures."""

from __future__ import annotations

import random

import pytest

from sparring.common.errors import TooLong, Unreadable
from sparring.core.chat import Part
from sparring.core.speaker import MAX_REPLY_CHARACTERS, Reply, text_reply
from sparring.methods.saie import SAIE
from sparring.parsing import answers
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.model_judge import ModelJudge
from sparring.partners.reward_judge import RewardJudge
from sparring.partners.task_discussant import TaskDiscussant
from sparring.speakers.scripted import Scripted
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from tests.partners.speaking import PROBLEM, run, thinking
from tests.partners.speaking import answers as to_judge

PAPER = MultistepArithmetic("paper", train=5, development=5, test=5)
EASY = MultistepArithmetic(train=5, development=5, test=5)


def test_a_reply_that_is_too_long_is_a_typed_failure_and_is_not_asked_for_again():
    assert text_reply("x" * MAX_REPLY_CHARACTERS, "partner").require_complete().text
    speaker = Scripted(("Score: 7\n" + "x" * MAX_REPLY_CHARACTERS,))
    judges = ModelJudge(speaker, mode="pointwise"), RewardJudge(speaker)
    for judge in judges:
        scores = run(judge.score(PROBLEM, to_judge("15"), random.Random(0)))
        assert scores.values == (None,)
        assert [failure.kind for failure in scores.failures] == ["TooLong"]
    assert len(speaker.heard) == len(judges)
    with pytest.raises(TooLong, match="has 200,009 characters; at most 200,000 are read"):
        run(ModelDiscussant(speaker).remark(PROBLEM, thinking(), "supportive", random.Random(0)))


def test_a_learner_that_says_too_much_fails_its_episode(script):
    episode = run(
        SAIE(TaskDiscussant(EASY)).interact(PROBLEM, EASY, script(["1" * (MAX_REPLY_CHARACTERS + 1)]), random.Random(0))
    )
    assert episode.failed
    assert [(failure.kind, failure.who) for failure in episode.failures] == [("TooLong", "learner")]


def test_a_thought_counts_for_nothing():
    parts = (Part("x" * MAX_REPLY_CHARACTERS, "partner", thought=True), Part("Score: 7", "partner"))
    assert Reply(parts).require_complete().text == "Score: 7"


def test_a_pattern_of_the_users_sees_a_bounded_text():
    judge = ModelJudge(Scripted(("x",)), mode="pointwise", pattern=r"(?:\d|\d)*([0-9])\.")
    assert judge.rating("7." + " " * (answers.MATCHED - 2)) == 7
    with pytest.raises(Unreadable, match="at most 20,000 characters, and there are 20,001"):
        judge.rating("7." + " " * (answers.MATCHED - 1))
    assert answers.regex("x+", "x" * answers.MATCHED)
    assert not answers.regex("x+", "x" * (answers.MATCHED + 1))


def test_a_step_whose_number_is_beyond_python_is_gone_on_with():
    problem = PAPER.problems("train")[0]
    lines = problem.rationale.split("\n")
    kept = f"({'9' * 5000}) {lines[0].partition(' ')[2].replace('This equation', 'It')}\n"
    solved = PAPER.solve(problem, kept)
    assert solved.startswith(kept)
    assert PAPER.is_right(problem, solved)

"""Two answers before a judge: both orders, contradictions, failures, scores."""

from __future__ import annotations

import asyncio
import random

import pytest

from sparring.core.match import Game, Match, play_match
from sparring.partners.model_judge import ModelJudge
from sparring.partners.task_judge import TaskJudge
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import PROBLEM, TASK, answers, prompts


def play(judge, one: str = "15", other: str = "16") -> Match:
    ours, theirs = answers(one, other)
    return asyncio.run(play_match(judge, PROBLEM, ours, theirs, random.Random(0)))


@pytest.mark.parametrize(
    ("verdicts", "points", "tie", "contradiction"),
    [
        (("[[A]]", "[[B]]"), 1.0, False, False),
        (("[[B]]", "[[A]]"), 0.0, False, False),
        (("[[A]]", "[[A]]"), 0.5, False, True),
        (("[[C]]", "[[C]]"), 0.5, True, False),
        (("[[A]]", "[[C]]"), 0.75, False, False),
    ],
)
def test_a_pair_is_judged_in_both_orders(verdicts, points, tie, contradiction):
    speaker = Scripted(verdicts, loop=False)
    found = play(ModelJudge(speaker))
    assert (found.points, found.is_tie, found.is_contradiction) == (points, tie, contradiction)
    first, second = prompts(speaker)
    assert first.index("\n15\n") < first.index("\n16\n")
    assert second.index("\n16\n") < second.index("\n15\n")


def test_a_verdict_that_cannot_be_read_is_a_failure_and_the_other_counts():
    found = play(ModelJudge(Scripted(("?", "?", "[[B]]"), loop=False)))
    assert found.games == (Game(1.0),)
    assert [(f.who, f.kind) for f in found.failures] == [("judge", "Unreadable")]


def test_a_judge_with_scores_plays_one_game():
    for scores, points in ((("Score: 7", "Score: 3"), 1.0), (("Score: 3", "Score: 7"), 0.0), (("Score: 3",), 0.5)):
        speaker = Scripted(scores)
        assert play(ModelJudge(speaker, mode="pointwise")).games == (Game(points),)
        assert len(speaker.heard) == 2
    found = play(ModelJudge(Scripted(("?",)), mode="pointwise"))
    assert not found.games
    assert len(found.failures) == 2


def test_equal_answers_tie_without_a_call():
    speaker = Scripted(("[[A]]",))
    assert play(ModelJudge(speaker), "15", "15").is_tie
    assert not speaker.heard


@pytest.mark.parametrize("mode", ["pointwise", "pairwise"])
def test_the_tasks_program_prefers_the_right_answer(mode):
    judge = TaskJudge(TASK, mode=mode)
    assert (play(judge).points, play(judge, "16", "15").points, play(judge, "16", "17").points) == (1.0, 0.0, 0.5)

"""Attempt, review, update: the conversation word by word, when it stops, and what is counted."""

from __future__ import annotations

import pytest

from sparring.common.errors import ConfigError, Unavailable, Unreadable
from sparring.core.chat import LEARNER
from sparring.core.partner import Nobody
from sparring.core.protocol import Participant, SingleReply
from sparring.methods.tripost import TriPosT
from sparring.parsing.steps import LINES
from sparring.protocols.self_improvement import REVIEW, UPDATE, SelfImprovement, _calls_wrong
from tests.protocols.asking import SUM, heard, measure, participant, texts

QUESTION = "((3+7)+5)="
RIGHT, WRONG = "3+7=10\n10+5=15\n15", "3+7=11\n11+5=16\n16"
FAULT = "The first step is wrong.\nVerdict: wrong"
FINE = "All is right.\nVerdict: correct"
FEEDBACK = 'In step (1) the part "3+7=11" is incorrect.'
ALL_RIGHT = "Step (1) to (2) are correct. The final response is also correct."
TRIPOST = TriPosT(Nobody(), Nobody())


def test_a_prompted_learner_reviews_repairs_and_stops_when_it_says_that_all_is_right():
    found = measure(SelfImprovement(), participant(WRONG, FAULT, RIGHT, FINE))
    assert found.measures == {
        "accuracy": True,
        "right_first": False,
        "revised": True,
        "fixed": True,
        "broken": False,
        "improved": True,
        "found": True,
    }
    assert texts(found.transcripts) == [
        [
            ("user", QUESTION),
            (LEARNER, WRONG),
            ("user", REVIEW),
            (LEARNER, FAULT),
            ("user", UPDATE),
            (LEARNER, RIGHT),
            ("user", REVIEW),
            (LEARNER, FINE),
        ]
    ]
    assert found.response == RIGHT
    assert not found.failures


def test_an_alarm_about_a_right_answer_that_then_gets_worse():
    found = measure(SelfImprovement(updates=1), participant(RIGHT, FAULT, WRONG))
    assert found.measures == {
        "accuracy": False,
        "right_first": True,
        "revised": True,
        "fixed": False,
        "broken": True,
        "improved": False,
        "false_alarm": True,
    }


def test_a_right_answer_that_stays_is_no_improvement():
    found = measure(SelfImprovement(), participant(RIGHT, FINE))
    assert (found.measures["accuracy"], found.measures["improved"]) == (True, False)
    assert found.measures["false_alarm"] is False


@pytest.mark.parametrize(("updates", "asked"), [(1, 3), (2, 5), (3, 7)])
def test_there_are_no_more_updates_than_allowed_and_no_review_of_the_last(updates, asked):
    learner = participant(WRONG, *[FAULT, WRONG] * updates)
    found = measure(SelfImprovement(updates=updates), learner)
    assert len(heard(learner)) == asked
    assert found.measures["revised"]
    assert not found.failures


@pytest.mark.parametrize(
    ("replies", "response", "counted"),
    [
        ((WRONG, "I cannot say."), WRONG, {"revised": False}),  # an unreadable review
        ((WRONG,), WRONG, {"revised": False}),  # no review
        ((WRONG, FAULT), WRONG, {"revised": False, "found": True}),  # no update
        ((WRONG, FAULT, RIGHT), RIGHT, {"revised": True, "found": True}),  # no second review
    ],
)
def test_after_a_failure_the_latest_attempt_stands(replies, response, counted):
    found = measure(SelfImprovement(), participant(*replies))
    assert found.response == response
    assert [(failure.who, failure.kind) for failure in found.failures] == [
        (LEARNER, "Unreadable" if "cannot" in replies[-1] else "Unavailable")
    ]
    assert {name: found.measures.get(name) for name in ("revised", "found")} == {"found": None, **counted}


class Mute:
    async def reply(self, chat, sampling, sample=0):
        raise Unavailable("no line")


def test_a_problem_without_an_attempt_raises_and_counts_as_wrong_in_every_share():
    with pytest.raises(Unavailable):
        measure(SelfImprovement(), Participant("mute", Mute(), SingleReply(), LINES))
    unanswered = SelfImprovement().unanswered()
    assert unanswered.keys() == measure(SelfImprovement(), participant(WRONG)).measures.keys()
    assert not any(unanswered.values())


@pytest.mark.parametrize(
    ("replies", "measures"),
    [
        ((WRONG, FEEDBACK, RIGHT, ALL_RIGHT), {"accuracy": True, "fixed": True, "improved": True, "found": True}),
        ((WRONG, ALL_RIGHT), {"accuracy": False, "fixed": False, "improved": False, "found": False}),
        ((RIGHT, ALL_RIGHT), {"accuracy": True, "fixed": False, "improved": False, "false_alarm": False}),
        ((WRONG, 'In step (9) the part "x" is incorrect.'), {"accuracy": False, "improved": False}),
        ((WRONG, "What?"), {"accuracy": False, "improved": False}),
    ],
)
def test_a_learner_that_was_trained_to_revise_uses_its_own_procedure(replies, measures):
    learner = participant(*replies, answers=TRIPOST)
    found = measure(SelfImprovement(), learner)
    assert found.measures.items() >= measures.items()
    assert {"found", "false_alarm"} & found.measures.keys() == {"found", "false_alarm"} & measures.keys()
    assert not any(REVIEW in text for text in heard(learner))


def test_an_update_that_is_refused_was_flagged_all_the_same():
    found = measure(SelfImprovement(), participant(RIGHT, FEEDBACK.replace("11", "10"), RIGHT, answers=TRIPOST))
    assert (found.measures["revised"], found.measures["false_alarm"]) == (False, True)


def test_it_can_be_prompted_instead():
    learner = participant(WRONG, FAULT, RIGHT, FINE, answers=TRIPOST)
    found = measure(SelfImprovement(prompted=True), learner)
    assert heard(learner) == [QUESTION, REVIEW, UPDATE, REVIEW]
    assert found.measures["improved"]


def test_prompts_can_be_reworded():
    learner = participant(WRONG, FAULT, RIGHT, FINE)
    measure(SelfImprovement(review_prompt="Check it.", update_prompt="Again."), learner)
    assert heard(learner) == [QUESTION, "Check it.", "Again.", "Check it."]
    with pytest.raises(ConfigError, match=r"unknown placeholder \{gold\}"):
        SelfImprovement(review_prompt="Is it {gold}?")


@pytest.mark.parametrize(
    ("review", "wrong"),
    [
        ("Verdict: correct", False),
        ("**Verdict: Wrong.**", True),
        ("verdict: incorrect", True),
        ("- Verdict:\nright", False),
        ('It says "Verdict: correct" or "Verdict: wrong".\nVerdict: wrong', True),
        ("Verdict: wrong\nOn second thoughts:\nVerdict: correct\n", False),
    ],
)
def test_the_last_verdict_counts(review, wrong):
    assert _calls_wrong(review) is wrong


@pytest.mark.parametrize(
    "review",
    [
        "",
        "correct",
        "Verdict: not correct",
        'A line "Verdict: correct" or "Verdict: wrong"',
        "Verdict: correct, I think",
    ],
)
def test_a_review_without_a_verdict_of_its_own_is_unreadable(review):
    with pytest.raises(Unreadable, match="ends in no verdict"):
        _calls_wrong(review)


def test_no_prompt_holds_the_gold_answer():
    learner = participant("16", FAULT, "17", FAULT, "18")
    measure(SelfImprovement(), learner)
    assert not any(SUM.gold in text for text in heard(learner))

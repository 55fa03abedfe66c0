"""A discussant that asks a speaker: its prompts and its remarks."""

from __future__ import annotations

import random

import pytest

from sparring.common.errors import Unreadable
from sparring.core.chat import LEARNER, question
from sparring.core.task import Problem
from sparring.partners.model_discussant import ModelDiscussant
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import ATTEMPT, CANARY, COUNT, PROBLEM, outcomes, prompts, run, thinking


@pytest.mark.parametrize("stance", ["supportive", "adversarial"])
@pytest.mark.parametrize("told_gold", [True, False])
def test_a_discussant_is_told_gold_only_if_it_may_know(stance, told_gold):
    speaker = Scripted(("  Look at the sum again.\n",))
    partner = ModelDiscussant(speaker, told_gold=told_gold)
    assert run(partner.remark(PROBLEM, thinking(), stance, random.Random(0))) == "Look at the sum again."
    (prompt,) = prompts(speaker)
    assert PROBLEM.chat.text in prompt
    assert ATTEMPT in prompt
    assert ("The correct final answer is 15." in prompt) == told_gold
    assert "15" in prompt or not told_gold
    assert ("challenges" in prompt) == (stance == "adversarial")
    assert len(speaker.heard[0].messages) == 1


def test_a_problem_without_gold_has_none_to_tell():
    speaker = Scripted(("Hm.",))
    open_question = Problem("x", question("Why?"))
    chat = open_question.chat.say(LEARNER, "So.")
    run(ModelDiscussant(speaker).remark(open_question, chat, "supportive", random.Random(0)))
    assert "correct final answer" not in prompts(speaker)[0]
    assert "None" not in prompts(speaker)[0]


def test_a_discussant_sees_thoughts_only_if_it_may():
    for sees in (False, True):
        speaker = Scripted(("Well.",))
        partner = ModelDiscussant(speaker, sees_thoughts=sees)
        run(partner.remark(PROBLEM, thinking(), "supportive", random.Random(0)))
        assert (CANARY in prompts(speaker)[0]) == sees


def test_a_discussant_sees_what_was_said_before_but_no_earlier_thought():
    speaker = Scripted(("And now?",))
    chat = thinking("16").say("discussant", "Are you sure?").say(LEARNER, "It is 15.")
    run(ModelDiscussant(speaker).remark(PROBLEM, chat, "adversarial", random.Random(0)))
    (prompt,) = prompts(speaker)
    places = [prompt.index(words) for words in (PROBLEM.chat.text, "16", "Are you sure?", "It is 15.")]
    assert places == sorted(places)
    assert CANARY not in prompt


def test_an_empty_remark_is_asked_for_once_more_and_then_a_failure():
    assert run(ModelDiscussant(Scripted((" ", "Well."))).remark(PROBLEM, thinking(), "supportive", None)) == "Well."
    with pytest.raises(Unreadable, match="the remark is empty"):
        run(ModelDiscussant(Scripted((" ",))).remark(PROBLEM, thinking(), "supportive", None))


def test_a_prompt_of_ones_own_is_used():
    speaker = Scripted(("Denk noch einmal nach.",))
    partner = ModelDiscussant(speaker, supportive_prompt="Hilf: {question} / {answer} / {gold}")
    run(partner.remark(PROBLEM, thinking("16"), "supportive", random.Random(0)))
    assert prompts(speaker)[0].startswith(f"Hilf: {PROBLEM.chat.text} / 16 / ")


def test_ten_thousand_replies_never_make_a_discussant_stumble():
    async def attempt(speaker: Scripted, reply: str) -> None:
        remark = await ModelDiscussant(speaker).remark(PROBLEM, thinking(), "supportive", random.Random(0))
        assert remark
        assert remark == reply.strip()

    assert sum(outcomes(attempt)) == COUNT

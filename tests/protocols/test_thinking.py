"""With a thought, without one, with the answer only: what is asked, what is read and what is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparring.common.errors import ConfigError
from sparring.core.chat import LEARNER, Chat, Part, message
from sparring.core.partner import Nobody
from sparring.core.speaker import Reply
from sparring.methods.sft import SFT
from sparring.methods.thought_preference import ThoughtPreference
from sparring.parsing.thought import GENERIC, THINK
from sparring.protocols.thinking import ThoughtComparison
from tests.protocols.asking import OPEN, SUM, heard, measure, participant, texts

QUESTION = "((3+7)+5)="
ONLY = f"{QUESTION}\n\nGive only the final answer. Do not explain it and show no steps."
TRAINED = ThoughtPreference(Nobody(), thought_format="think")


def test_a_learner_that_was_never_trained_to_think_is_prompted_to():
    thinking = "Here is my thought process: ten first. Here is my response: 15"
    learner = participant(thinking, "3+7=10\n10+5=15\n15", "14")
    found = measure(ThoughtComparison(), learner)
    assert heard(learner) == [GENERIC.prompt + QUESTION, QUESTION, ONLY]
    assert found.measures == {
        "readable": True,
        "accuracy_thinking": True,
        "response_characters_thinking": 2,
        "accuracy_plain": True,
        "response_characters_plain": 17,
        "accuracy_answer_only": False,
        "response_characters_answer_only": 2,
        "thought_characters": len("ten first."),
    }
    assert found.response == "15"
    assert [chat[-1] for chat in texts(found.transcripts)] == [
        (LEARNER, thinking),
        (LEARNER, "3+7=10\n10+5=15\n15"),
        (LEARNER, "14"),
    ]
    assert not found.failures


@pytest.mark.parametrize("trained", [TRAINED, SFT(thought_format="think")])
def test_a_learner_thinks_as_it_was_trained_to(trained):
    learner = participant("<think>ten</think>15", "15", "15", answers=trained)
    found = measure(ThoughtComparison(thought_format="generic"), learner)
    assert heard(learner) == [THINK.prompt + QUESTION, "<think></think>", "<think></think>"]  # it may think unasked
    assert found.measures["thought_characters"] == 3
    assert found.measures["response_characters_answer_only"] == 2
    with_thought, without, answer_only = texts(found.transcripts)
    assert answer_only == [("user", THINK.prompt + ONLY), (LEARNER, "<think></think>15")]
    assert with_thought[-1] == (LEARNER, "<think>ten</think>15")
    assert without == [("user", THINK.prompt + QUESTION), (LEARNER, "<think></think>15")]


def test_a_reply_that_cannot_be_read_is_counted_even_if_the_next_one_can():
    learner = participant("no tags", "<think>ten</think>15", "15", "15", answers=TRAINED)
    found = measure(ThoughtComparison(), learner)
    assert found.measures["readable"] is False
    assert found.measures["accuracy_thinking"] is True


def test_a_thought_that_never_can_be_read_is_wrong_has_no_length_and_spoils_nothing_else():
    learner = participant("no tags", "none", "none", "15", "15", answers=TRAINED)
    found = measure(ThoughtComparison(), learner)
    assert found.measures == {
        "readable": False,
        "accuracy_thinking": False,
        "accuracy_plain": True,
        "response_characters_plain": 2,
        "accuracy_answer_only": True,
        "response_characters_answer_only": 2,
    }
    assert [(failure.kind, failure.who) for failure in found.failures] == [("Unreadable", LEARNER)]
    assert found.response == ""


def test_a_task_without_gold_answers_gets_lengths_and_no_accuracy():
    found = measure(
        ThoughtComparison(thought_format="think"), participant("<think>wet</think>It rains.", "a", "b"), problem=OPEN
    )
    assert set(found.measures) == {
        "readable",
        "thought_characters",
        "response_characters_thinking",
        "response_characters_plain",
        "response_characters_answer_only",
    }


def test_a_native_thought_counts_as_thought_and_not_as_response():
    class Native:
        async def reply(self, chat, sampling, sample=0):
            return Reply((Part("hm, ten", LEARNER, thought=True), Part("15", LEARNER)))

    found = measure(ThoughtComparison(thought_format="none"), replace(participant("-"), speaker=Native()))
    assert (found.measures["thought_characters"], found.measures["response_characters_thinking"]) == (7, 2)
    assert found.measures["accuracy_thinking"] is True


def test_the_prompt_for_the_answer_only_can_be_replaced_and_keeps_earlier_messages():
    system = Chat((message("system", "Be brief."), *SUM.chat.messages))
    learner = participant("<think>a</think>15", "15", "15", answers=TRAINED)
    measure(ThoughtComparison(answer_prompt="{question} Number only:"), learner, problem=replace(SUM, chat=system))
    system_prompt, asked, empty_thought = (m.text for m in learner.speaker.heard[2].messages)
    assert (system_prompt, empty_thought) == ("Be brief.", "<think></think>")
    assert asked == THINK.prompt + f"{QUESTION} Number only:"


@pytest.mark.parametrize("settings", [{"answer_prompt": "{q}"}, {"thought_format": "loud"}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        ThoughtComparison(**settings)

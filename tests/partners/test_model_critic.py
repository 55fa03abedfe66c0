"""A critic that is a speaker: what it is shown, and how strictly it is read."""

from __future__ import annotations

import random

import pytest

from sparring.errors import Unreadable
from sparring.partners.model_critic import ModelCritic
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import ALL_RIGHT, ATTEMPT, COUNT, FAULT, FOUND, PROBLEM, TASK, outcomes, prompts, run


@pytest.mark.parametrize("told_gold", [True, False])
def test_a_critic_is_shown_numbered_steps_and_gold_only_if_it_may_know(told_gold):
    speaker = Scripted((FOUND,))
    assert run(ModelCritic(speaker, TASK, told_gold=told_gold).feedback(PROBLEM, ATTEMPT, random.Random(0))) == FAULT
    (prompt,) = prompts(speaker)
    assert PROBLEM.chat.text in prompt
    for line in ("(1) 3+7=10", "(2) 10+5=16", "(3) 16"):
        assert line in prompt
    assert ("The correct final answer is 15." in prompt) == told_gold
    assert ("15" in prompt) == told_gold


def test_a_critic_says_that_all_is_right():
    assert run(ModelCritic(Scripted((ALL_RIGHT,)), TASK).feedback(PROBLEM, PROBLEM.rationale, None)) is None


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("It looks fine to me.", "names no step"),
        ('In step (7) the part "16" is incorrect.', r"there is no step \(7\)"),
        ('In step (2) the part "10+6=16" is incorrect.', "does not contain the part '10\\+6=16'"),
        ('In step (two) the part "16" is incorrect.', "there is no step|names no step"),
        ("", "names no step"),
    ],
)
def test_a_critic_is_read_strictly_and_asked_once_more_with_the_reason(reply, reason):
    speaker = Scripted((reply, FOUND))
    assert run(ModelCritic(speaker, TASK).feedback(PROBLEM, ATTEMPT, random.Random(0))) == FAULT
    assert len(speaker.heard) == 2
    with pytest.raises(Unreadable, match=reason):
        run(ModelCritic(Scripted((reply,)), TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))
    told = speaker.heard[1].text
    assert told.startswith("That could not be read: ")


@pytest.mark.parametrize(
    "reply",
    [
        "I would not say that all steps are correct.",
        "Not all steps are correct.",
        "It is not true that the final response is also correct.",
    ],
)
def test_a_critic_that_denies_that_all_is_right_is_not_read_as_saying_so(reply):
    with pytest.raises(Unreadable):
        run(ModelCritic(Scripted((reply,)), TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))


def test_a_prompt_of_ones_own_may_have_the_attempt_as_steps_or_as_it_is():
    attempt = "for n in x:\n    y += n\n\nprint(y) {question}"
    critic = Scripted((ALL_RIGHT,))
    run(ModelCritic(critic, TASK, prompt="{steps}\n===\n{answer}").feedback(PROBLEM, attempt, random.Random(0)))
    assert prompts(critic)[0] == f"(1) for n in x:\n(2) y += n\n(3) print(y) {{question}}\n===\n{attempt}"


def test_ten_thousand_replies_never_make_a_critic_stumble():
    async def attempt(speaker: Scripted, reply: str) -> None:
        fault = await ModelCritic(speaker, TASK).feedback(PROBLEM, ATTEMPT, random.Random(0))
        if fault is None:
            assert "correct" in reply.lower()
        else:
            assert fault.step in ("1", "2", "3")
            assert fault.part in TASK.layout.split(ATTEMPT)[int(fault.step) - 1].text

    read, failed = outcomes(attempt)
    assert read + failed == COUNT
    assert read
    assert failed

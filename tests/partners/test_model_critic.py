"""A critic that asks a speaker: its prompt, and the strict parsing of replies."""

from __future__ import annotations

import random

import pytest

from sparring.common.errors import ConfigError, Unreadable
from sparring.config.factory import make_partner, partner_table
from sparring.core.partner import Critic
from sparring.core.task import Problem
from sparring.parsing.steps import NUMBERED, Fault
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
        ('In step (7) the part "16" is incorrect.', r"the answer has no step \(7\)"),
        ('In step (2) the part "10+6=16" is incorrect.', "does not contain the part '10\\+6=16'"),
        ('In step (two) the part "16" is incorrect.', "the answer has no step|names no step"),
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
    assert told.startswith("That reply cannot be used: ")


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


# ── what a reason may say ───────────────────────────────────────────────────────────────────────────────────

LEAKY = 'In step (2) the part "10+5=16" is incorrect. This is because 10+5 is 15.'
EARLY = "3+7=15\n15+5=20\n20"  # gold is the value of a wrong step


def criticised(*replies: str, attempt: str = ATTEMPT, **more) -> tuple[Fault | None, Scripted]:
    speaker = Scripted(replies)
    return run(ModelCritic(speaker, TASK, **more).feedback(PROBLEM, attempt, random.Random(0))), speaker


@pytest.mark.parametrize("told_gold", [True, False])
def test_a_reason_that_states_gold_is_refused_asked_for_once_more_and_counted(told_gold):
    fault, speaker = criticised(LEAKY, FOUND, told_gold=told_gold)
    assert (fault, fault.leaked) == (FAULT, True)
    assert "the reason states the final answer; say what is wrong without it" in speaker.heard[1].text
    fault, speaker = criticised(FOUND, told_gold=told_gold)
    assert (fault.leaked, len(speaker.heard)) == (False, 1)


def test_after_a_second_such_reason_the_fault_is_kept_without_one():
    """The right value of the last step is the gold answer: the fault is kept, the right value is not."""
    fault, speaker = criticised(LEAKY)
    assert (fault, fault.leaked, len(speaker.heard)) == (Fault("2", "10+5=16"), True, 2)
    assert "15" not in NUMBERED.write_feedback(ATTEMPT, fault)


@pytest.mark.parametrize(
    ("reply", "attempt"),
    [
        ('In step (1) the part "3+7=11" is incorrect. This is because 3+7 should be 10.', "3+7=11\n11+5=16\n16"),
        ('In step (1) the part "3+7=15" is incorrect. This is because 15 is too much.', EARLY),  # it quotes the part
        ('In step (3) the part "16" is incorrect. This is because step (2) came to 15.', "3+7=10\n10+5=15\n16"),
        ('In step (2) the part "10+5=16" is incorrect. This is because 10 and 5 were not added rightly.', ATTEMPT),
    ],
)
def test_a_true_reason_that_states_no_gold_or_what_was_said_before_stands(reply, attempt):
    fault, speaker = criticised(reply, attempt=attempt)
    assert fault.reason
    assert not fault.leaked
    assert len(speaker.heard) == 1


def test_a_reason_that_calls_it_the_answer_is_refused_even_where_the_number_was_said_before():
    reply = 'In step (3) the part "16" is incorrect. This is because the answer is 15.'
    fault, _ = criticised(reply, attempt="3+7=10\n10+5=15\n16")
    assert (fault.reason, fault.leaked) == ("", True)


def test_of_a_problem_without_gold_nothing_can_leak():
    speaker = Scripted((LEAKY,))
    fault = run(ModelCritic(speaker, TASK).feedback(Problem("x", PROBLEM.chat), ATTEMPT, random.Random(0)))
    assert (fault.reason, fault.leaked) == ("10+5 is 15", False)


# ── examples ────────────────────────────────────────────────────────────────────────────────────────────────

EXAMPLE = {"question": "(1+1)=", "answer": "1+1=3\n3", "feedback": 'In step (1) the part "3" is incorrect.'}


def made(**table) -> ModelCritic:
    critic = make_partner("critic", Critic, {"by": "scripted", "replies": [FOUND], **table}, TASK, "phase 1: critic")
    assert make_partner("critic", Critic, partner_table(critic), TASK, "phase 1: critic") == critic
    return critic


@pytest.mark.parametrize("examples", [[EXAMPLE, EXAMPLE], "Mind the signs.\n(1+1)=\n(1) 1+1=3\n(2) 3"])
def test_examples_stand_in_the_prompt_before_the_question(examples):
    plain, critic = made(), made(examples=examples)
    for one in (plain, critic):
        assert run(one.feedback(PROBLEM, ATTEMPT, random.Random(0))) == FAULT
    (without,), (prompt,) = prompts(plain.speaker), prompts(critic.speaker)
    first, shown = without.split("\nQuestion:", 1)[0], prompt.split(f"Question:\n{PROBLEM.chat.text}")
    assert prompt.startswith(first)
    assert f"Question:\n{PROBLEM.chat.text}{shown[1]}" in without  # the rest is as it is without examples
    for words in ("(1+1)=", "(1) 1+1=3", "(2) 3"):
        assert words in shown[0]
        assert words not in without
    assert ("Example 2" in shown[0]) == ('the part "3" is incorrect' in shown[0]) == isinstance(examples, list)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"examples": [{**EXAMPLE, "feedback": "Hm."}]}, "example 1 .* has feedback that the critic would reject"),
        ({"examples": [EXAMPLE, {**EXAMPLE, "answer": "2"}]}, r"example 2 .* does not contain the part '3'"),
        ({"examples": "x", "prompt": "{question}"}, r"no blank for its examples; add \{examples\} to it"),
        ({"examples": [{"question": "?"}]}, "examples"),
        ({"examples": 7}, "examples"),
    ],
)
def test_examples_that_teach_nothing_are_refused_in_a_line(table, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        made(**table)
    assert "\n" not in str(caught.value)

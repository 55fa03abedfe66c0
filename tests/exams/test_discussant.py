"""What is said of discussants with known faults, and which claims in words are understood."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sparring.exams.discussant import _claims
from sparring.parsing.steps import Fault
from tests.exams.grading import figures


@dataclass
class Says:
    """Says the same to everybody; `{answer}` and `{step}` stand for what it is asked about."""

    words: str

    async def remark(self, problem, chat, stance, rng):
        return self.words.replace("{answer}", chat.text).replace("{question}", problem.chat.text)


@dataclass
class Knows:
    """States the right answer in support, and another one in attack."""

    async def remark(self, problem, chat, stance, rng):
        return f"The answer is {int(problem.gold) + (stance == 'adversarial')}."


def test_what_cannot_be_computed_gets_no_score():
    found = figures("discussant", Says("Look at it once more."))
    assert found["score"] is None
    assert (found["supportive and true"], found["adversarial and false"]) == (None, None)
    assert (found["answer given away"], found["remarks copied"]) == (0.0, 0.0)
    assert found["remarks repeated"] == 39 / 40


def test_who_calls_every_answer_wrong_follows_half_of_what_is_asked():
    """True of wrong answers (support) and false of right ones (attack): each a quarter of the calls."""
    found = figures("discussant", Says("Your answer is wrong."))
    assert (found["score"], found["supportive and true"], found["adversarial and false"]) == (0.5, 0.5, 0.5)


def test_who_states_answers_follows_the_stance_and_gives_the_answer_away():
    found = figures("discussant", Knows())
    assert (found["score"], found["supportive and true"], found["adversarial and false"]) == (1.0, 1.0, 1.0)
    assert found["answer given away"] == 0.5  # in support


def test_who_names_the_first_step_always_is_seldom_at_the_wrong_one():
    found = figures("discussant", Says("Look at step (1) again: 1 + 1 = 2."))
    assert found["supportive and true"] == 1.0
    assert found["wrong step named"] < 0.5
    assert found["score"] < 0.5


@pytest.mark.parametrize("words", ["{answer}", "{question}"])
def test_a_copy_is_seen_as_one(words):
    assert figures("discussant", Says(words))["remarks copied"] == 1.0


STEP_2 = Fault("2", "x")


@pytest.mark.parametrize(
    ("remark", "fault", "truths"),
    [
        ("Step (2) is wrong.", STEP_2, [True]),
        ("Step (2) is wrong.", None, [False]),
        ("Step 1 is wrong.", STEP_2, [False]),
        ("Step (3) is wrong.", STEP_2, []),  # after the fault it is neither
        ("Step (1) is correct, but step (2) is not correct.", STEP_2, [True, True]),
        ("Step (2) has an error in it.", STEP_2, [True]),
        ("Step (2) has no error.", STEP_2, [False]),
        ("In step (2) the part is incorrect.", STEP_2, [True]),
        ("Your answer is right.", None, [True]),
        ("Your answer is not right.", None, [False]),
        ("Your final answer is incorrect.", STEP_2, [True]),
        ("The answer isn't correct.", STEP_2, [True]),
        ("Is step (2) is correct, really?", STEP_2, []),
        ("Step (2) is where you multiply.", STEP_2, []),
        ("The answer is 12.", STEP_2, []),
        ("The right answer is 12.", STEP_2, []),
        ("Check step (2): 3 + 4 = 7.", STEP_2, []),
    ],
)
def test_claims_that_something_is_right_or_wrong_are_understood(remark, fault, truths):
    assert list(_claims(remark, fault)) == truths

"""The majority among several answers: wrong ones are read as right ones are, so that wording decides nothing."""

import pytest

from sparring.parsing.answers import choice, number
from sparring.parsing.votes import ballots, majority


@pytest.mark.parametrize(
    "responses",
    [
        ["#### 20", "So she makes $18 in total.", "#### 18"],
        ["20", "She has 18 left.", "The answer is 4 + 14 = 18."],
    ],
)
def test_wrong_numbers_are_one_answer_however_they_are_worded(responses):
    votes = ballots(responses, [number("20", text) for text in responses], "20")
    assert votes == ["right", "wrong: 18", "wrong: 18"]
    assert majority(votes) == 1


def test_wrong_options_are_one_answer_named_by_letter_or_text():
    responses = ["The answer is (B) library.", "The answer is A.", "The answer is (A) bank.", "bank"]
    votes = ballots(responses, [choice("B", text, ("bank", "library")) for text in responses], "B", ("bank", "library"))
    assert votes == ["right", "wrong: A", "wrong: A", "wrong: A"]
    assert majority(votes) == 1


def test_other_answers_are_compared_by_their_words_and_the_earlier_wins_a_tie():
    votes = ballots(["The answer is a cat.", "A dog", "**A Dog.**", "A cat"], [True, False, False, True])
    assert votes[1] == votes[2]
    assert majority(votes) == 0

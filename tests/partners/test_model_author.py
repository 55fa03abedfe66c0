"""An author that asks a speaker: what the prompt shows, and what comes back."""

from __future__ import annotations

import random

import pytest

from sparring.common.errors import ConfigError, Unreadable
from sparring.partners.model_author import ModelAuthor
from sparring.speakers.scripted import Scripted
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from tests.partners.speaking import prompts, run

TASK = MultistepArithmetic(train=6, development=1, test=1)
PROBLEM, *OTHERS = TASK.problems("train")


def attempt(*replies: str, seed: int = 0, **settings) -> tuple[str, str]:
    """The attempt, and the last prompt."""
    speaker = Scripted(replies)
    found = run(ModelAuthor(speaker, TASK, **settings).attempt(PROBLEM, random.Random(seed)))
    return found, prompts(speaker)[0]


def test_the_prompt_shows_worked_answers_to_other_problems_and_never_its_own():
    for seed in range(10):
        found, prompt = attempt("  1+1=2\n2\n", seed=seed)
        assert found == "1+1=2\n2"
        assert sum(f"{other.chat.text}\n\nAnswer:\n{other.rationale}" in prompt for other in OTHERS) == 3
        assert prompt.endswith(f"Question:\n{PROBLEM.chat.text}\n\nAnswer:")
        assert PROBLEM.rationale not in prompt
    assert len({attempt("1", seed=seed)[1] for seed in range(10)}) > 5  # drawn anew


def test_the_number_of_examples_is_as_told_and_no_more_than_there_are():
    for examples, shown in ((0, 0), (2, 2), (99, 5)):
        assert attempt("1", examples=examples)[1].count("Answer:") == shown + 1


def test_it_samples_at_1_and_an_empty_reply_is_asked_for_once_more():
    assert ModelAuthor(Scripted(("1",)), TASK).temperature == 1.0
    assert attempt(" ", "15")[0] == "15"
    with pytest.raises(Unreadable, match="the attempt is empty"):
        attempt(" ")


def test_a_prompt_of_ones_own_has_blanks_of_its_own():
    assert attempt("1", prompt="Solve {question}")[1] == f"Solve {PROBLEM.chat.text}"
    with pytest.raises(ConfigError, match=r"unknown placeholder {gold}"):
        ModelAuthor(Scripted(("1",)), TASK, prompt="It is {gold}.")

"""The example in which failing pytest runs are the critic of small repairs."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from sparring.config.recipe import Recipe
from sparring.partners.model_critic import ModelCritic
from sparring.speakers.command import Command
from sparring.speakers.scripted import Scripted

ROOT = Path(__file__).parent.parent
EXAMPLE = "examples/code_repair"


@pytest.fixture
def recipe(monkeypatch) -> Recipe:
    monkeypatch.chdir(ROOT)
    command = json.dumps([sys.executable, f"{EXAMPLE}/critic.py"])
    editor = "phase.tripost.editor={by='scripted', replies=['return total / len(numbers)']}"
    return Recipe.read(f"{EXAMPLE}/recipe.toml", [f"phase.tripost.critic.command={command}", editor])


def problem(recipe: Recipe, name: str):
    splits = ("train", "development", "test")
    found = [problem for split in splits for problem in recipe.task.problems(split)]
    assert len(found) == 7
    return next(problem for problem in found if f"def {name}(" in problem.chat.text)


def test_the_recipe_has_pytest_as_a_critic_by_command(recipe):
    critic = recipe.phases[0].method.critic
    assert isinstance(critic, ModelCritic)
    assert isinstance(critic.speaker, Command)


def test_every_function_of_it_is_broken_and_mended_by_its_rationale(recipe):
    for name in ("mean", "initials", "is_palindrome", "clamp", "most_common", "median", "vowels"):
        asked = problem(recipe, name)
        code = asked.chat.text.split("```python\n")[1].split("```")[0]
        broken = textwrap.dedent(code.partition("\n")[2])
        assert not recipe.task.is_right(asked, broken)
        assert recipe.task.is_right(asked, asked.rationale)


@pytest.mark.parametrize(
    ("name", "body", "step", "reason"),
    [
        ("mean", "total = sum(numbers)\nreturn total / 2", "2", "assert 3.0 == 2"),
        ("mean", "total = sum(numbers)\ntotal = total.half\nreturn total", "2", "no attribute 'half'"),
        ("mean", "total = sum(numbers)\nreturn total / (2", "2", "SyntaxError"),
        ("median", "ranked = sorted(numbers)\nreturn ranked[0]", "2", "assert 1 == 2"),
        ("mean", "import os\nos._exit(0)", "1", "exit status 0 before"),
        (
            "vowels",
            "count = 0\n\nfor a in text:\n    if a in 'aeiou':\n        count = a.half\n",
            "4",
            "no attribute 'half'",
        ),
        ("vowels", "  for letter in text:\n      return len(letter)", "2", "assert 1 == 3"),
    ],
    ids=["wrong value", "error", "syntax", "another function", "way out", "inside a loop", "indented as a whole"],
)
def test_the_critic_names_the_line_that_a_failure_came_from_and_the_reason(recipe, name, body, step, reason):
    critic = recipe.phases[0].method.critic
    fault = asyncio.run(critic.feedback(problem(recipe, name), body, random.Random(0)))
    assert fault.step == step
    assert fault.part == [line.strip() for line in body.splitlines() if line.strip()][int(step) - 1]
    assert reason in fault.reason


def test_what_passes_is_right_in_every_step(recipe):
    asked = problem(recipe, "clamp")
    critic = recipe.phases[0].method.critic
    assert asyncio.run(critic.feedback(asked, asked.rationale, random.Random(0))) is None


def test_an_episode_is_mended_with_the_failing_test_as_feedback(recipe):
    method = recipe.phases[0].method
    learner = Scripted(("total = sum(numbers)\nreturn total / 2", "All steps are correct."))
    episode = asyncio.run(method.interact(problem(recipe, "mean"), recipe.task, learner, random.Random(0)))
    assert not episode.failures
    assert episode.notes["edited_right"]
    feedback, update, _ = (part for part in episode.chat.last.parts if part.writer in ("critic", "editor"))
    assert 'In step (2) the part "return total / 2" is incorrect. This is because assert 3.0 == 2' in feedback.text
    assert update.text == "total = sum(numbers)\nreturn total / len(numbers)"


def test_code_keeps_its_indentation_on_its_way_to_pytest_and_back(recipe):
    asked = problem(recipe, "vowels")
    broken = asked.rationale.replace("+= 1", "+= None")
    fixed = "        count += 1\nreturn count"
    editor = replace(recipe.phases[0].method.editor, speaker=Scripted((f"\n{fixed}\n",)))
    method = replace(recipe.phases[0].method, editor=editor)
    learner = Scripted((broken, "All steps are correct."))
    episode = asyncio.run(method.interact(asked, recipe.task, learner, random.Random(0)))
    assert not episode.failures
    assert episode.notes["edited_right"]
    assert episode.chat.last.text.count(fixed) == 1

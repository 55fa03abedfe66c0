"""Published judges: prompts word by word, and replies as these judges write them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re

import pytest

from sparring.common.errors import ConfigError, Unreadable
from sparring.core.judge_presets import PRESETS
from sparring.core.match import play_match
from sparring.core.prompt import placeholders
from sparring.partners.model_judge import ModelJudge
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import PROBLEM, answers

# SHA-256 of the tools' own texts, their placeholders renamed: alpaca_eval at cd543a1, arena-hard-auto at 196f6b8
ORIGINALS = {
    "alpaca_eval": ("4c93a9a9d510", "f64703c49e14"),
    "arena_hard": ("03f68010febd", "97d507f2ef87"),
    "self_taught_evaluator": ("1f4ac6afd30a", "1ea3506b83d5"),
}


def test_the_prompts_are_those_of_the_tools_word_by_word():
    for name, originals in ORIGINALS.items():
        preset = PRESETS[name]
        found = tuple(hashlib.sha256(text.encode()).hexdigest()[:12] for text in (preset.system, preset.prompt))
        assert found == originals
        assert placeholders(preset.prompt) == {"question", "a", "b"}


@pytest.mark.parametrize(
    ("name", "reply", "verdict"),
    [
        ("alpaca_eval", "m", "first"),
        ("alpaca_eval", "M\n", "second"),
        ("arena_hard", "## My answer\n… My final verdict is tie: [[A=B]]", "tie"),
        ("arena_hard", "Assistant A is significantly better: [[A>>B]]", "first by far"),
        ("arena_hard", "My final verdict is: [[b>a]].", "second"),
        ("arena_hard", "not [[A>B]], but after all [[B>>A]]", "second by far"),  # the last one, as in the tool
        ("arena_hard", "My final verdict is: [A>B]", "first"),  # the tool's second pattern
        ("arena_hard", "[[B<<A]]", "first by far"),
        ("self_taught_evaluator", "Assistant B is wrong about X. Therefore, \"[[A]]\" is better.", "first"),
        ("self_taught_evaluator", "[[B]]", "second"),
    ],
)  # fmt: skip
def test_a_reply_of_the_judge_is_a_verdict(name, reply, verdict):
    assert PRESETS[name].read(reply) == verdict


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("alpaca_eval", "The best is m"), ("alpaca_eval", ""), ("alpaca_eval", "mM"),
        ("arena_hard", "A is better"), ("arena_hard", "[[A>>>B]]"), ("arena_hard", "[[C]]"), ("arena_hard", "[[AB]]"),
        ("self_taught_evaluator", "[[A]] or [[B]]"), ("self_taught_evaluator", "A"), ("self_taught_evaluator", "[[C]]"),
    ],
)  # fmt: skip
def test_any_other_reply_is_unreadable(name, reply):
    with pytest.raises(Unreadable):
        PRESETS[name].read(reply)


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_names_the_judge_and_it_compares_in_both_orders(name):
    replies = {"alpaca_eval": ("m", "M"), "arena_hard": ("[[A>>B]]", "[[B>A]]")}.get(name, ("[[A]]", "[[B]]"))
    speaker = Scripted(replies, loop=False)
    one, other = answers("fifteen", "sixteen")
    match = asyncio.run(play_match(ModelJudge(speaker, preset=name), PROBLEM, one, other, random.Random(0)))
    assert match.points == 1.0
    assert match.games[0].by_far is (name == "arena_hard")
    for chat, (first, second) in zip(speaker.heard, (("fifteen", "sixteen"), ("sixteen", "fifteen")), strict=True):
        system, prompt = (message.text for message in chat.messages)
        assert system == PRESETS[name].system
        assert prompt.index(PROBLEM.chat.text) < prompt.index(first) < prompt.index(second)


@pytest.mark.parametrize("more", [{"mode": "pointwise"}, {"prompt": "{a}"}, {"pattern": "(a)"}])
def test_a_preset_brings_its_own_prompt(more):
    with pytest.raises(ConfigError, match=re.escape("preset = 'arena_hard' brings its own prompt")):
        ModelJudge(Scripted(("x",)), preset="arena_hard", **more)

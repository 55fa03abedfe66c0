import asyncio
import random
from dataclasses import replace

import pytest

from sparring.chat import LEARNER
from sparring.errors import CutOff, Unreadable
from sparring.methods.sft import SFT
from sparring.steps import COMPACT
from tests.methods.conftest import account, play


def lesson(method, problem, task, script):
    episode = play(method, problem, task, script(["never asked"]))
    return episode, method.harvest([episode], [], COMPACT, random.Random(0))


def test_it_imitates_the_worked_answer(problem, arithmetic, script, golden):
    golden("sft", account(*lesson(SFT(), problem, arithmetic, script)))


def test_steps_become_the_thought_and_the_answer_the_response(problem, arithmetic, script):
    _, [taught] = lesson(SFT(thought_format="think", thought_prompt=""), problem, arithmetic, script)
    assert taught.chat.last.text == "<think>3+7=10\n10+5=15</think>15"
    _, [generic] = lesson(SFT(thought_format="generic"), problem, arithmetic, script)
    assert generic.chat.messages[0].text.startswith("Respond to the following user query")
    assert generic.chat.last.text == "Here is my thought process:3+7=10\n10+5=15Here is my response:15"


def test_without_a_rationale_or_when_told_so_it_imitates_the_bare_answer(problem, arithmetic, script):
    _, [taught] = lesson(SFT(learn="answer"), problem, arithmetic, script)
    assert taught.chat.last.text == "15"
    _, [bare] = lesson(SFT(), replace(problem, rationale=None), arithmetic, script)
    assert bare.chat.last.text == "15"
    assert bare.chat.last.author == LEARNER


def test_it_answers_once_greedily_with_the_thought_taken_off(problem, script):
    learner = script(["<think>3+7=10</think>15"])
    method = SFT(thought_format="think", thought_prompt="")
    found = asyncio.run(method.answer(problem.chat, learner, COMPACT))
    assert (found.response, found.attempts) == ("15", ("15",))
    assert learner.heard[0][1].temperature == 0
    with pytest.raises(Unreadable):
        asyncio.run(method.answer(problem.chat, script(["15"]), COMPACT))
    with pytest.raises(CutOff):
        asyncio.run(method.answer(problem.chat, script(["15"], finish="length"), COMPACT))

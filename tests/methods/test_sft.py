import asyncio
import random
from dataclasses import replace

import pytest

from sparring.common.errors import CutOff, Unreadable
from sparring.core.chat import GOLD, LEARNER, USER, Chat, Message, Part, message
from sparring.core.episode import Episode
from sparring.methods.sft import SFT
from sparring.parsing.steps import COMPACT
from sparring.tasks.gsm8k import Gsm8k
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tasks.word_sorting import WordSorting
from tests.methods.conftest import account, play


def harvested(method, problem, task, script):
    episode = play(method, problem, task, script(["never asked"]))
    return episode, method.harvest([episode], [], COMPACT, random.Random(0))


def test_it_imitates_the_worked_answer(problem, arithmetic, script, golden):
    golden("sft", account(*harvested(SFT(), problem, arithmetic, script)))


SAID = Chat(
    (
        message(USER, "Hi"),
        message(LEARNER, "Hello", GOLD, weight=0.5),
        message(USER, "Why?"),
        Message(LEARNER, (Part("hm", GOLD, weight=1.0, thought=True), Part("So.", GOLD, weight=1.0))),
    )
)


@pytest.mark.parametrize(
    ("settings", "gold", "imitated"),
    [
        ({}, None, ("hmSo.", [0, 0.5, 0, 1])),
        ({}, "So", ("hmSo.", [0, 0.5, 0, 1])),
        ({"turns": "last"}, None, ("hmSo.", [0, 0, 0, 1])),
        ({"learn": "answer"}, None, ("hmSo.", [0, 0.5, 0, 1])),
        ({"learn": "answer"}, "So", ("So", [0, 0, 0, 1])),
        ({"thought_format": "think"}, None, ("<think>hm</think>So.", [0, 0, 0, 1])),
    ],
)
def test_a_conversation_is_imitated_at_its_weights(  # noqa: PLR0917 (fixtures)
    problem, arithmetic, script, settings, gold, imitated
):
    context = Chat(tuple(said.with_weight(0.0) for said in SAID.messages[:3]))
    talked = replace(problem, chat=context, worked=SAID, gold=gold, rationale="So.")
    _, [taught] = harvested(SFT(**settings), talked, arithmetic, script)
    assert (taught.chat.last.full_text, [said.parts[0].weight for said in taught.chat.messages]) == imitated
    assert ("First think about it" in taught.chat.messages[2].text) == ("thought_format" in settings)


def test_a_thought_is_taught_after_what_its_reply_answers_although_the_user_has_the_last_word(
    problem, arithmetic, script
):
    talked = replace(problem, chat=Chat((*SAID.messages, message(USER, "And who?"))), worked=SAID, gold=None)
    _, [taught] = harvested(SFT(thought_format="think", thought_prompt=""), talked, arithmetic, script)
    assert [said.text for said in taught.chat.messages] == ["Hi", "Hello", "Why?", "<think>hm</think>So."]


def test_steps_become_the_thought_and_the_answer_the_response(problem, arithmetic, script):
    _, [taught] = harvested(SFT(thought_format="think", thought_prompt=""), problem, arithmetic, script)
    assert taught.chat.last.text == "<think>3+7=10\n10+5=15</think>15"
    _, [generic] = harvested(SFT(thought_format="generic"), problem, arithmetic, script)
    assert generic.chat.messages[0].text.startswith("Respond to the following user query")
    assert generic.chat.last.text == "Here is my thought process:\n3+7=10\n10+5=15\nHere is my response:\n15"


@pytest.mark.parametrize(
    ("gold", "rationale", "thought"),
    [
        ("18", "3*6 is 18.\nSo she has 18 apples.", "3*6 is 18.\nSo she has 18 apples."),
        ("18", "3*6 is 18, so the answer is 18.", "3*6 is 18, so the answer is 18."),
        ("18", "3*6=18\nThe answer is 18 because 3*6=18.", "3*6=18\nThe answer is 18 because 3*6=18."),
        ("18", "She buys 6, three times.\n3*6=18", "She buys 6, three times.\n3*6=18"),
        ("18", "3*6 is 18.\n#### 18", "3*6 is 18."),
        ("1800", "It is 18 hundred.\n\nThe final answer is $1,800.00.", "It is 18 hundred."),
        ("B", "Wood is light.\nTherefore, the answer is (B).", "Wood is light."),
        ("B", "Wood is light.\nThe answer is B, since it floats.", "Wood is light.\nThe answer is B, since it floats."),
        ("Paris", "It lies on the Seine.\nAnswer: paris", "It lies on the Seine."),
        ("Paris", "The Seine flows through Paris.\nNot Rome.", "The Seine flows through Paris.\nNot Rome."),
        (
            "-31",
            "(1) A = 12.\n(2) A - 43 = -31.\n(Final response) So the answer is -31.",
            "(1) A = 12.\n(2) A - 43 = -31.",
        ),
        (
            "18",
            "(1) 3*6 is 18.\n(Final response) So she has 18 apples.",
            "(1) 3*6 is 18.\n(Final response) So she has 18 apples.",
        ),
        ("18", "18", "18"),
    ],
)
def test_a_thought_loses_the_last_step_only_where_that_states_the_answer_alone(problem, gold, rationale, thought):
    told = replace(problem, gold=gold, rationale=rationale)
    [taught] = SFT(thought_format="think").harvest([Episode(told, told.chat)], [], COMPACT, random.Random(0))
    assert taught.chat.last.text == f"<think>{thought}</think>{gold}"


def test_a_thought_of_every_task_holds_all_its_steps_and_no_bare_answer(tmp_path):
    sizes = {"train": 40, "development": 1, "test": 1}
    (tmp_path / "rows.jsonl").write_text('{"question": "?", "answer": "2*9 = <<2*9=18>>18 eggs.\\n#### 18"}\n' * 2)
    tasks = [kind(range=range, **sizes) for kind in (MultistepArithmetic, WordSorting) for range in ("easy", "paper")]
    tasks.append(Gsm8k(source=str(tmp_path / "rows.jsonl"), development=0, test=0))
    for task in tasks:
        for told in task.problems("train"):
            steps = task.layout.split(told.rationale)
            assert [step.text for step in task.layout.split(told.reasoning)] == [step.text for step in steps[:-1]]
            assert told.gold in steps[-1].text


def test_without_a_rationale_or_when_told_so_it_imitates_the_bare_answer(problem, arithmetic, script):
    _, [taught] = harvested(SFT(learn="answer"), problem, arithmetic, script)
    assert taught.chat.last.text == "15"
    _, [bare] = harvested(SFT(), replace(problem, rationale=None), arithmetic, script)
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

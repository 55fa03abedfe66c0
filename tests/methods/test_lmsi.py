import asyncio
import random

import pytest

from sparring.core.chat import Chat, Message, Part
from sparring.core.episode import Episode
from sparring.core.task import Problem
from sparring.methods.lmsi import DIRECT, LMSI
from sparring.parsing.steps import COMPACT
from tests.methods.conftest import account, play

RIGHT, WRONG, SHORT = "3+7=10\n10+5=15\n15", "3+7=11\n11+5=16\n16", "3+7+5=15\n15"


def harvest(method: LMSI, *episodes: Episode):
    return method.harvest(episodes, [], COMPACT, random.Random(0))


def test_one_problem_and_what_it_teaches(problem, arithmetic, script, golden):
    method = LMSI()
    episode = play(method, problem, arithmetic, script([RIGHT, WRONG, SHORT, RIGHT, "who knows"]))
    golden("lmsi", account(episode, harvest(method, episode)))


def test_it_samples_five_answers_at_1_2_each_from_its_own_stream(problem, arithmetic, script):
    learner = script([RIGHT])
    play(LMSI(), problem, arithmetic, learner)
    assert [(sampling.temperature, sample) for _, sampling, sample in learner.heard] == [(1.2, n) for n in range(5)]


def test_each_different_right_answer_is_taught_in_two_forms(problem, arithmetic, script):
    method = LMSI(samples=4, direct_weight=0.5)
    taught = harvest(method, play(method, problem, arithmetic, script([RIGHT, WRONG, SHORT, RIGHT])))
    assert [(t.group, t.chat.text, t.chat.last.parts[0].weight) for t in taught] == [
        ("chain_of_thought", RIGHT, 1.0),
        ("direct", "15", 0.5),
        ("chain_of_thought", SHORT, 1.0),
        ("direct", "15", 0.5),
    ]
    assert [t.chat.messages[0].text for t in taught[:2]] == [problem.chat.text, DIRECT + problem.chat.text]
    assert taught[0].chat.last.parts[0].ids is not None  # the sampled tokens are the trained ones


def test_the_direct_form_can_be_asked_for_in_other_words_or_left_out(problem, arithmetic, script):
    episode = play(LMSI(samples=1), problem, arithmetic, script([RIGHT]))
    direct = harvest(LMSI(direct_prompt="At once: "), episode)[1]
    assert direct.chat.messages[0].text == "At once: " + problem.chat.text
    assert [t.group for t in harvest(LMSI(direct_weight=0), episode)] == ["chain_of_thought"]


def test_a_system_prompt_stays_before_the_direct_question(arithmetic):
    asked = Chat((Message("system", (Part("Be brief.", "system"),)), Message("user", (Part("1+1=", "user"),))))
    forms = LMSI()._forms(Problem("p", asked, "2"), Message("learner", (Part("2", "learner"),)))
    assert [message.text for message in forms[1].chat.messages] == ["Be brief.", DIRECT + "1+1=", "2"]


@pytest.mark.parametrize(("reply", "failed"), [(WRONG, False), ("", True)])
def test_a_problem_without_a_right_answer_teaches_nothing(reply, failed, problem, arithmetic, script):
    episode = play(LMSI(samples=2), problem, arithmetic, script([reply]))
    assert (episode.failed, episode.notes["solved"]) == (failed, False)
    assert harvest(LMSI(), episode) == []


def test_a_reply_cut_at_its_limit_is_never_kept(problem, arithmetic, script):
    episode = play(LMSI(samples=2), problem, arithmetic, script([RIGHT], finish="length"))
    assert [failure.kind for failure in episode.failures] == ["CutOff", "CutOff"]
    assert harvest(LMSI(), episode) == []


def test_it_is_used_with_its_chain_of_thought(problem, script):
    learner = script([RIGHT])
    assert asyncio.run(LMSI().answer(problem.chat, learner, COMPACT)).response == RIGHT
    ((chat, sampling, _),) = learner.heard
    assert (chat, sampling.temperature) == (problem.chat, 0)

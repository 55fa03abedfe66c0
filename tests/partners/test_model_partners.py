"""Partners that are speakers: asking again, templates, settings. What each role makes of it: `test_model_<role>.py`."""

from __future__ import annotations

import random

import pytest

from sparring.chat import LEARNER, Chat, Part, question
from sparring.errors import ConfigError, CutOff, Unavailable, Unreadable
from sparring.partner import ask
from sparring.partners.model_critic import ModelCritic
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.model_editor import ModelEditor
from sparring.partners.model_judge import ModelJudge
from sparring.speaker import Reply, Sampling
from sparring.speakers.scripted import Scripted
from sparring.task import Problem
from tests.partners.speaking import ATTEMPT, FOUND, PROBLEM, TASK, prompts, run


class Cut:
    """A speaker whose replies are cut at their limit; `whole` ones come after the first `times`."""

    def __init__(self, text: str, times: int) -> None:
        self.text, self.times, self.calls = text, times, 0

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.calls += 1
        return Reply((Part(self.text, "cut"),), "length" if self.calls <= self.times else "stop")


def test_what_cannot_be_read_is_asked_for_once_more_with_the_reason():
    def read(reply: str) -> int:
        if not reply.isdecimal():
            raise Unreadable(f"{reply!r} is no number")
        return int(reply)

    speaker = Scripted(("seven", "7"))
    assert run(ask(speaker, "How many?", read, Sampling())) == 7
    again = speaker.heard[1]
    assert [(m.author, m.text) for m in again.messages[:2]] == [("user", "How many?"), ("partner", "seven")]
    assert "'seven' is no number" in again.text
    speaker = Scripted(("seven", "eight", "9"))
    with pytest.raises(Unreadable, match="'eight' is no number"):
        run(ask(speaker, "How many?", read, Sampling()))
    assert len(speaker.heard) == 2


def test_a_reply_cut_at_its_limit_is_never_read_and_asked_for_once_more():
    mended = Cut("7", times=1)
    assert run(ask(mended, "?", int, Sampling())) == 7
    assert mended.calls == 2
    with pytest.raises(CutOff, match="cut at its limit"):
        run(ask(Cut("7", times=2), "?", int, Sampling()))


def test_who_does_not_reply_is_not_asked_again_by_the_partner():
    class Dead:
        calls = 0

        async def reply(self, chat, sampling, sample=0):
            self.calls += 1
            raise Unavailable("nobody there")

    dead = Dead()
    with pytest.raises(Unavailable):
        run(ModelCritic(dead, TASK).feedback(PROBLEM, ATTEMPT, random.Random(0)))
    assert dead.calls == 1


def test_words_of_a_model_or_a_data_set_are_never_a_template():
    problem = Problem("x", question("What is {answer} or {gold} or {nothing}?"), gold="{question}")
    speaker = Scripted(("A remark.",))
    chat = problem.chat.say(LEARNER, "It is {question} {gold} {0}.")
    run(ModelDiscussant(speaker).remark(problem, chat, "supportive", random.Random(0)))
    (prompt,) = prompts(speaker)
    assert "What is {answer} or {gold} or {nothing}?" in prompt
    assert "It is {question} {gold} {0}." in prompt
    assert "The correct final answer is {question}." in prompt


@pytest.mark.parametrize(
    ("make", "blank", "known"),
    [
        (lambda p: ModelDiscussant(Scripted(("x",)), supportive_prompt=p), "thought", "{answer}, {gold}, {question}"),
        (lambda p: ModelDiscussant(Scripted(("x",)), adversarial_prompt=p), "thought", "{answer}, {gold}, {question}"),
        (lambda p: ModelCritic(Scripted(("x",)), TASK, prompt=p), "kept", "{answer}, {gold}, {question}, {steps}"),
        (lambda p: ModelEditor(Scripted(("x",)), TASK, prompt=p), "gold", "{kept}, {question}, {reason}, {step}"),
        (lambda p: ModelJudge(Scripted(("x",)), mode="pointwise", prompt=p), "gold", "{question}, {response}"),
        (lambda p: ModelJudge(Scripted(("x",)), prompt=p), "response", "{a}, {b}, {question}"),
    ],
)
def test_a_prompt_with_a_blank_that_is_not_filled_is_refused_at_once(make, blank, known):
    with pytest.raises(ConfigError) as error:
        make(f"Say {{{blank}}} please")
    assert f"has the blank {{{blank}}}; the blanks here are {known}" in str(error.value)


def test_temperature_and_limit_reach_the_speaker(script):
    speaker = script([FOUND])
    run(ModelCritic(speaker, TASK, temperature=0.3, max_tokens=77).feedback(PROBLEM, ATTEMPT, random.Random(0)))
    assert speaker.heard[0][1] == Sampling(0.3, max_tokens=77)

"""Partners that ask a speaker: retries, templates, settings. Each role has its own `test_model_<role>.py`."""

from __future__ import annotations

import random

import pytest

from sparring.common.errors import ConfigError, CutOff, Unavailable, Unreadable
from sparring.core.chat import LEARNER, USER, Chat, Message, Part, question
from sparring.core.partner import ask, conversation
from sparring.core.speaker import PARTNER, Reply, Sampling
from sparring.core.task import Problem
from sparring.partners.model_critic import ModelCritic
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.model_editor import ModelEditor
from sparring.partners.model_judge import ModelJudge
from sparring.partners.reward_judge import RewardJudge
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import (
    ATTEMPT,
    CANARY,
    FAULT,
    FOUND,
    PROBLEM,
    TASK,
    answers,
    prompts,
    run,
    thinking,
)


class Cut:
    """A speaker whose first `times` replies are truncated; after them come `whole` ones."""

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
        (
            lambda p: ModelCritic(Scripted(("x",)), TASK, prompt=p),
            "kept",
            "{answer}, {examples}, {gold}, {question}, {steps}",
        ),
        (lambda p: ModelEditor(Scripted(("x",)), TASK, prompt=p), "gold", "{kept}, {question}, {reason}, {step}"),
        (lambda p: ModelJudge(Scripted(("x",)), mode="pointwise", prompt=p), "gold", "{question}, {response}"),
        (lambda p: ModelJudge(Scripted(("x",)), prompt=p), "response", "{a}, {b}, {question}"),
    ],
)
def test_a_prompt_with_a_blank_that_is_not_filled_is_refused_at_once(make, blank, known):
    with pytest.raises(ConfigError) as error:
        make(f"Say {{{blank}}} please")
    assert f"has the unknown placeholder {{{blank}}}; choose from {known}" in str(error.value)


def test_temperature_and_limit_reach_the_speaker(script):
    speaker = script([FOUND])
    run(ModelCritic(speaker, TASK, temperature=0.3, max_tokens=77).feedback(PROBLEM, ATTEMPT, random.Random(0)))
    assert speaker.heard[0][1] == Sampling(0.3, max_tokens=77)


# ── conversations ───────────────────────────────────────────────────────────────────────────────────────────

TALK = question("Which sums do you know?", "Be brief.")
TALK = TALK.then(Message(LEARNER, (Part(CANARY, LEARNER, thought=True), Part("Small ones.", LEARNER))))
TALK = TALK.say(USER, "((3+7)+5)=")

ASKED = {
    "discussant": lambda s, p: ModelDiscussant(s).remark(p, p.chat.then(thinking().last), "supportive", None),
    "critic": lambda s, p: ModelCritic(s, TASK).feedback(p, ATTEMPT, None),
    "editor": lambda s, p: ModelEditor(s, TASK).improve(p, ATTEMPT, FAULT, None),
    "judge": lambda s, p: ModelJudge(s, mode="pointwise").score(p, answers("16"), None),
    "judge by pairs": lambda s, p: ModelJudge(s).score(p, answers("16", "17"), random.Random(0)),
    "judge by reward": lambda s, p: RewardJudge(s).score(p, answers("16"), None),
}
LINES_OF_ALL = {"discussant": "Hm.", "critic": FOUND, "editor": "10+5=15\n15", "judge": "Score: 3",
                "judge by pairs": "[[A]]", "judge by reward": "0.5"}  # fmt: skip


def shown(role: str, problem: Problem) -> str:
    """Return all text that the speaker in `role` gets about `problem`."""
    speaker = Scripted((LINES_OF_ALL[role],))
    run(ASKED[role](speaker, problem))
    told = [turn.text for chat in speaker.heard for turn in chat.seen_by(PARTNER)]
    assert told
    return "\n".join(told)


@pytest.mark.parametrize("role", ASKED)
def test_every_partner_sees_the_whole_conversation_in_its_order(role):
    told = shown(role, Problem("x", TALK, gold="15"))
    places = [told.index(words) for words in ("Be brief.", "Which sums do you know?", "Small ones.", "((3+7)+5)=")]
    assert places == sorted(places)


@pytest.mark.parametrize("role", ASKED)
def test_no_byte_of_a_thought_in_an_earlier_turn_reaches_a_partner(role):
    assert CANARY not in shown(role, Problem("x", TALK, gold="15"))


@pytest.mark.parametrize("role", ASKED)
def test_a_question_alone_is_shown_as_it_is(role):
    told = shown(role, PROBLEM)
    assert "((3+7)+5)=" in told
    assert "[user]" not in told


def test_a_conversation_names_who_spoke():
    assert conversation(TALK, "student") == (
        "[system] Be brief.\n\n[user] Which sums do you know?\n\n[student] Small ones.\n\n[user] ((3+7)+5)="
    )

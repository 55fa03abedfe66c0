"""Remarks for and against an answer: the three branches word by word, and each measure by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sparring.common.errors import Skipped, Unavailable
from sparring.core.chat import LEARNER, Chat
from sparring.core.partner import DISCUSSANT, Nobody
from sparring.core.protocol import Participant, SingleReply
from sparring.core.speaker import Reply, Sampling, text_reply
from sparring.methods.saie import SAIE
from sparring.parsing.steps import LINES
from sparring.partners.task_discussant import TaskDiscussant
from sparring.protocols.pressure import REQUEST, Pressure
from tests.protocols.asking import SUM, TASK, measure, texts

QUESTION = "((3+7)+5)="
RIGHT, WRONG = "3+7=10\n10+5=15\n15", "3+7=11\n11+5=16\n16"
TRAINED = SAIE(Nobody())
GOOD, BAD, PLACEBO = "check: 3+7=10", "It is 17.", "Please look again."


@dataclass
class Remarks:
    """A discussant with one remark for each stance; an error is raised."""

    supportive: str | Exception = GOOD
    adversarial: str | Exception = BAD
    heard: list[tuple[str, Chat]] = field(default_factory=list)

    async def remark(self, problem, chat, stance, rng) -> str:
        self.heard.append((stance, chat))
        if isinstance(said := getattr(self, stance), Exception):
            raise said
        return said


@dataclass
class Replies:
    """A learner that answers each remark in its own way; None fails."""

    first: str | None
    after: dict[str, str | None]
    heard: list[Chat] = field(default_factory=list)

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.heard.append(chat)
        line = self.first if chat.text == QUESTION else self.after[chat.text]
        if line is None:
            raise Unavailable("no line")
        return text_reply(line, LEARNER)


def learner(first: str | None, good: str | None = None, bad: str | None = None, placebo: str | None = None, **more):
    replies = Replies(first, {GOOD: good, BAD: bad, PLACEBO: placebo, **more})
    return Participant("learner", replies, TRAINED, LINES)


def test_three_branches_of_one_answer_word_by_word():
    partner, asked = Remarks(), learner(WRONG, RIGHT, "17", WRONG)
    found = measure(Pressure(partner), asked)
    start = [("user", QUESTION), (LEARNER, WRONG)]
    assert texts(found.transcripts) == [
        [*start, (DISCUSSANT, GOOD), (LEARNER, RIGHT)],
        [*start, (DISCUSSANT, BAD), (LEARNER, "17")],
        [*start, (DISCUSSANT, PLACEBO), (LEARNER, WRONG)],
    ]
    assert [(stance, texts([chat])) for stance, chat in partner.heard] == [
        ("supportive", [start]),
        ("adversarial", [start]),
    ]
    assert found.response == WRONG
    assert found.measures == {
        "accuracy": 0.5,
        "right_first": False,
        "right_supportive": True,
        "repaired_supportive": True,
        "flipped_supportive": True,
        "leaked_supportive": False,
        "right_adversarial": False,
        "repaired_adversarial": False,
        "flipped_adversarial": True,
        "leaked_adversarial": False,
        "right_placebo": False,
        "repaired_placebo": False,
        "flipped_placebo": False,
    }


def test_a_right_answer_is_held_or_not():
    found = measure(Pressure(Remarks()), learner(RIGHT, "15", "17", RIGHT))
    assert found.measures["accuracy"] == 0.5
    assert {name: value for name, value in found.measures.items() if name.startswith(("held", "flipped"))} == {
        "held_supportive": True,
        "flipped_supportive": False,
        "held_adversarial": False,
        "flipped_adversarial": True,
        "held_placebo": True,
        "flipped_placebo": False,
    }
    assert not any(name.startswith("repaired") for name in found.measures)


@pytest.mark.parametrize(
    ("remark", "leaked"), [(GOOD, False), ("The answer is 15.", True), ("10+5=15, not 16", True), ("It is 17.", False)]
)
def test_remarks_that_give_the_answer_away_are_counted(remark, leaked):
    said = learner(WRONG, RIGHT, "17", WRONG, **{remark: RIGHT})
    assert measure(Pressure(Remarks(supportive=remark)), said).measures["leaked_supportive"] is leaked


def test_who_is_steady_ranks_above_who_is_stubborn_and_who_gives_in():
    def accuracy(*problems: Participant) -> float:
        return sum(measure(Pressure(Remarks()), one).measures["accuracy"] for one in problems) / len(problems)

    steady = accuracy(learner(RIGHT, RIGHT, RIGHT, RIGHT), learner(WRONG, RIGHT, WRONG, WRONG))
    stubborn = accuracy(learner(RIGHT, RIGHT, RIGHT, RIGHT), learner(WRONG, WRONG, WRONG, WRONG))
    giving_in = accuracy(learner(RIGHT, RIGHT, "17", RIGHT), learner(WRONG, RIGHT, "17", WRONG))
    assert (steady, stubborn, giving_in) == (0.75, 0.5, 0.5)


@pytest.mark.parametrize("error", [Unavailable("down"), Skipped("not now")])
def test_a_partner_that_fails_is_no_wrong_answer(error):
    found = measure(Pressure(Remarks(adversarial=error)), learner(RIGHT, RIGHT, "17", RIGHT))
    assert [(failure.who, failure.kind) for failure in found.failures] == [(DISCUSSANT, type(error).__name__)]
    assert found.measures == {
        "right_first": True,
        "right_supportive": True,
        "held_supportive": True,
        "flipped_supportive": False,
        "leaked_supportive": False,
        "right_placebo": True,
        "held_placebo": True,
        "flipped_placebo": False,
    }
    assert [len(chat.messages) for chat in found.transcripts] == [4, 2, 4]


def test_a_learner_that_does_not_answer_a_remark_is_wrong_in_that_branch():
    found = measure(Pressure(Remarks()), learner(RIGHT, RIGHT, None, RIGHT))
    assert [(failure.who, failure.kind) for failure in found.failures] == [(LEARNER, "Unavailable")]
    assert (found.measures["accuracy"], found.measures["held_adversarial"]) == (0.5, False)
    assert found.measures["leaked_adversarial"] is False
    assert "flipped_adversarial" not in found.measures
    assert texts(found.transcripts)[1][-1] == (DISCUSSANT, BAD)


def test_without_a_first_answer_nobody_remarks():
    partner = Remarks()
    with pytest.raises(Unavailable):
        measure(Pressure(partner), learner(None))
    assert not partner.heard
    assert Pressure(partner).unanswered() == {"accuracy": False, "right_first": False}


@pytest.mark.parametrize(
    ("settings", "answers", "after"),
    [
        ({}, TRAINED, ""),
        ({}, SingleReply(), f"\n\n{REQUEST}"),
        ({"request": ""}, SingleReply(), ""),
        ({"request": "Again."}, TRAINED, "\n\nAgain."),
    ],
)
def test_a_model_without_a_method_is_asked_to_answer_again_unless_told_otherwise(settings, answers, after):
    replies = {f"{remark}{after}": RIGHT for remark in (GOOD, BAD, "Hm.")}
    asked = Participant("learner", Replies(WRONG, replies), answers, LINES)
    found = measure(Pressure(Remarks(), placebo="Hm.", **settings), asked)
    assert [texts([chat])[0][2] for chat in found.transcripts] == [(DISCUSSANT, words) for words in replies]
    assert found.measures["accuracy"] == 1


def test_the_tasks_own_remarks_are_the_same_each_time():
    problem = next(p for p in TASK.problems("train") if p.id == SUM.chat.text)

    class Echo:
        async def reply(self, chat, sampling, sample=0):
            return text_reply(RIGHT, LEARNER)

    def remarks() -> list[str]:
        found = measure(Pressure(TaskDiscussant(TASK)), Participant("e", Echo(), SingleReply(), LINES), problem=problem)
        return [chat.messages[2].text for chat in found.transcripts]

    first = remarks()
    assert first == remarks()
    assert len(set(first)) == 3
    assert first[2] == f"{PLACEBO}\n\n{REQUEST}"

"""Every evaluation protocol keeps its word: settings, measures, what a learner is shown, and what a failure is."""

from __future__ import annotations

import asyncio
import json
import math
import random
from dataclasses import MISSING, fields, is_dataclass
from typing import get_args

import pytest

from sparring.common.errors import Unavailable
from sparring.common.registry import first_sentence
from sparring.common.schema import plain
from sparring.config.factory import PARTNERS, PROTOCOLS, ROLES, make_protocol, name_of, role_fields
from sparring.core.chat import LEARNER, SYSTEM, USER, Chat
from sparring.core.evaluation import Evaluation, Outcome, measure_problems
from sparring.core.protocol import EvaluationProtocol, Participant, SingleReply
from sparring.core.speaker import Reply, Sampling, text_reply
from sparring.core.task import Offer, Problem, offers
from sparring.methods.tripost import TriPosT
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

TASK = MultistepArithmetic(train=24, development=5, test=5)
SUM = next(problem for problem in TASK.problems("train") if problem.gold == "15")
WRONG = "99=98\n98"


class Saying:
    """A learner that says the same to everything, or nothing at all."""

    def __init__(self, line: str | None) -> None:
        self.line = line
        self.heard: list[Chat] = []

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.heard.append(chat)
        if self.line is None:
            raise Unavailable("no line")
        return text_reply(self.line, LEARNER)


def programs(name: str) -> dict:
    """The roles of the protocol `name`, each filled by the task's own program."""
    return {role: PARTNERS[f"task_{ROLES[kind]}"](task=TASK) for role, kind in role_fields(PROTOCOLS[name]).items()}


@pytest.fixture(params=list(PROTOCOLS))
def name(request) -> str:
    return request.param


@pytest.fixture
def protocol(name) -> EvaluationProtocol:
    return make_protocol(name, {}, programs(name), name)


def outcome(protocol: EvaluationProtocol, speaker: Saying, problem: Problem = SUM) -> Outcome:
    fewest, _ = protocol.learners
    learners = [Participant(f"learner {n}", speaker, SingleReply(), TASK.layout) for n in range(fewest)]
    evaluation = asyncio.run(measure_problems(protocol, TASK, [problem], lambda problem: learners))
    return evaluation.outcomes[0]


def test_the_catalogue_holds_solo_and_the_conversations():
    assert len(list(PROTOCOLS)) >= 4
    assert {"solo", "self_improvement", "discussion", "pressure"} <= set(PROTOCOLS)


def test_it_is_a_protocol_and_says_in_a_line_what_it_is(name, protocol):
    assert isinstance(protocol, EvaluationProtocol)
    assert name_of(protocol) == name
    assert first_sentence(PROTOCOLS[name]).endswith(".")
    assert protocol.needs <= set(get_args(Offer))
    assert protocol.needs <= offers(TASK)
    fewest, most = protocol.learners
    assert 1 <= fewest <= (most or fewest)


def test_its_fields_are_its_settings_frozen_and_with_defaults(name, protocol):
    kind, roles = PROTOCOLS[name], role_fields(PROTOCOLS[name])
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        assert required == (field.name in roles), field.name
    assert make_protocol(name, plain(protocol, without=tuple(roles)), programs(name), name) == protocol


@pytest.mark.parametrize("line", [SUM.rationale, WRONG, "no number"])
def test_it_gives_its_primary_measure_and_finite_numbers_the_same_each_time(protocol, line):
    found = outcome(protocol, Saying(line))
    assert protocol.primary in found.measures
    for measure, value in found.measures.items():
        assert isinstance(value, bool | int | float), measure
        assert math.isfinite(value), measure
    assert found == outcome(protocol, Saying(line))
    json.dumps(protocol.summarize([found.measures] * 3), allow_nan=False)


def test_its_outcome_survives_json(protocol):
    found = outcome(protocol, Saying(SUM.rationale))
    row = json.loads(json.dumps(found.plain(), allow_nan=False))
    again = Outcome.of(row)
    assert again.plain() == found.plain()
    assert (again.measures, again.failures) == (found.measures, found.failures)
    assert Evaluation((again,), protocol.primary).plain() == Evaluation((found,), protocol.primary).plain()


def test_its_transcripts_hold_the_question_and_what_the_learner_said(protocol):
    found = outcome(protocol, Saying(WRONG))
    assert found.transcripts
    for chat in found.transcripts:
        assert SUM.chat.text in chat.messages[0].text
        assert any(WRONG in message.full_text for message in chat.messages if message.author == LEARNER)


def test_no_learner_is_shown_the_gold_answer_but_by_a_partner(protocol):
    for line in (WRONG, "I cannot say."):
        outcome(protocol, speaker := Saying(line))
        shown = [m.full_text for chat in speaker.heard for m in chat.messages if m.author in (USER, SYSTEM)]
        assert shown
        assert not [text for text in shown if SUM.gold in text]


def test_a_learner_that_says_nothing_is_a_typed_failure(protocol):
    found = outcome(protocol, Saying(None))
    assert {failure.kind for failure in found.failures} == {"Unavailable"}
    assert all(failure.who.startswith(LEARNER) for failure in found.failures)
    assert not any(found.measures.values())
    assert Outcome.of(json.loads(json.dumps(found.plain()))) == found


def test_it_measures_a_learner_that_was_trained_to_revise(protocol):
    partners = {role: PARTNERS[f"task_{ROLES[kind]}"](task=TASK) for role, kind in role_fields(TriPosT).items()}
    fewest, _ = protocol.learners
    learner = Participant("reviser", Saying(SUM.rationale), TriPosT(**partners), TASK.layout)
    found = asyncio.run(protocol.measure(SUM, TASK, [learner] * fewest, random.Random(0)))
    assert protocol.primary in found.measures

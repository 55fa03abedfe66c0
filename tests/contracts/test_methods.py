"""Every method keeps its word: settings, roles, pace, an episode, what it teaches, and how it answers."""

from __future__ import annotations

import asyncio
import random
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import get_args

import pytest

from sparring.common.registry import first_sentence
from sparring.common.schema import plain
from sparring.common.seeds import named_rng
from sparring.config.factory import METHODS, PARTNERS, ROLES, for_use, make_method, name_of, optional_roles, role_fields
from sparring.core.chat import GOLD, LEARNER, message, question
from sparring.core.episode import Episode
from sparring.core.experience import Demonstration, Preference
from sparring.core.method import Answered, Method, Schedule
from sparring.core.objective import DPO, Likelihood
from sparring.core.task import Offer, offers
from sparring.parsing.steps import COMPACT
from sparring.speakers.scripted import Scripted
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.training.trainer import LOSSES

NAMES = ["dpo", "lmsi", "response_preference", "saie", "sft", "thought_preference", "tripost"]
SETTINGS = {"thought_preference": {"thought_format": "think"}}
THOUGHT = "<think>let me see</think>"
LINES = {  # right, fault-finding and wrong by turns; thoughts where the method wants them
    "lmsi": ("7", "8", "6", "7", "5"),
    "thought_preference": (f"{THOUGHT}7", f"{THOUGHT}8"),
    "tripost": ("3+4=7\n7", "ok", "3+4=8\n8", "1 3+4=8", "3+4=7\n7", "ok"),
}


class Compared(MultistepArithmetic):
    """Arithmetic whose every problem also has a worse reply."""

    def problems(self, split):
        return [_compared(problem) for problem in super().problems(split)]


def _compared(problem):
    worked = problem.chat.then(message(LEARNER, problem.rationale, GOLD, weight=1.0))
    return replace(problem, worked=worked, rejected=message(LEARNER, "0", GOLD))


TASK = Compared(train=24, development=5, test=5)


@pytest.fixture(params=list(METHODS))
def name(request) -> str:
    return request.param


@pytest.fixture
def method(name) -> Method:
    """The method with the task's programs in its roles."""
    roles = {role: PARTNERS[f"task_{ROLES[kind]}"](task=TASK) for role, kind in role_fields(METHODS[name]).items()}
    return make_method(name, SETTINGS.get(name, {}), roles, name)


def learner(name: str) -> Scripted:
    return Scripted(LINES.get(name, ("7", "8")))


def test_the_catalogue_holds_seven_methods():
    assert list(METHODS) == NAMES


def test_it_is_a_method_and_says_in_a_line_what_it_is(name, method):
    assert isinstance(method, Method)
    assert name_of(method) == name
    assert first_sentence(METHODS[name]).endswith(".")


def test_its_fields_are_its_settings_frozen_and_with_defaults(name, method):
    kind = METHODS[name]
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        assert required == (field.name in role_fields(kind).keys() - optional_roles(kind)), field.name
    assert for_use(name, plain(method, without=tuple(role_fields(kind)))).schedule == method.schedule


def test_its_needs_pace_and_objective_are_known(method):
    assert method.needs <= set(get_args(Offer))
    assert method.needs <= offers(TASK)
    assert isinstance(method.schedule, Schedule)
    assert method.schedule.epochs >= 1
    assert method.schedule.problems is None or method.schedule.problems >= 1
    assert method.schedule.lifetime in ("phase", "round")
    assert isinstance(method.objective, Likelihood | DPO)
    assert type(method.objective) in LOSSES
    assert method.consults >= 0


def test_every_role_can_be_filled_by_a_program_and_by_a_speaker(name):
    roles = role_fields(METHODS[name])
    assert (name in ("dpo", "lmsi", "sft")) == (not roles)
    for kind in roles.values():
        assert f"task_{ROLES[kind]}" in PARTNERS
        assert f"model_{ROLES[kind]}" in PARTNERS


def play(method: Method, name: str) -> list[Episode]:
    async def one(problem) -> Episode:
        return await method.interact(problem, TASK, learner(name), named_rng(problem.id))

    return [asyncio.run(one(problem)) for problem in TASK.problems("train")]


def test_a_round_teaches_something_that_its_loss_can_read_and_again_the_same(name, method):
    episodes = play(method, name)
    assert all(isinstance(episode, Episode) for episode in episodes)
    assert [episode.problem for episode in episodes] == list(TASK.problems("train"))
    taught = method.harvest(episodes, [], COMPACT, random.Random(0))
    wanted = Preference if isinstance(method.objective, DPO) else Demonstration
    ids = {problem.id for problem in TASK.problems("train")}
    assert all(isinstance(piece, wanted) and piece.problem in ids for piece in taught)
    assert taught == method.harvest(play(method, name), [], COMPACT, random.Random(0))
    if wanted is Demonstration:
        assert taught
        assert all(any(part.weight for m in piece.chat.messages for part in m.parts) for piece in taught)


def test_it_answers_a_question_without_gold_and_with_nobody_in_its_roles(name):
    used, speaker = for_use(name, SETTINGS.get(name, {})), learner(name)
    found = asyncio.run(used.answer(question("(3+4)="), speaker, COMPACT))
    assert isinstance(found, Answered)
    assert found.response.strip().endswith("7")
    assert found.attempts
    assert found.attempts[-1] == found.response
    assert THOUGHT not in found.response
    assert "(3+4)=" in speaker.heard[0].text
    assert next(said.author for said in found.chat.messages) == "user"

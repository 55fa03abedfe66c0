"""A judge that is a reward model: its recipe keys, its input, and that only a number is a score."""

from __future__ import annotations

import random

import pytest

from sparring.common.errors import ConfigError
from sparring.config.factory import PARTNERS, ROLES, make_partner, partner_table
from sparring.core.chat import LEARNER, USER, question
from sparring.core.partner import Judge
from sparring.core.task import Problem
from sparring.partners.model_judge import ModelJudge
from sparring.partners.reward_judge import RewardJudge
from sparring.speakers.reward import Reward
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import PROBLEM, TASK, answers, run
from tests.reward_model import save_reward_model

WHERE = "phase 1 (x): role"


def make(role: str, **table):
    kind = next(kind for kind, name in ROLES.items() if name == role)
    return make_partner(role, kind, table, TASK, WHERE)


def test_it_is_shown_the_response_as_what_the_learner_said_in_the_whole_chat():
    chat = question("One?", "Be kind.").say(LEARNER, "1").say(USER, "Two?")
    speaker = Scripted(("0.5", "-1.25"))
    found = run(RewardJudge(speaker).score(Problem("x", chat), answers("2", "3", "2"), random.Random(0)))
    assert found.values == (0.5, -1.25, 0.5)
    assert [heard.messages[:-1] for heard in speaker.heard] == [chat.messages] * 2
    assert [(heard.last.author, heard.text) for heard in speaker.heard] == [(LEARNER, "2"), (LEARNER, "3")]


@pytest.mark.parametrize("reply", ["nan", "inf", "-inf", "Score: 3", "", "1 or 2"])
def test_what_is_no_finite_number_is_a_typed_failure_and_no_score(reply):
    found = run(RewardJudge(Scripted((reply,))).score(PROBLEM, answers("15", "16"), random.Random(0)))
    assert found.values == (None, None)
    assert [(failure.kind, failure.who) for failure in found.failures] == [("Unreadable", "judge")] * 2


def test_a_question_that_is_too_long_for_it_is_a_failure_of_that_answer_alone(tmp_path):
    judge = make("judge", by="reward", model=save_reward_model(tmp_path), device="cpu")
    found = run(judge.score(PROBLEM, answers("15", "1" * 999), random.Random(0)))
    assert found.values[0] is not None
    assert found.values[1] is None
    assert [(failure.kind, failure.who) for failure in found.failures] == [("TooLong", "judge")]


def test_by_reward_is_the_judge_and_tells_the_table_that_makes_it_again():
    judge = make("judge", by="reward", model="owner/model", revision="main", dtype="bfloat16")
    assert judge == RewardJudge(Reward("owner/model", revision="main", dtype="bfloat16"))
    told = partner_table(judge)
    assert told["by"] == "reward"
    assert make("judge", **told) == judge


@pytest.mark.parametrize("role", ["discussant", "critic", "editor"])
def test_by_reward_is_refused_in_another_role_in_a_line(role):
    with pytest.raises(ConfigError) as error:
        make(role, by="reward", model="owner/model")
    assert str(error.value) == f"in {WHERE}: by = 'reward' can only be a judge; choose another speaker for the {role}"


def test_a_key_of_judges_that_are_asked_is_unknown_to_it():
    with pytest.raises(ConfigError, match=r"'mode' .*; choose from batch_tokens, device, .*trust_remote_code$"):
        make("judge", by="reward", model="owner/model", mode="pairwise")
    with pytest.raises(ConfigError, match="unknown key 'speaker'; choose from"):
        make("judge", by="reward", model="owner/model", speaker={"by": "local"})


def test_a_judge_by_prompt_cannot_have_a_reward_model_as_its_speaker():
    with pytest.raises(ConfigError, match="'reward' cannot reply to the prompts of model_judge; give by = 'reward'"):
        make("judge", by="model_judge", speaker={"by": "reward", "model": "owner/model"})
    assert make("judge", by="model_judge", speaker={"by": "scripted", "replies": ["[[A]]"]})
    with pytest.raises(ConfigError, match="cannot reply to a prompt; it can only be a judge"):
        run(ModelJudge(Reward("owner/model")).score(PROBLEM, answers("1", "2"), random.Random(0)))


def test_a_partner_by_its_name_keeps_its_name_when_it_is_told():
    judge = make("judge", by="reward_judge", speaker={"by": "scripted", "replies": ["1"]})
    assert isinstance(judge, PARTNERS["reward_judge"])
    assert isinstance(judge, Judge)
    assert make("judge", **partner_table(judge)) == judge

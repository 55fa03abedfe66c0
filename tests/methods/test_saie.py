import asyncio
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparring.common.errors import ConfigError, Unavailable
from sparring.core.chat import LEARNER
from sparring.core.partner import DISCUSSANT
from sparring.core.rollout import summarize
from sparring.methods.saie import SAIE
from sparring.parsing.steps import COMPACT
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.placebo import Placebo
from sparring.partners.task_discussant import TaskDiscussant
from sparring.speakers.scripted import Scripted
from tests.methods.conftest import account, play

WRONG, RIGHT = "3+7=11\n11+5=16\n16", "3+7=10\n10+5=15\n15"


def test_one_discussion_and_what_it_teaches(problem, arithmetic, script, golden):
    method = SAIE(TaskDiscussant(arithmetic), stance="supportive")
    episode = play(method, problem, arithmetic, script([WRONG]))
    golden("saie", account(episode, method.harvest([episode], [], COMPACT, random.Random(0))))


@pytest.mark.parametrize(
    "rule_attempt_stance",
    [
        ("supportive", RIGHT, "supportive"),
        ("adversarial", WRONG, "adversarial"),
        ("by_correctness", RIGHT, "adversarial"),
        ("by_correctness", WRONG, "supportive"),
    ],
)
def test_stance_rules(rule_attempt_stance, problem, arithmetic, script):
    rule, attempt, stance = rule_attempt_stance
    episode = play(SAIE(Echo(), stance=rule), problem, arithmetic, script([attempt]))
    assert episode.chat.text == stance


def test_a_random_stance_keeps_its_share(problem, arithmetic, script):
    method = SAIE(Echo(), adversarial_share=0.25, turns=500)
    chat = play(method, problem, arithmetic, script([WRONG])).chat
    stances = [message.text for message in chat.messages if message.author == DISCUSSANT]
    assert stances.count("adversarial") / 500 == pytest.approx(0.25, abs=0.06)  # three standard deviations


def stances(problem, arithmetic, script, turns):
    episode = play(SAIE(Echo(), stance="alternate", turns=turns), problem, arithmetic, script([WRONG]))
    return [wording.text for wording in episode.chat.messages if wording.author == DISCUSSANT]


def test_alternate_goes_between_support_and_attack_by_turns_and_by_visits(problem, arithmetic, script):
    first, second = stances(problem, arithmetic, script, turns=2)
    assert {first, second} == {"supportive", "adversarial"}
    visits = [stances(replace(problem, visit=visit), arithmetic, script, turns=1)[0] for visit in range(4)]
    assert visits == [first, second, first, second]


def test_alternate_begins_with_an_attack_for_half_of_the_problems(problem, arithmetic, script):
    begins = [stances(replace(problem, id=f"p{n}"), arithmetic, script, turns=1)[0] for n in range(200)]
    assert 70 < begins.count("adversarial") < 130


def test_the_remark_can_be_what_is_learnt(problem, arithmetic, script):
    method = SAIE(Echo(), stance="adversarial", learn="remark", gold_weight=0)
    [taught] = method.harvest([play(method, problem, arithmetic, script([RIGHT]))], [], COMPACT, random.Random(0))
    assert taught.reader == DISCUSSANT
    assert [(m.author, m.parts[0].weight) for m in taught.chat.messages[-2:]] == [(LEARNER, 0), (DISCUSSANT, 1)]


def test_own_revisions_are_learnt_where_they_are_right(problem, arithmetic, script):
    method = SAIE(Echo(), learn="own_correct_revision", gold_weight=0)
    right = play(method, problem, arithmetic, script([WRONG, RIGHT]))
    wrong = play(method, problem, arithmetic, script([WRONG, WRONG]))
    [taught] = method.harvest([right, wrong], [], COMPACT, random.Random(0))
    assert taught.chat.text == RIGHT
    assert [p.weight for m in taught.chat.messages for p in m.parts] == [0, 0, 0, 1]
    assert taught.chat.last.parts[0].ids is not None  # the sampled tokens are the trained ones


def test_a_partner_that_fails_costs_the_discussion_not_the_gold(problem, arithmetic, script):
    class Dumb:
        async def remark(self, *_):
            raise Unavailable("no reply in 30 s")

    method = SAIE(Dumb())
    episode = play(method, problem, arithmetic, script([RIGHT]))
    assert episode.failed
    assert [(f.who, f.kind) for f in episode.failures] == [(DISCUSSANT, "Unavailable")]
    assert [d.group for d in method.harvest([episode], [], COMPACT, random.Random(0))] == ["gold"]


def test_a_reply_cut_at_its_limit_is_no_attempt(problem, arithmetic, script):
    episode = play(SAIE(Echo()), problem, arithmetic, script([RIGHT], finish="length"))
    assert [(f.who, f.kind) for f in episode.failures] == [(LEARNER, "CutOff")]


def test_it_is_used_alone(problem, script):
    outcome = asyncio.run(SAIE(Echo()).answer(problem.chat, script([RIGHT]), COMPACT))
    assert outcome.response == RIGHT


# ── leakage ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("told_gold", [True, False])
def test_leakage_is_measured_of_a_model_whether_or_not_it_was_told(told_gold, problem, arithmetic, script):
    for wording, leaks in (("It is 15.", 1.0), ("Look at the first line.", 0.0)):
        method = SAIE(ModelDiscussant(Scripted((wording,)), told_gold=told_gold))
        episodes = [play(method, problem, arithmetic, script([attempt])) for attempt in (WRONG, RIGHT)]
        assert [episode.notes["leaked"] for episode in episodes] == [leaks, leaks]
        assert [episode.notes.get("leaked_when_wrong") for episode in episodes] == [leaks, None]


def test_leakage_is_measured_of_a_program_and_shown_for_the_round(problem, arithmetic, script):
    task_hints = SAIE(TaskDiscussant(arithmetic), stance="supportive", turns=2)
    first_line_right = "3+7=10\n10+5=16\n16"
    episodes = [
        play(task_hints, problem, arithmetic, script([WRONG, first_line_right])),  # hints: 3+7=10, then 10+5=15
        play(task_hints, problem, arithmetic, script([WRONG, WRONG])),
    ]
    assert [m.text for m in episodes[0].chat.messages if m.author == DISCUSSANT] == ["check: 3+7=10", "check: 10+5=15"]
    assert [episode.notes["leaked"] for episode in episodes] == [0.5, 0.0]
    assert summarize(episodes)["leaked"] == 0.25
    assert summarize(episodes)["leaked_when_wrong"] == 0.25


class Echo:
    """Says its stance."""

    async def remark(self, problem, chat, stance, rng):
        return stance


# ── controls ────────────────────────────────────────────────────────────────────────────────────────────────


class Named:
    """Names the problem that it remarks on."""

    async def remark(self, problem, chat, stance, rng):
        return f"about {problem.id}"


def shuffled(problems, arithmetic, script, seed=0, **changes):
    """Each problem with the one whose remark its discussion is learnt with."""
    method = SAIE(Named(), remarks="shuffled", gold_weight=0, **changes)
    episodes = [play(method, p, arithmetic, script([RIGHT])) for p in problems]
    taught = method.harvest(episodes, [], COMPACT, random.Random(seed))
    return [(piece.problem, piece.chat.messages[2].text.removeprefix("about ")) for piece in taught]


@given(counts=st.lists(st.integers(1, 3), max_size=6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shuffled_remarks_are_used_once_and_no_problem_keeps_its_own(counts, seed, problem, arithmetic, script):
    problems = [replace(problem, id=f"p{n}") for n, count in enumerate(counts) for _ in range(count)]
    pairs = shuffled(problems, arithmetic, script, seed)
    assert all(own != other for own, other in pairs)
    assert pairs == shuffled(problems, arithmetic, script, seed)
    if 2 * max(counts, default=0) <= len(problems):
        assert [own for own, _ in pairs] == [p.id for p in problems]
        assert sorted(other for _, other in pairs) == sorted(p.id for p in problems)


def test_shuffled_remarks_differ_by_seed_and_change_neither_question_nor_attempt(problem, arithmetic, script):
    problems = arithmetic.problems("train")
    assert shuffled(problems, arithmetic, script) != shuffled(problems, arithmetic, script, seed=1)
    own, other = (SAIE(Named(), remarks=remarks) for remarks in ("own", "shuffled"))
    episodes = [play(own, p, arithmetic, script([p.rationale])) for p in problems]
    pieces = [method.harvest(episodes, [], COMPACT, random.Random(0)) for method in (own, other)]
    for mine, theirs in zip(*pieces, strict=True):
        assert [m for m in mine.chat.messages if m.author != DISCUSSANT] == [
            m for m in theirs.chat.messages if m.author != DISCUSSANT
        ]
    assert pieces[0] != pieces[1]


def test_a_failed_discussion_gives_and_gets_no_remark(problem, arithmetic, script):
    method = SAIE(Named(), remarks="shuffled")
    problems = [replace(problem, id=f"p{n}") for n in range(3)]
    finishes = ("stop", "length", "stop")
    episodes = [play(method, p, arithmetic, script([RIGHT], f)) for p, f in zip(problems, finishes, strict=True)]
    taught = method.harvest(episodes, [], COMPACT, random.Random(0))
    assert [(t.problem, t.group) for t in taught] == [
        ("p0", "discussion"), ("p0", "gold"), ("p1", "gold"), ("p2", "discussion"), ("p2", "gold")
    ]  # fmt: skip


def test_the_remark_itself_can_be_learnt_shuffled(problem, arithmetic, script):
    pairs = shuffled([problem, replace(problem, id="p")], arithmetic, script, learn="remark")
    assert pairs == [(problem.id, "p"), ("p", problem.id)]


@pytest.mark.parametrize("changes", [{"turns": 2}, {"learn": "own_correct_revision"}])
def test_a_reply_to_ones_own_remark_is_not_learnt_after_another(changes):
    with pytest.raises(ConfigError, match="needs discussions that end in their first remark"):
        SAIE(Named(), remarks="shuffled", **changes)


def test_a_placebo_says_the_same_to_everybody(problem, arithmetic, script):
    for stance in ("supportive", "adversarial"):
        for placebo, said in ((Placebo(), "Please look again."), (Placebo("Hm."), "Hm.")):
            assert play(SAIE(placebo, stance=stance), problem, arithmetic, script([RIGHT])).chat.text == said
    with pytest.raises(ConfigError, match="the text of the placebo is empty"):
        Placebo(" ")

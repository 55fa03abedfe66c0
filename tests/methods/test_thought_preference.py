import asyncio
import random
from dataclasses import replace

import pytest

from sparring.common.errors import ConfigError, Unreadable
from sparring.core.chat import LEARNER
from sparring.core.objective import DPO
from sparring.core.partner import Scores, by_pairs
from sparring.methods.thought_preference import ResponsePreference, ThoughtPreference
from sparring.models.renderer import Renderer
from sparring.models.tiny import tiny_tokenizer
from sparring.parsing.steps import COMPACT
from sparring.partners.task_judge import TaskJudge
from sparring.training.losses.dpo import DPOLoss
from tests.conftest import Cut
from tests.methods.conftest import account, play


class ByLength:
    """Scores an answer by what a table says, 0 for others; `seen` is all it was shown."""

    def __init__(self, table):
        self.table, self.seen = table, []

    async def score(self, problem, answers, rng):
        self.seen += [repr(answer) + repr(problem) for answer in answers]
        return Scores(tuple(self.table.get(answer.text, 0.0) for answer in answers))


def thinking(judge, **settings):
    return ThoughtPreference(judge, **{"thought_format": "think", "thought_prompt": "", "samples": 4, **settings})


REPLIES = ["<think>3+7=11</think>16", "<think>3+7=10</think>15", "no marker 15", "<think>é3+7=12</think>17"]


def test_the_best_is_preferred_to_the_worst_thought_and_all(problem, arithmetic, script, golden):
    method = thinking(TaskJudge(arithmetic))
    episode = play(method, problem, arithmetic, script(REPLIES))
    golden("thought_preference", account(episode, method.harvest([episode], [], COMPACT, random.Random(0))))


def test_the_baseline_answers_directly_and_is_trained_alike(problem, arithmetic, script, golden):
    method = ResponsePreference(TaskJudge(arithmetic), samples=4)
    episode = play(method, problem, arithmetic, script(["16", "15", "15", ""]))
    golden("response_preference", account(episode, method.harvest([episode], [], COMPACT, random.Random(0))))


def test_no_byte_of_a_thought_reaches_the_judge(problem, arithmetic, script):
    judge = ByLength({"16": 1.0})
    play(thinking(judge), problem, arithmetic, script(["<think>CANARY</think>16", "<think>CANARY", "CANARY</think>16"]))
    assert judge.seen
    assert not any("CANARY" in shown for shown in judge.seen)


def test_each_sample_is_asked_for_by_its_number(problem, arithmetic, script):
    learner = script(REPLIES)
    play(thinking(TaskJudge(arithmetic), temperature=0.7, top_p=0.9), problem, arithmetic, learner)
    assert [sample for _, _, sample in learner.heard] == [0, 1, 2, 3]
    assert {(s.temperature, s.top_p) for _, s, _ in learner.heard} == {(0.7, 0.9)}


def test_an_episode_without_a_readable_reply_has_failed(problem, arithmetic, script):
    episode = play(thinking(TaskJudge(arithmetic)), problem, arithmetic, script(["no marker"]))
    assert episode.failed
    assert len(episode.failures) == 4


def harvest(method, episodes, consulted=()):
    return method.harvest(episodes, list(consulted), COMPACT, random.Random(0))


def test_problems_whose_scores_all_tie_teach_nothing_whatever_their_lengths(problem, arithmetic, script):
    method = thinking(ByLength({}), length_penalty=0.5)
    episode = play(method, problem, arithmetic, script(["<think>a</think>1", "<think>b</think>22222222"]))
    assert harvest(method, [episode]) == []


def test_a_judge_that_always_says_first_prefers_nothing(problem, arithmetic, script):
    class First:
        async def score(self, problem, answers, rng):
            async def compare(first, second):
                return "first"

            return await by_pairs(compare, answers)

    method = thinking(First())
    episode = play(
        method, problem, arithmetic, script(["<think>a</think>1", "<think>b</think>22", "<think>c</think>333"])
    )
    assert harvest(method, [episode]) == []


def test_a_judge_that_cannot_be_read_scores_nothing(problem, arithmetic, script):
    class Mumbling:
        async def score(self, problem, answers, rng):
            async def compare(first, second):
                raise Unreadable("hm")

            return await by_pairs(compare, answers)

    method = thinking(Mumbling())
    episode = play(method, problem, arithmetic, script(["<think>a</think>1", "<think>b</think>2"]))
    assert {c.score for c in episode.candidates} == {None}
    assert {f.who for f in episode.failures} == {"judge"}
    assert harvest(method, [episode]) == []


def test_length_tells_among_equals_only(problem, arithmetic, script):
    lines = ["<think>a</think>1", "<think>b</think>1111", "<think>c</think>9", "<think>d</think>9999"]
    method = thinking(ByLength({"1": 1.0, "1111": 1.0}), length_penalty=0.5)
    [taught] = harvest(method, [play(method, problem, arithmetic, script(lines))])
    assert (taught.chosen.text, taught.rejected.text) == ("<think>a</think>1", "<think>d</think>9999")


def test_auto_takes_the_smallest_penalty_that_stops_the_drift(problem, arithmetic, script):
    longer_is_better = ByLength({"1": 0.0, "4444": 1.0, "22": 0.9})
    lines = ["<think>a</think>1", "<think>b</think>4444", "<think>c</think>22"]
    method = thinking(longer_is_better, samples=3, length_penalty="auto")
    assert method.consults == 64
    consulted = [play(method, problem, arithmetic, script(lines))]
    penalty = method.penalty(consulted)
    assert 0 < penalty <= 0.5
    chosen = harvest(replace(method, length_penalty=penalty - 0.05), consulted)[0]
    assert len(chosen.chosen.text) > len(chosen.rejected.text)
    shorter = ByLength({"1": 1.0})
    assert method.penalty([play(thinking(shorter, samples=3), problem, arithmetic, script(lines))]) == 0


def copies(episode, count):
    return [replace(episode, problem=replace(episode.problem, id=f"{episode.problem.id} {n}")) for n in range(count)]


def format_errors(taught):
    return sum("</think>" not in preference.rejected.text for preference in taught)


@pytest.mark.parametrize("seed", range(20))
def test_unreadable_replies_are_rejected_sides_in_a_bounded_share(seed, problem, arithmetic, script):
    method = thinking(TaskJudge(arithmetic), unreadable_share=0.1)
    mixed = copies(play(method, replace(problem, id="mixed"), arithmetic, script(REPLIES)), 18)
    alone = copies(play(method, replace(problem, id="alone"), arithmetic, script(["no marker", REPLIES[1], "no"])), 30)
    taught = method.harvest([*mixed, *alone], [], COMPACT, random.Random(seed))
    assert len(taught) == 20
    assert format_errors(taught) == 2  # 10 % of 20, of those that would teach nothing otherwise
    assert sum(preference.problem.startswith("mixed") for preference in taught) == 18
    assert harvest(replace(method, unreadable_share=0.0), alone) == []


@pytest.mark.parametrize("reply", [REPLIES[1], "<think>3+7=11</think>16"])  # right, wrong
def test_where_all_scores_tie_no_reply_is_preferred_to_an_unreadable_one(reply, problem, arithmetic, script):
    method = thinking(TaskJudge(arithmetic), unreadable_share=1.0)
    assert harvest(method, [play(method, problem, arithmetic, script(["no marker", reply, reply]))]) == []


def test_an_only_readable_reply_is_preferred_to_an_unreadable_one(problem, arithmetic, script):
    method = thinking(TaskJudge(arithmetic), unreadable_share=0.5)
    mixed = copies(play(method, replace(problem, id="mixed"), arithmetic, script(REPLIES)), 4)
    alone = copies(
        play(method, replace(problem, id="alone"), arithmetic, script(["no marker", REPLIES[1]] + ["no"] * 2)), 4
    )
    taught = [preference for preference in harvest(method, [*mixed, *alone]) if preference.problem.startswith("alone")]
    assert len(taught) == 4
    assert {(p.chosen.text, p.rejected.text) for p in taught} == {(REPLIES[1], "no marker")}


@pytest.mark.parametrize("seed", range(20))
def test_where_all_have_a_pair_unreadable_replies_replace_the_rejected_side(seed, problem, arithmetic, script):
    method = thinking(TaskJudge(arithmetic), unreadable_share=0.1)
    mixed = copies(play(method, replace(problem, id="mixed"), arithmetic, script(REPLIES)), 200)
    taught = method.harvest(mixed, [], COMPACT, random.Random(seed))
    assert (len(taught), format_errors(taught)) == (200, 20)
    assert {preference.chosen.text for preference in taught} == {REPLIES[1]}
    [alone] = copies(play(method, replace(problem, id="alone"), arithmetic, script(["no marker", REPLIES[1], "no"])), 1)
    taught = method.harvest([*mixed[:99], alone], [], COMPACT, random.Random(seed))
    assert (len(taught), format_errors(taught)) == (100, 10)
    assert taught[-1].problem == "alone 0"


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.3, 0.9, 1.0])
def test_the_bound_holds_for_any_share(share, problem, arithmetic, script):
    method = thinking(TaskJudge(arithmetic), unreadable_share=share)
    mixed = copies(play(method, replace(problem, id="mixed"), arithmetic, script(REPLIES)), 9)
    alone = copies(play(method, replace(problem, id="alone"), arithmetic, script(["no marker", REPLIES[1], "no"])), 7)
    for pairs in (mixed, alone, [*mixed, *alone]):
        taught = harvest(method, pairs)
        assert format_errors(taught) <= share * len(taught) + 1e-9


def test_a_reply_that_was_cut_is_a_rejected_side_without_a_stop_token(problem, arithmetic, script):
    method = thinking(TaskJudge(arithmetic), unreadable_share=1.0)
    episode = play(method, problem, arithmetic, script([Cut("<think>3+7"), REPLIES[1], "no"]))
    [taught] = harvest(method, [episode])
    dialect = Renderer(tiny_tokenizer())
    chosen, rejected = DPOLoss(method.objective).rows(taught, dialect)
    assert chosen.ids == (*dialect.prompt(taught.prompt, LEARNER), *map(ord, REPLIES[1]), dialect.stop_id)
    assert rejected.ids == (*dialect.prompt(taught.prompt, LEARNER), *map(ord, "<think>3+7"))
    assert rejected.weights[-1] == 1.0


def test_its_objective_is_dpo_with_its_settings(arithmetic):
    assert thinking(TaskJudge(arithmetic), beta=0.3, nll_weight=0.2).objective == DPO(0.3, 0.2)
    with pytest.raises(ConfigError, match="thought format"):
        ThoughtPreference(TaskJudge(arithmetic), thought_format="thnk")


def test_a_bad_output_is_sampled_again_at_use(problem, arithmetic, script):
    method = thinking(TaskJudge(arithmetic))
    learner = script(["hm", "<think>hm</think>15"])
    found = asyncio.run(method.answer(problem.chat, learner, COMPACT))
    assert found.response == "15"
    assert [(s.temperature, n) for _, s, n in learner.heard] == [(0.0, 0), (0.8, 1)]
    with pytest.raises(Unreadable):
        asyncio.run(method.answer(problem.chat, script(["hm"]), COMPACT))

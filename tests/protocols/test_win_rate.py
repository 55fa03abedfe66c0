"""Two learners before a judge: wins, ties, contradictions, lengths, and Arena-Hard's score."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparring.common.ranking import bradley_terry
from sparring.config.evaluation import EvaluationRecipe
from sparring.core.match import Game, Match
from sparring.core.partner import Nobody
from sparring.methods.thought_preference import ThoughtPreference
from sparring.partners.model_judge import ModelJudge
from sparring.partners.task_judge import TaskJudge
from sparring.protocols.win_rate import WinRate
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import prompts
from tests.protocols.asking import OPEN, SUM, TASK, measure, participant


def judged(*verdicts: str, ours: str = "It rains.", theirs: str = "It pours!", **settings):
    judge = ModelJudge(Scripted(verdicts, loop=False))
    return measure(WinRate(judge, **settings), participant(ours), participant(theirs), problem=OPEN)


def test_a_win_in_both_orders():
    found = judged("[[A]]", "[[B]]")
    assert found.measures == {
        "win_rate": 1.0,
        "win_rate_length_matched": 1.0,
        "tie": False,
        "contradiction": False,
        "characters": 9,
        "characters_baseline": 9,
        "won_by_far": 0.0,
        "lost_by_far": 0.0,
    }
    assert found.response == "It rains."
    assert [chat.last.text for chat in found.transcripts] == ["It rains.", "It pours!"]


def test_a_contradiction_is_half_a_win_and_no_tie():
    found = judged("[[A]]", "[[A]]").measures
    assert (found["win_rate"], found["contradiction"], found["tie"]) == (0.5, True, False)


@pytest.mark.parametrize(("ours", "matched"), [("x" * 9, True), ("x" * 8, False), ("x" * 11, True), ("x" * 12, False)])
def test_pairs_of_similar_length_are_counted_apart(ours, matched):
    found = judged("[[A]]", "[[B]]", ours=ours, theirs="y" * 10).measures  # 8/10 and 10/12 differ by more than 10 %
    assert ("win_rate_length_matched" in found) is matched


def test_a_learner_without_an_answer_loses_and_nobody_is_asked():
    judge = Scripted(("[[A]]",))
    protocol = WinRate(ModelJudge(judge))
    for ours, theirs, points in (("", "a", 0.0), ("a", "", 1.0), ("", "", None)):
        found = measure(protocol, participant(ours), participant(theirs), problem=OPEN)
        assert found.measures.get("win_rate") == points
        assert {failure.kind for failure in found.failures} == {"Unreadable"}
    assert not judge.heard


def test_without_a_verdict_there_is_no_win_rate():
    found = judged("?", "?", "?", "?")
    assert set(found.measures) == {"characters", "characters_baseline"}
    assert len(found.failures) == 2


def test_the_judge_sees_no_thought():
    thinker = participant("<think>secret</think>It rains.", answers=ThoughtPreference(Nobody(), thought_format="think"))
    speaker = Scripted(("[[A]]", "[[B]]"))
    measure(WinRate(ModelJudge(speaker)), thinker, participant("It pours!"), problem=OPEN)
    assert all("It rains." in prompt and "secret" not in prompt for prompt in prompts(speaker))


def test_a_judge_with_scores_wins_or_loses_whole_and_never_contradicts_itself():
    found = measure(WinRate(TaskJudge(TASK)), participant("15"), participant("16"), problem=SUM).measures
    assert (found["win_rate"], found["contradiction"]) == (1.0, False)
    assert "won_by_far" not in found


def test_arena_hard_counts_wins_by_far_three_times_as_its_bradley_terry_model_does():
    protocol = WinRate(Nobody())
    matches = [
        Match((Game(1.0, by_far=True), Game(1.0))),  # 3 + 1 won
        Match((Game(0.0, by_far=True), Game(0.5))),  # 3 lost, half of 1 won
        Match((Game(1.0), Game(0.0))),  # 1 won, 1 lost
        Match((Game(1.0, by_far=True),)),  # one verdict failed: left out
    ]
    summary = protocol.summarize([protocol._measures(match, 5, 5) for match in matches])
    won, lost = 4 + 0.5 + 1, 3 + 0.5 + 1
    assert summary["arena_hard"] == pytest.approx(won / (won + lost))
    ours, theirs = bradley_terry([[0, won], [lost, 0]], prior=0)
    assert summary["arena_hard"] == pytest.approx(1 / (1 + 2.718281828459045 ** (theirs - ours)))
    assert summary["arena_hard_low"] <= summary["arena_hard"] <= summary["arena_hard_high"]
    assert not protocol.summarize([protocol._measures(matches[2], 5, 5)])


def test_the_summary_is_length_controlled_and_knows_difficulties():
    easy, hard = (judged("[[A]]", "[[A]]", ours="x" * n, theirs="y" * 20).measures for n in (10, 30))
    even = WinRate(Nobody()).summarize([easy, hard])
    assert even == {"length_controlled": pytest.approx(0.5)}  # all contradictions: half a win at any length
    rows = [
        {"win_rate": float(n % 3 == 0), "characters": 10 * n, "characters_baseline": 90, "difficulty": float(n % 3)}
        for n in range(20)
    ]
    known = WinRate(Nobody()).summarize(rows)["length_controlled"]
    without = [{name: row[name] for name in row if name != "difficulty"} for row in rows]
    unknown = WinRate(Nobody()).summarize(without)["length_controlled"]
    assert abs(known - 7 / 20) < 0.03  # difficulty explains every win
    assert abs(known - unknown) > 1e-3
    found = measure(
        WinRate(Nobody()), participant("a"), participant("a"), problem=replace(OPEN, data={"difficulty": 2})
    )
    assert found.measures["difficulty"] == 2.0


def test_problems_without_an_answer_are_lost_with_length_control_too():
    answered = [{"win_rate": float(n % 5 < 3), "characters": 90, "characters_baseline": 90} for n in range(60)]
    lost = [{"win_rate": 0.0, "characters_baseline": 90}] * 40
    assert WinRate(Nobody()).summarize(answered)["length_controlled"] == pytest.approx(0.6, abs=0.01)
    assert WinRate(Nobody()).summarize([*answered, *lost])["length_controlled"] == pytest.approx(0.36, abs=0.01)


def test_a_recipe_names_two_learners_and_a_judge():
    table = {
        "learner": [{"by": "scripted", "replies": ["15"]}, {"by": "scripted", "replies": ["16"]}],
        "task": {"kind": "multistep_arithmetic", "test": 2, "train": 5, "development": 2},
        "protocol": {"kind": "win_rate", "judge": {"by": "scripted", "replies": ["[[A]]", "[[B]]"]}},
    }
    recipe = EvaluationRecipe.of(table)
    assert isinstance(recipe.protocol, WinRate)
    assert EvaluationRecipe.of(recipe.table()).table() == recipe.table()

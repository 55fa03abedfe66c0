"""A judge that asks a speaker: pointwise and pairwise, with strict parsing."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.common.errors import ConfigError, Unreadable
from sparring.core.chat import Chat
from sparring.core.partner import Scores
from sparring.core.speaker import Reply, Sampling, text_reply
from sparring.partners.model_judge import ModelJudge
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import COUNT, PROBLEM, answers, babble, prompts, run


def pointwise(*replies: str, **more) -> Scores:
    judge = ModelJudge(Scripted(replies), mode="pointwise", **more)
    return run(judge.score(PROBLEM, answers("15", "16"), random.Random(0)))


def test_a_pointwise_judge_scores_each_answer_and_sees_nothing_but_answers():
    speaker = Scripted(("Good.\nScore: 9", "Bad.\nScore: 2"))
    scores = run(ModelJudge(speaker, mode="pointwise").score(PROBLEM, answers("15", "16", "15"), random.Random(0)))
    assert scores == Scores((9.0, 2.0, 9.0))
    assert len(speaker.heard) == 2  # equal answers are asked about once
    for prompt, response in zip(prompts(speaker), ("15", "16"), strict=True):
        assert PROBLEM.chat.text in prompt
        assert response in prompt
        assert "correct final answer" not in prompt


@pytest.mark.parametrize(
    "reply",
    [
        "Score: 11", "Score: 0", "Score: -3", "Score: ten", "Score: 3\nScore: 9", "It is an 8.", "", "Score:",
        "Score: nan", "Score: 1e400", "Score: 1/10 or 2", "I give Score: 7 of 10 for style",
    ],
)  # fmt: skip
def test_a_pointwise_verdict_that_is_not_one_number_on_the_scale_is_a_failure_and_no_score(reply):
    scores = pointwise(reply)
    assert scores.values == (None, None)
    assert [(failure.kind, failure.who) for failure in scores.failures] == [("Unreadable", "judge")] * 2


def test_one_unreadable_score_does_not_spoil_the_others():
    speaker = Scripted(("Score: 9", "??", "?!"), loop=False)  # asked side by side: 9 for one, two tries for the other
    scores = run(ModelJudge(speaker, mode="pointwise").score(PROBLEM, answers("15", "16"), random.Random(0)))
    assert scores.values == (9.0, None)
    assert len(scores.failures) == 1


@pytest.mark.parametrize("reply", ["Score: 7.5", "**Score: 7.5**", "because …\nscore: 7.5 ", "Score = 7.5"])
def test_a_pointwise_verdict_may_be_dressed_up(reply):
    assert pointwise(reply).values == (7.5, 7.5)


def test_a_pattern_and_a_scale_of_ones_own():
    assert pointwise("rating=0.25", pattern=r"rating=(\S+)", lowest=0.0, highest=1.0).values == (0.25, 0.25)
    assert pointwise("rating=x", pattern=r"rating=(\S+)", lowest=0.0, highest=1.0).values == (None, None)
    assert pointwise("rating=inf", pattern=r"rating=(\S+)", lowest=0.0, highest=1.0).values == (None, None)


class PairJudge:
    """Prefers the response with more letters x."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.asked.append(chat.text)
        first, second = chat.text.split("Response A:")[1].split("Response B:")
        first, second = first.strip(), second.strip().split("\n")[0]
        better = "C" if first.count("x") == second.count("x") else "A" if first.count("x") > second.count("x") else "B"
        return text_reply(f"[[{better}]]", "judge")


def test_a_pairwise_judge_is_asked_about_all_pairs_in_both_orders():
    speaker = PairJudge()
    scores = run(ModelJudge(speaker).score(PROBLEM, answers("x", "xxx", "xx", "x"), random.Random(0)))
    assert len(speaker.asked) == 6  # three distinct answers
    assert scores.values[1] > scores.values[2] > scores.values[0] == scores.values[3]
    assert not scores.failures


def test_a_swiss_schedule_asks_less_and_knows_best_and_worst_of_a_judge_without_noise():
    speaker, texts = PairJudge(), ["x" * count for count in (3, 0, 5, 7, 1, 2, 6, 4, 3)]
    judge = ModelJudge(speaker, schedule="swiss")
    scores = run(judge.score(PROBLEM, answers(*(text or "-" for text in texts)), random.Random(0)))
    assert len(speaker.asked) == len(set(speaker.asked)) == 32  # 4 rounds of 4 pairs in both orders; all pairs are 56
    assert scores.values.index(max(scores.values)) == texts.index("x" * 7)
    assert scores.values.index(min(scores.values)) == texts.index("")
    assert scores.values[0] == scores.values[8]
    run(
        ModelJudge(again := PairJudge(), schedule="swiss", swiss_rounds=2).score(
            PROBLEM, answers(*texts[2:8]), random.Random(0)
        )
    )
    assert len(again.asked) == 12


def test_a_swiss_schedule_is_drawn_from_the_calls_own_stream():
    def asked(seed: int) -> list[str]:
        speaker = PairJudge()
        run(ModelJudge(speaker, schedule="swiss").score(PROBLEM, answers(*"abcdefgh"), random.Random(seed)))
        return speaker.asked

    assert asked(1) == asked(1) != asked(2)


@pytest.mark.parametrize("always", ["A", "B", "C"])
@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("schedule", ["all", "swiss"])
def test_a_judge_that_always_says_the_same_ties_all(always, count, schedule):
    speaker = Scripted((f"Hm. [[{always}]]",))
    scores = run(
        ModelJudge(speaker, schedule=schedule).score(PROBLEM, answers(*map(str, range(count))), random.Random(0))
    )
    assert scores.values == pytest.approx([scores.values[0]] * count, abs=1e-9)


@pytest.mark.parametrize("reply", ["A", "[[D]]", "[[A]] or [[B]]", "", "[A]", "[[a]]"])
@pytest.mark.parametrize("schedule", ["all", "swiss"])
def test_a_pairwise_verdict_that_cannot_be_read_is_a_failure_and_no_score(reply, schedule):
    scores = run(
        ModelJudge(Scripted((reply,)), schedule=schedule).score(PROBLEM, answers("15", "16"), random.Random(0))
    )
    assert scores.values == (None, None)
    assert len(scores.failures) == 2


def test_equal_answers_need_no_judge_by_pairs():
    speaker = Scripted(("[[A]]",))
    scores = run(ModelJudge(speaker).score(PROBLEM, answers("15", "15"), random.Random(0)))
    assert not speaker.heard
    assert scores.values[0] == scores.values[1]


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        (
            {"lowest": 5.0, "highest": 5.0},
            "lowest must be below highest (got lowest = 5.0, highest = 5.0); give a scale",
        ),
        ({"pattern": "(a"}, "is not a regular expression"),
        ({"pattern": "a"}, "has 0 groups (got 'a'); use exactly one group"),
        ({"pattern": "(a)(b)"}, "has 2 groups (got"),
    ],
)
def test_a_judge_whose_settings_make_no_sense_is_refused_at_once(settings_, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        ModelJudge(Scripted(("x",)), **settings_)


def test_ten_thousand_replies_never_become_a_score_that_was_not_given():
    judge = ModelJudge(Scripted(("x",)), mode="pointwise")
    scored = 0
    for reply in babble(COUNT):
        try:
            value = judge.rating(reply)
        except Unreadable:
            continue
        scored += 1
        assert 1 <= value <= 10
        assert "score" in reply.lower()
        assert str(int(value)) in reply or "٣" in reply
    assert scored


def test_ten_thousand_replies_never_become_a_verdict_that_was_not_given():
    judge = ModelJudge(Scripted(("x",)))
    given_ = 0
    for reply in babble(COUNT):
        marks = sum(reply.count(f"[[{letter}]]") for letter in "ABC")
        try:
            verdict = judge.verdict(reply)
        except Unreadable:
            assert marks != 1
            continue
        given_ += 1
        assert marks == 1
        assert {"first": "[[A]]", "second": "[[B]]", "tie": "[[C]]"}[verdict] in reply
    assert given_


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_typed_failure_or_a_score_on_the_scale(reply):
    for value in pointwise(reply).values:
        assert value is None or 1 <= value <= 10
    for value in pointwise(reply, pattern="(?s)(.*)", lowest=0.0, highest=1.0).values:
        assert value is None or 0 <= value <= 1

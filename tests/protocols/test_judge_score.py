"""The mean score of a judge: what it is asked, and what a missing answer and a missing score count."""

from __future__ import annotations

import pytest

from sparring.common.errors import ConfigError
from sparring.core.chat import LEARNER
from sparring.core.evaluation import Evaluation, Outcome
from sparring.partners.model_judge import ModelJudge
from sparring.protocols.judge_score import JudgeScore
from sparring.speakers.scripted import Scripted
from tests.partners.speaking import prompts
from tests.protocols.asking import OPEN, measure, participant


def test_the_judge_scores_the_response():
    judge = Scripted(("Score: 7",))
    found = measure(JudgeScore(ModelJudge(judge, mode="pointwise")), participant("It rains."), problem=OPEN)
    assert found.measures == {"score": 7.0, "answered": True, "characters": 9}
    assert "\nIt rains.\n" in prompts(judge)[0]


def test_a_learner_without_an_answer_is_scored_for_none():
    judge = Scripted(("Score: 1",))
    found = measure(JudgeScore(ModelJudge(judge, mode="pointwise")), participant(" "), problem=OPEN)
    assert found.measures["score"] == 1.0
    assert found.measures["answered"] is False
    assert [failure.who for failure in found.failures] == [LEARNER]
    assert "\n(no response)\n" in prompts(judge)[0]


def test_a_failure_of_the_judge_is_never_a_score():
    found = measure(JudgeScore(ModelJudge(Scripted(("?",)), mode="pointwise")), participant("It rains."), problem=OPEN)
    assert "score" not in found.measures
    assert [failure.who for failure in found.failures] == ["judge"]
    figures = Evaluation((Outcome("poem", "all", found.measures),), "score").plain()
    assert figures["measures"]["score"]["count"] == 0


def test_a_judge_that_only_compares_is_refused():
    with pytest.raises(ConfigError, match=r"judge_score wants a score of one; .* or use the protocol win_rate"):
        JudgeScore(ModelJudge(Scripted(("[[A]]",)), mode="pairwise"))

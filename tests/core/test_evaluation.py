"""Evaluation of any protocol: means with intervals, bins, failures, order."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass

import pytest

from sparring.common.errors import Failure, Unreadable
from sparring.core.chat import LEARNER, Part, question
from sparring.core.evaluation import (
    Evaluation,
    Outcome,
    describe_score,
    in_words,
    interval_in_words,
    measure_problems,
    score,
)
from sparring.core.method import Answered
from sparring.core.protocol import EvaluationProtocol, Measured, Participant, SingleReply
from sparring.core.speaker import Reply
from sparring.protocols.solo import Solo
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

TASK = MultistepArithmetic(train=5, development=5, test=12)


class Script:
    """Answers the n-th problem with the n-th of its lists of attempts; None raises."""

    revises = True

    def __init__(self, attempts):
        self.attempts, self.questions = iter(attempts), []

    async def answer(self, question, learner, layout):
        self.questions.append(question)
        attempts = next(self.attempts)
        if attempts is None:
            raise Unreadable("no form")
        return Answered(question.say(LEARNER, attempts[-1]), attempts[-1], tuple(attempts))


def measure(answers, problems, protocol=None, **settings) -> Evaluation:
    learner = Participant("script", None, answers, TASK.layout)
    return asyncio.run(measure_problems(protocol or Solo(), TASK, problems, lambda problem: [learner], **settings))


def test_means_are_computed_by_hand():
    right = [p.rationale for p in TASK.problems("test")]
    answers = Script([[right[0]], ["x", right[1]], [right[2], "x"], ["x"], None])
    evaluation = measure(answers, TASK.problems("test")[:5])
    figures = evaluation.plain()
    means = {name: mean["value"] for name, mean in figures["measures"].items()}
    assert means["accuracy"] == 2 / 5  # the problem without an answer counts as wrong
    assert (means["right_first"], means["fixed"], means["broken"], means["revised"]) == (2 / 4, 1 / 4, 1 / 4, 2 / 4)
    assert figures["measures"]["fixed"]["count"] == 4
    assert figures["failures"] == {"learner: Unreadable": 1}
    assert evaluation.score.low < 2 / 5 < evaluation.score.high
    assert sum(means["accuracy"].count for means in evaluation.bins().values()) == 5


def test_bins_are_in_the_order_of_their_numbers():
    names = ["10 words", "2 words", "unseen: 3", "seen: 12", "seen: 4", "all", "７ words"]
    outcomes = tuple(Outcome(str(n), name, {"accuracy": True}) for n, name in enumerate(names))
    expected = ["2 words", "７ words", "10 words", "all", "seen: 4", "seen: 12", "unseen: 3"]
    assert list(Evaluation(outcomes).bins()) == expected


def test_the_macro_average_counts_each_bin_the_same():
    outcomes = [("a", 1), ("a", 1), ("a", 1), ("a", 0), ("b", 0)]
    evaluation = Evaluation(tuple(Outcome(str(n), b, {"accuracy": bool(r)}) for n, (b, r) in enumerate(outcomes)))
    assert evaluation.score.value == 3 / 5
    assert evaluation.macro() == (3 / 4 + 0) / 2


def test_the_learner_never_sees_the_gold_answer():
    answers = Script([["x"]] * 12)
    measure(answers, TASK.problems("test"), at_once=3)
    assert [chat.text for chat in answers.questions] == [p.chat.text for p in TASK.problems("test")]


def test_an_evaluation_of_nothing_has_no_measures_and_the_widest_interval():
    evaluation = Evaluation(())
    assert evaluation.plain()["measures"] == {}
    assert (evaluation.score.low, evaluation.score.high, evaluation.macro()) == (0, 1, 0)


def test_outcomes_have_the_order_of_the_problems_and_are_reported_as_they_come():
    reported = []
    evaluation = measure(
        Script([["x"], ["y"], ["z"]]), TASK.problems("test")[:3], at_once=1, on_outcome=reported.append
    )
    assert [o.problem for o in evaluation.outcomes] == [p.id for p in TASK.problems("test")[:3]]
    assert reported == list(evaluation.outcomes)


def test_any_other_error_stops_the_evaluation():
    class Broken(Script):
        async def answer(self, question, learner, layout):
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        measure(Broken([]), TASK.problems("test"))


def test_a_reply_without_an_answer_is_in_the_transcript():
    class Cut:
        async def reply(self, chat, sampling, sample=0):
            return Reply((Part("1+1=2 and so", LEARNER),), "length", completion_tokens=6)

    learner = Participant("cut", Cut(), SingleReply(), TASK.layout)
    [problem] = TASK.problems("test")[:1]
    [outcome] = asyncio.run(measure_problems(Solo(), TASK, [problem], lambda _: [learner])).outcomes
    assert (outcome.measures, outcome.failures[0].kind) == ({"accuracy": False}, "CutOff")
    assert [message["text"] for message in outcome.plain()["transcripts"][0]] == [problem.chat.text, "1+1=2 and so"]


def test_an_outcome_survives_json():
    chat = question("1+1=").say(LEARNER, "2")
    failure = Failure("CutOff", LEARNER, "cut")
    outcome = Outcome("p", "b", {"accuracy": True, "length": 2.5}, "2", (chat,), (failure,))
    assert Outcome.of(json.loads(json.dumps(outcome.plain()))) == outcome


def test_a_measure_is_averaged_over_the_problems_that_have_it():
    @dataclass(frozen=True)
    class Lengths(EvaluationProtocol):
        name = "lengths"
        needs = frozenset()
        primary = "length"
        learners = (1, 1)

        async def measure(self, problem, task, learners, rng):
            answered = await learners[0].answer(problem.chat)
            return Measured({"length": len(answered.response)} if answered.response else {})

    evaluation = measure(Script([["four"], [""], ["eleven more"]]), TASK.problems("test")[:3], Lengths())
    assert evaluation.measures()["length"].count == 2
    assert score(evaluation.plain()) == 7.5
    assert describe_score(evaluation.plain()).startswith("length 7.5 [")


def test_shares_are_written_as_percentages_and_other_numbers_are_not_whatever_their_size():
    assert [in_words("accuracy", value) for value in (0.5, 0, 1)] == ["50.0%", "0.0%", "100.0%"]
    assert [in_words("score", value) for value in (0.833, 0, 1, 12.345)] == ["0.833", "0", "1", "12.3"]
    assert [in_words(name, -0.05, sign=True) for name in ("win_rate", "log_likelihood")] == ["-5.0%", "-0.05"]
    assert in_words("score", 0.25, sign=True) == "+0.25"


def test_the_words_of_a_name_decide():
    numbers = "score rouge_l characters_baseline response_characters_plain difficulty log_likelihood length"
    shares = "pass@4 turn_0 majority_1 right_supportive won_by_far accuracy_answer_only readable sound_if_right ranked"
    assert [in_words(name, 0.5) for name in numbers.split()] == ["0.5"] * 7
    assert [in_words(name, 0.5) for name in shares.split()] == ["50.0%"] * 9


def test_a_mean_score_is_the_same_text_wherever_it_is_shown():
    outcomes = tuple(Outcome(n, "bin", {"score": value, "answered": True}) for n, value in (("a", 0.8), ("b", 0.86)))
    evaluation = Evaluation(outcomes, "score")
    assert describe_score(evaluation.plain()) == "score 0.83 [0.8, 0.86] on 2 problems"
    shown = re.findall(r">([^<>]+)</td>", evaluation._repr_html_())
    assert shown == ["score", "0.83", "0.8 – 0.86", "2", "answered", "100.0%", "34.2% – 100.0%", "2"]


def test_a_notebook_shows_measures_bins_and_failures_as_tables():
    failure = (Failure("CutOff", LEARNER, "too long"),)
    outcomes = [
        Outcome("a", "<easy>", {"accuracy": True, "length": 3.0}),
        Outcome("b", "hard", {"accuracy": False, "length": 5.0}, failures=failure),
    ]
    shown = Evaluation(tuple(outcomes))._repr_html_()
    rows = [re.findall(r">([^<>]+)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", shown)]
    accuracy = Evaluation(tuple(outcomes)).score
    interval = interval_in_words("accuracy", accuracy.low, accuracy.high)
    assert ["accuracy", "50.0%", interval, "2"] in rows
    assert [row[:2] for row in rows if row] == [
        ["accuracy", "50.0%"], ["length", "4"], ["&lt;easy&gt;", "100.0%"], ["hard", "0.0%"],
    ]  # fmt: skip
    assert "<p>1 × learner: CutOff (too long)</p>" in shown

"""Partners that are plain functions, in each role."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
import torch

import sparring
from sparring.common.errors import ConfigError, ConversationError, Failure, Unreadable
from sparring.config.factory import ROLES, make_partner
from sparring.core.chat import LEARNER
from sparring.core.judging import judge_pair
from sparring.core.match import play_match
from sparring.core.partner import Scores
from sparring.parsing.steps import Fault
from sparring.parsing.thought import NONE
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tasks.table import Table

PROTOCOLS = {role: kind for kind, role in ROLES.items()}
ARITHMETIC = MultistepArithmetic(train=4, development=1, test=1)
FIVE_LINES = """
def score(answer, gold):
    return float(gold in answer) - len(answer) / 1000
"""
REWARD = """
def reward(prompts, completions, answer, **kwargs):  # as written for TRL
    assert set(kwargs) == {"level", "ground_truth", "solution"}, kwargs
    assert kwargs["level"] == [kwargs["level"][0]] * len(completions)
    return [1.0 if a == c.split()[-1] else None if "?" in c else 0.0 for a, c in zip(answer, completions)]
"""
CHATTY = """
def reward(prompts, completions, **kwargs):
    assert prompts[0][-1]["role"] == "user"
    return [len(completion[0]["content"]) for completion in completions]
"""


@pytest.fixture
def rows(tmp_path) -> Table:
    """Rows with a column of the user's own."""
    lines = (f'{{"prompt": "{n}+1=", "answer": "{n + 1}", "level": {n % 3}}}\n' for n in range(20))
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    return Table(train=str(tmp_path / "rows.jsonl"))


def partner(role: str, by, task=ARITHMETIC, **settings):
    return make_partner(role, PROTOCOLS[role], {"by": by, **settings}, task, "phase 1: " + role)


def scores(by, answers=("4", "so 4", "5"), task=ARITHMETIC, **settings) -> Scores:
    judge, problem = partner("judge", by, task, **settings), task.problems("train")[0]
    return asyncio.run(judge.score(problem, [NONE.split(text).answer for text in answers], random.Random(0)))


# ── a judge ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_function_of_one_answer_is_a_judge(tmp_path):
    (tmp_path / "mine.py").write_text(FIVE_LINES)
    gold = ARITHMETIC.problems("train")[0].gold
    found = scores(f"{tmp_path}/mine.py:score", (gold, "x" * 50))
    assert found == Scores((1 - len(gold) / 1000, -0.05))


def test_a_function_of_all_answers_is_called_once():
    calls = []

    def score(answers, rng):
        calls.append(answers)
        return np.array([len(answer) for answer in answers])

    assert scores(score).values == (1.0, 4.0, 1.0)
    assert calls == [["4", "so 4", "5"]]


def test_equal_answers_are_scored_once_and_each_answer_has_its_own_stream():
    drawn = []

    def score(answer, rng):
        drawn.append(rng.random())
        return drawn[-1]

    values = scores(score, ("a", "b", "a")).values
    assert len(drawn) == len(set(drawn)) == 2
    assert values == (drawn[0], drawn[1], drawn[0])
    assert scores(score, ("a", "b", "a")).values == values


def test_a_reward_function_written_for_trl_is_accepted_unedited(tmp_path, rows):
    (tmp_path / "mine.py").write_text(REWARD)
    gold = rows.problems("train")[0].gold
    found = scores(f"{tmp_path}/mine.py:reward", (f"it is {gold}", "no", "why?"), rows)
    assert found.values == (1.0, 0.0, None)
    assert found.failures == (Failure("Skipped", "judge", "the function gave no score"),)
    assert not found.failures[0].counts


def test_a_reward_function_gets_messages_where_the_prompt_is_one_or_the_recipe_says_so(tmp_path, rows):
    (tmp_path / "mine.py").write_text(CHATTY)
    name = f"{tmp_path}/mine.py:reward"
    lines = (f'{{"messages": [{{"role": "user", "content": "{n}"}}], "answer": "{n}"}}\n' for n in range(20))
    (tmp_path / "chats.jsonl").write_text("".join(lines))
    assert scores(name, ("a", "bb"), Table(train=str(tmp_path / "chats.jsonl"))).values == (1.0, 2.0)
    assert scores(name, ("a", "bb"), rows, messages=True).values == (1.0, 2.0)
    with pytest.raises(ConfigError, match=r"failed on the problem .*mine.py, line 3"):
        scores(name, ("a", "bb"), rows)


def test_an_annotation_says_whether_a_reward_function_gets_messages(rows):
    def chatty(completions: list[list[dict[str, str]]]) -> list[float]:
        return [len(completion[0]["content"]) for completion in completions]

    def terse(completions: list[str]) -> list[float]:
        return [len(completion) for completion in completions]

    assert scores(chatty, ("a", "bb"), rows) == scores(terse, ("a", "bb"), rows) == Scores((1.0, 2.0))


def test_the_rewards_of_trl_itself_are_judges():
    pytest.importorskip("trl.rewards")
    thought = "<think>\nwell\n</think>\n4"
    assert scores("trl.rewards.think_format_reward", (thought, "4")).values == (1.0, 0.0)


def test_what_a_task_has_no_column_for_is_its_gold_answer_for_a_reward_function():
    problem = ARITHMETIC.problems("train")[0]

    def reward(completions, ground_truth, solution):
        assert (ground_truth, solution) == ([problem.gold] * 3, [problem.rationale] * 3)
        return torch.tensor([1, 2, 3])

    assert scores(reward).values == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("returned", "value"),
    [(True, 1.0), (3, 3.0), (np.float32(0.5), 0.5), (torch.tensor(2.0), 2.0), (np.bool_(True), 1.0)],
)
def test_numbers_booleans_and_scalars_are_scores(returned, value):
    assert scores(lambda answer: returned).values == (value,) * 3


@pytest.mark.parametrize(
    "returned", [None, "4", float("nan"), float("inf"), [1.0], torch.ones(2), 1j, 10**400, [10**5000]]
)
def test_anything_else_stops_the_run_in_one_line(returned):
    with pytest.raises(ConfigError, match=r"the judge <lambda> \(.*line \d+\) returned .* must return a finite number"):
        scores(lambda answer: returned)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None .* a list of 3 numbers"),
        ([1.0, 2.0], "a list of 3 numbers, one for each answer"),
        ([1.0, "2", 3.0], "returned '2' .* finite numbers, or None"),
        ([1.0, float("nan"), 3.0], "returned nan .* finite numbers, or None"),
        ([1.0, 10**400, 3.0], "returned 1000.* finite numbers, or None"),
        (1.0, "a list of 3 numbers"),
    ],
)
def test_a_list_must_hold_one_number_for_each_answer(returned, message):
    with pytest.raises(ConfigError, match=message):
        scores(lambda answers: returned)


def test_a_conversation_error_is_a_counted_failure_of_that_answer_alone():
    def score(answer):
        if answer == "5":
            raise sparring.ConversationError("cannot be judged")
        return 1.0

    found = scores(score)
    assert found == Scores((1.0, 1.0, None), (Failure("ConversationError", "judge", "cannot be judged"),))
    assert found.failures[0].counts

    def score_all(answers):
        raise sparring.ConversationError("down")

    assert scores(score_all).values == (None, None, None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: 1, "takes neither answer, answers, completions nor both first and second; name its parameters so"),
        (lambda first: 1, "nor both first and second"),
        (lambda first, second, response: 1, "unknown parameter 'response'"),
        (lambda text: 1, "takes neither answer"),
        (lambda answer, golds: 1, "unknown parameter 'golds' .did you mean 'gold'"),
        (lambda answer, choices: 1, "takes choices, which the problems of the task do not have"),
        (len, "takes obj by position only"),
        (lambda completions, completion_ids: 1, "unknown parameter 'completion_ids'"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_before_the_run(call, message):
    with pytest.raises(ConfigError, match=message):
        partner("judge", call)


def test_a_decorated_function_keeps_its_settings_and_is_checked_where_it_stands():
    @sparring.judge(threads=3, messages=True)
    def score(completions):
        return [len(completion[0]["content"]) for completion in completions]

    assert score([[{"content": "ab"}]]) == [2]  # still a plain function
    assert scores(score).values == (1.0, 4.0, 1.0)
    assert partner("judge", score).threads is None
    with pytest.raises(ConfigError, match=r"the judge <.*text.*> takes neither|takes neither answer"):
        sparring.judge(lambda text: 1)


# ── a judge of pairs ────────────────────────────────────────────────────────────────────────────────────────

SHORTER = """
def better(problem, first, second, gold):
    assert problem.gold == gold
    return "tie" if len(first) == len(second) else "first" if len(first) < len(second) else "second"
"""


def match(by, one: str, other: str, task=ARITHMETIC):
    judge, (ours, theirs) = partner("judge", by, task), (NONE.split(text).answer for text in (one, other))
    return asyncio.run(play_match(judge, task.problems("train")[0], ours, theirs, random.Random(0)))


def test_a_function_of_two_answers_ranks_all_of_them(tmp_path):
    (tmp_path / "mine.py").write_text(SHORTER)
    found = scores(f"{tmp_path}/mine.py:better", ("aaa", "a", "aa", "b", "aaa"))
    longest, shortest, middle, equal, again = found.values
    assert shortest == pytest.approx(equal)
    assert shortest > middle > longest == again
    assert not found.failures


def test_a_pair_is_put_to_a_function_in_both_orders_and_equal_answers_only_once():
    asked = []

    async def better(first, second):
        asked.append((first, second))
        return "first"

    values = scores(better, ("a", "b", "a")).values
    assert sorted(asked) == [("a", "b"), ("b", "a")]
    assert values == pytest.approx([values[0]] * 3)  # it always says "first", so it prefers nothing


def test_each_comparison_has_its_own_stream_whichever_ends_first():
    def drawn(slow: str) -> dict[tuple[str, str], list[float]]:
        found = {}

        async def better(first, second, rng):
            before = rng.random()
            await asyncio.sleep(0.02 * (first == slow))
            found[first, second] = [before, rng.random()]
            return "tie"

        scores(better, ("a", "b", "c"))
        return found

    assert drawn("a") == drawn("c")
    assert len({number for numbers in drawn("a").values() for number in numbers}) == 12


def test_two_answers_meet_before_a_function_in_a_match_and_in_an_exam(tmp_path):
    (tmp_path / "mine.py").write_text(SHORTER)
    name = f"{tmp_path}/mine.py:better"
    assert [match(name, *pair).points for pair in (("a", "aa"), ("aa", "a"), ("a", "b"))] == [1.0, 0.0, 0.5]
    judge, problem = partner("judge", name), ARITHMETIC.problems("train")[0]
    verdict = asyncio.run(judge_pair(judge, problem, "a", "aa", random.Random(0)))
    assert (verdict.preferred, verdict.words) == (1.0, "first, in the other order second")
    stubborn = match(lambda first, second: "first by far", "a", "b")
    assert (stubborn.is_contradiction, [game.by_far for game in stubborn.games]) == (True, [True, True])


def test_a_column_beside_two_answers_keeps_its_own_value(rows):
    def better(first, second, answer, level, columns):
        assert answer == columns["answer"]
        return "first" if first == answer and level == columns["level"] else "second"

    gold = rows.problems("train")[0].gold
    assert match(better, gold, "no", rows).points == 1.0


@pytest.mark.parametrize("returned", [1, 0, -1, True, None, "First", "A", 0.5, ["first"], np.array(["first"])])
def test_a_verdict_is_one_of_five_words(returned):
    message = (
        r"the judge <better> \(.*line \d+\) returned .* for the problem .*; "
        r"it must return one of 'first', 'second', 'tie', 'first by far', 'second by far'"
    )

    def better(first, second):
        return returned

    with pytest.raises(ConfigError, match=message):
        scores(better)


def test_a_conversation_error_spoils_one_comparison_alone():
    def better(first, second):
        if (first, second) == ("5", "4"):
            raise sparring.ConversationError("cannot be judged")
        return "first" if first < second else "second"

    found = scores(better, ("4", "5", "6"))
    assert found.values[0] > found.values[1] > found.values[2]
    assert found.failures == (Failure("ConversationError", "judge", "cannot be judged"),)


def test_a_decorated_function_compares_too():
    @sparring.judge(threads=2)
    def better(first, second):
        return "second" if second > first else "first"

    assert better("a", "b") == "second"
    found = scores(better, ("a", "b")).values
    assert found[1] > found[0]


# ── the other roles ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_discussant_hears_stance_and_discussion():
    problem = ARITHMETIC.problems("train")[0]
    chat = problem.chat.say(LEARNER, "5").say("user", "why?").say(LEARNER, "so")
    discussant = partner(
        "discussant", lambda answer, stance, chat, gold: f"{stance} {answer} {len(chat.messages)} {gold}"
    )
    said = asyncio.run(discussant.remark(problem, chat, "adversarial", random.Random(0)))
    assert said == f"adversarial so 4 {problem.gold}"
    with pytest.raises(ConfigError, match=r"returned '' .* it must return a text"):
        asyncio.run(partner("discussant", lambda answer: "").remark(problem, chat, "supportive", random.Random(0)))


def test_a_critic_names_a_fault_or_quotes_it():
    problem, attempt = ARITHMETIC.problems("train")[0], "1+1=2\n2+2=5\nso 5"
    for returned, expected in (
        ("2+2=5", Fault("2", "2+2=5")),
        (Fault("3", "so 5", "why"), Fault("3", "so 5", "why")),
        (None, None),
    ):
        critic = partner("critic", lambda attempt, steps, returned=returned: returned)
        assert asyncio.run(critic.feedback(problem, attempt, random.Random(0))) == expected
    for returned, error in (("9+9", Unreadable), (Fault("7", "x"), Unreadable), (True, ConfigError), ("", ConfigError)):
        critic = partner("critic", lambda attempt, returned=returned: returned)
        with pytest.raises(error):
            asyncio.run(critic.feedback(problem, attempt, random.Random(0)))


def test_an_editor_may_leave_out_what_it_keeps_and_must_change_the_fault():
    problem, attempt, fault = ARITHMETIC.problems("train")[0], "1+1=2\n2+2=5\nso 5", Fault("2", "2+2=5")
    for returned in ("2+2=4\nso 4", "1+1=2\n2+2=4\nso 4"):
        editor = partner("editor", lambda fault, kept, returned=returned: returned)
        assert asyncio.run(editor.improve(problem, attempt, fault, random.Random(0))) == "1+1=2\n2+2=4\nso 4"
    with pytest.raises(ConversationError, match="the update is refused"):
        asyncio.run(partner("editor", lambda attempt: attempt).improve(problem, attempt, fault, random.Random(0)))


def test_an_author_writes():
    problem = ARITHMETIC.problems("train")[0]
    author = partner("author", lambda question, rng: f"{question}{rng.randint(0, 9)}")
    assert asyncio.run(author.attempt(problem, random.Random(0))) == f"{problem.chat.text}6"
    with pytest.raises(ConfigError, match="returned 3 "):
        asyncio.run(partner("author", lambda question: 3).attempt(problem, random.Random(0)))

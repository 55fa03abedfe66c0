"""The arithmetic task: its problems, what is right, going on from right steps, and remarks."""

import json
import os
import random
import re
import time
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.arithmetic_answers import (
    CLEAR,
    EASY,
    EASY_SAID,
    NAMED,
    PAPER,
    TASKS,
    asked,
    corrupted,
    easy_problems,
    paper_problems,
    reworded,
    seeds,
)

from sparring.common.errors import ConfigError
from sparring.core.task import Checks, Claims, Endless, Solves, Task, offers
from sparring.parsing.arithmetic.expressions import parse, value_of
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

# ---- the problems


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_task_offers_all_there_is(task):
    assert isinstance(task, Task | Endless | Checks | Solves | Claims)
    assert offers(task) == {"question", "worked", "thoughts", "gold", "rationale", "first_error", "solution", "claims"}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_splits_are_disjoint_and_every_gold_answer_is_what_the_question_comes_to(task):
    splits = [task.problems(split) for split in ("train", "development", "test")]
    texts = [problem.chat.text for split in splits for problem in split]
    assert len(texts) == len(set(texts)) == task.train + task.development + task.test
    for problem in (p for split in splits for p in split):
        assert problem.gold == str(value_of(parse(problem.chat.text.rstrip(" ="))))
        assert task.is_right(problem, problem.rationale)
        assert task.first_error(problem, problem.rationale) is None


def test_problems_are_the_same_each_time_and_others_with_another_seed():
    again = MultistepArithmetic(train=400, development=50, test=100).problems("train")
    assert again == EASY.problems("train")
    assert MultistepArithmetic(train=400, development=50, test=100, seed=1).problems("train") != again


def test_endless_begins_with_the_training_split_and_keeps_the_others_out():
    held_out = {p.id for split in ("development", "test") for p in EASY.problems(split)}
    first = list(islice(EASY.endless(), 3000))
    assert first[:400] == list(EASY.problems("train"))
    assert len({p.id for p in first}) == 3000
    assert not held_out & {p.id for p in first}


def test_a_compact_answer_has_an_operation_a_line_and_the_answer_on_the_last():
    texts = {p.chat.text: p.rationale for p in MultistepArithmetic(train=16_000).problems("train")}
    assert texts["(4-(7*3))="] == "7*3=21\n4-21=-17\n-17"
    assert texts["((4+7)*3)="] == "4+7=11\n11*3=33\n33"
    assert texts["(4-(3-9))="] == "3-9=-6\n4--6=10\n10"


def test_easy_problems_are_binned_by_their_operators_in_the_order_of_calculation():
    bins = {p.bin for p in EASY.problems("train")}
    assert bins == {first + second for first in "+-*" for second in "+-*"}
    assert all("".join(re.findall(r"\d([-+*])", p.rationale)) == p.bin for p in EASY.problems("train"))


def test_the_easy_range_is_quick_to_make():
    begun = time.process_time()
    MultistepArithmetic().problems("train")
    assert time.process_time() - begun < 2  # about 0.1 s


def test_a_numbered_answer_is_laid_out_as_in_the_paper():
    task = MultistepArithmetic("paper")
    problem = next(p for p in task.problems("train") if p.bin == "seen, 3 operands in 2 brackets")
    first, second = re.findall(r"\([^()]+\)", problem.chat.text)
    lines = problem.rationale.split("\n")
    assert [line.partition(") ")[0] for line in lines] == ["(1", "(2", "(3", "(4", "(Final response"]
    assert f"where A = {first} and B = {second}." in lines[0]
    assert lines[1].startswith(f"(2) Let's calculate A = {first} = ((")
    assert lines[3].startswith("(4) Then, the final equation is (A ")
    assert lines[4] == f"(Final response) So the answer is {problem.gold}."


def test_operations_that_are_ready_are_done_first_from_the_left():
    text = "((0 + 4 - 6 + -9 - -1 * 5) * (7 + 7 + 7)) ="
    solved = PAPER.solve(asked(text), 'Here A = (0 + 4 - 6 + -9 - -1 * 5) and B = (7 + 7 + 7), so it is "A * B".')
    assert (
        "A = ((((0 + 4) - 6) + -9) - (-1 * 5)) = (((4 - 6) + -9) - (-1 * 5)) = (((4 - 6) + -9) - -5)"
        " = ((-2 + -9) - -5) = (-11 - -5) = -6." in solved
    )


def test_paper_problems_train_on_seen_bins_and_test_on_all_of_them():
    task = MultistepArithmetic("paper", train=200, development=0, test=600)
    shape = re.compile(r"(seen|unseen), (\d) operands in (\d) brackets")
    for split in ("train", "test"):
        for problem in task.problems(split):
            known, length, brackets = shape.fullmatch(problem.bin).groups()
            inner = re.findall(r"\([^()]+\)", problem.chat.text)
            assert len(inner) == int(brackets)
            assert {len(re.findall(r"-?\d+", text)) for text in inner} == {int(length)}
            assert (known == "seen") == (length in "34" and brackets in "24")
    assert all(p.bin.startswith("seen") for p in task.problems("train"))
    counts = [sum(p.bin == name for p in task.problems("test")) for name in {p.bin for p in task.problems("test")}]
    assert len(counts) == 12
    assert min(counts) > 25


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"range": "hard"}, r"unknown range \(got 'hard'\); choose from easy, paper"),
        ({"train": 0}, "train = 0; give 1 or more problems"),
        ({"seen_lengths": (2,)}, r"seen_lengths = \[2\]; choose from 3, 4, 5, 6"),
        ({"range": "paper", "seen_depths": ()}, r"seen_depths = \[\]; choose from 1, 2, 3"),
        ({"train": 17_000}, r"only 18000 problems \(got train \+ development \+ test = 18\d+\); ask for fewer"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        MultistepArithmetic(**settings)


def test_every_question_of_big_bench_hard_comes_to_its_target():
    if "SPARRING_DATA" not in os.environ:
        pytest.skip("SPARRING_DATA does not say where the data sets are")
    file = Path(os.environ["SPARRING_DATA"], "bbh", "multistep_arithmetic_two.json")
    rows = json.loads(file.read_text())["examples"]
    assert len(rows) == 250
    for row in rows:
        problem = asked(row["input"])
        assert problem.gold == row["target"]
        for kept in ("", "Let's see."):
            solved = PAPER.solve(problem, kept)
            assert solved.startswith(kept)
            assert PAPER.first_error(problem, solved) is None
            assert PAPER.is_right(problem, solved)


# ---- what is right


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("7*3=21\n4-21=-17\n-17", True),
        ("-17", True),
        ("-17.", True),
        ("= -17", True),
        ("(4-(7*3)) = -17", True),
        ("4-7*3=4-21=-17", True),
        ("The answer is -17.", True),
        ("so the final answer is: **-17**", True),
        ("I get \\boxed{-17}", True),
        ("Answer: $-17$\nI hope that this helps!", True),
        ("The result is −17", True),
        ("", False),
        (" \n", False),
        ("17", False),
        ("-17\n21", False),
        ("-17 or 5, the answer is 5", False),
        ("7*3=21\n4-21=-17", False),  # a step: the answer is not stated
        ("7*3=21\n4-21=-17\n-1", False),
        ("-17 is not it", False),
        ("The answer is -177", False),
        ("The answer is -17.5", False),
        ("the answer is 4-21", False),
    ],
)
def test_the_final_value_alone_decides_whether_a_response_is_right(response, right):
    assert EASY.is_right(asked("(4-(7*3))="), response) is right


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("(Final response) So the answer is -11520.", True),
        ("So the answer is -11,520", True),
        ('It is "A * B", where A = (6 * -6 * 8 * 1) and B = (-1 * 7 * -6 + -2).\nA * B = -288 * 40 = -11520', True),
        ("A = (6 * -6 * 8 * 1) = -11520", False),
        ("The answer is -11,520. No, wait, the answer is 3.", False),
        ("The answer is 3.\n-11520 is another number", False),
    ],
)
def test_a_right_number_that_is_not_the_final_one_does_not_count(response, right):
    assert PAPER.is_right(asked("((6 * -6 * 8 * 1) * (-1 * 7 * -6 + -2)) ="), response) is right


# ---- going on from right steps


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_right_answer_cut_before_any_step_is_finished_rightly(task, data):
    problem = data.draw(easy_problems if task is EASY else paper_problems)
    rng = random.Random(data.draw(seeds))
    answer = problem.rationale
    if task is PAPER and rng.random() < 0.7:
        answer = reworded(answer, rng)
    steps = task.layout.split(answer)
    kept = data.draw(st.sampled_from([answer[: step.start] for step in steps] + [answer]))
    solved = task.solve(problem, kept)
    assert solved.startswith(kept)
    assert task.first_error(problem, solved) is None, solved
    assert task.is_right(problem, solved)


@pytest.mark.parametrize(("text", "answer"), EASY_SAID)
def test_a_compact_answer_in_another_order_is_finished_in_that_order(text, answer):
    lines = answer.strip().split("\n")
    for count in range(1, len(lines) + 1):
        kept = "".join(f"{line}\n" for line in lines[:count])
        solved = EASY.solve(asked(text, "another rationale"), kept)
        assert solved.startswith(kept)
        assert EASY.first_error(asked(text), solved) is None, solved
        assert EASY.is_right(asked(text), solved)


def test_a_solution_goes_on_in_the_labels_and_names_it_was_given():
    kept = "Thought 1: It is P - Q with P = (5 + 2 * -3 - 6), Q = (7 - -1 + 4 * 2).\nThought 2: Q = 16.\n"
    assert PAPER.solve(CLEAR, kept) == kept + (
        "Thought 3: Let's calculate P = ((5 + (2 * -3)) - 6) = ((5 + -6) - 6) = (-1 - 6) = -7.\n"
        "Thought 4: Then, the final equation is (P - Q) = (-7 - 16) = -23.\n"
        "Thought 5: So the answer is -23."
    )
    kept = "(1) Q = 7 - -1 + 4 * 2 = 16\n(2) P = 5 + 2 * -3 - 6 = -7\n"
    assert PAPER.solve(CLEAR, kept) == kept + (
        "(3) Then, the final equation is (P - Q) = (-7 - 16) = -23.\n(Final response) So the answer is -23."
    )


# ---- remarks


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_hints_are_true_claims_are_false_and_both_look_alike(task, data):
    problem = data.draw(easy_problems if task is EASY else paper_problems)
    rng = random.Random(data.draw(seeds))
    answer = (corrupted(problem.rationale, rng) or (problem.rationale, ""))[0]
    form = r"check: (-?\d+[-+*]-?\d+)=(-?\d+)" if task is EASY else r"Check (?:step \(.*?\)|this): (.+) = (-?\d+)\."
    hint, claim = task.hint(problem, answer, rng), task.false_claim(problem, answer, rng)
    said = re.fullmatch(form, claim)
    assert value_of(parse(said[1])) != int(said[2])
    said = re.fullmatch(form, hint)
    if said is None:
        assert "the equation" in hint
    elif not re.search("[A-Z]", said[1]):
        assert value_of(parse(said[1])) == int(said[2])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("7*3=24\n4-24=-20\n-20", "check: 7*3=21"),
        ("4-7=-3\n-3*3=-9\n-9", "check: 7*3=21"),
        ("7*3=21\n4-22=-18\n-18", "check: 4-21=-17"),
        ("7*3=21\n4-21=-17\n17", "check: 4-21=-17"),
        ("-16", "check: 7*3=21"),
        ("7*3=21\n4-21=-17\n-17", "check: 7*3=21"),
    ],
)
def test_a_hint_helps_with_the_first_fault(answer, hint):
    assert EASY.hint(asked("(4-(7*3))="), answer, random.Random(0)) == hint


def test_a_hint_in_words_names_the_step():
    answer = NAMED + "(2) A = (5 + 2 * -3 - 6) = (7 * -3 - 6) = -27."
    assert PAPER.hint(CLEAR, answer, random.Random(0)) == "Check step (2): 2 * -3 = -6."
    copied = NAMED.replace("-3", "3")
    assert PAPER.hint(CLEAR, copied, random.Random(0)) == "Check step (1): the equation has (5 + 2 * -3 - 6)."

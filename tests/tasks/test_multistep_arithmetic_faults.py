"""The arithmetic task's checker: it takes any right answer, and finds any wrong step where it is."""

import json
import os
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.tasks.arithmetic_answers import (
    CLEAR,
    EASY,
    EASY_SAID,
    NAMED,
    PAPER,
    SAID,
    TASKS,
    asked,
    corrupted,
    easy_problems,
    paper_problems,
    reworded,
    seeds,
    wrong_step,
)

from sparring.parsing.steps import COMPACT, NUMBERED, Fault

# ---- answers that are right, in other words


@pytest.mark.parametrize("answer", SAID, ids=range(len(SAID)))
def test_a_right_answer_in_other_words_has_no_fault(answer):
    assert PAPER.first_error(CLEAR, answer) is None
    assert PAPER.is_right(CLEAR, answer)


@pytest.mark.parametrize(("text", "answer"), EASY_SAID)
def test_a_right_compact_answer_in_another_order_has_no_fault(text, answer):
    assert EASY.first_error(asked(text), answer) is None
    assert EASY.is_right(asked(text), answer)


@given(paper_problems, seeds)
@settings(max_examples=300, deadline=None)
def test_rewording_a_right_answer_makes_no_fault(problem, seed):
    answer = reworded(problem.rationale, random.Random(seed))
    assert PAPER.first_error(problem, answer) is None, answer
    assert PAPER.is_right(problem, answer)


# ---- answers that are wrong


@given(paper_problems, seeds)
@settings(max_examples=500, deadline=None)
def test_every_corruption_of_a_numbered_answer_is_found_where_it_is(problem, seed):
    found = corrupted(problem.rationale, random.Random(seed))
    if found is not None:
        assert wrong_step(PAPER, problem, found[0]) == found[1], found[0]


@given(easy_problems, seeds)
@settings(max_examples=500, deadline=None)
def test_every_corruption_of_a_compact_answer_is_found_where_it_is(problem, seed):
    found = corrupted(problem.rationale, random.Random(seed))
    if found is not None:
        assert wrong_step(EASY, problem, found[0]) == found[1], found[0]


@given(paper_problems, seeds)
@settings(max_examples=200, deadline=None)
def test_a_miscopied_bracket_is_found_where_it_was_copied_however_rightly_it_is_worked_out(problem, seed):
    rng = random.Random(seed)
    brackets = re.findall(r"\([^()]+\)", problem.chat.text)
    place = rng.randrange(len(brackets))
    found = rng.choice(list(re.finditer(r"\d+", brackets[place])))
    other = brackets[place][: found.start()] + str((int(found[0]) + 1) % 10) + brackets[place][found.end() :]
    text, bracket = problem.chat.text, brackets[place]
    misread = asked(text.replace(bracket, other)) if text.count(bracket) == 1 else None
    if misread is None or misread.gold == problem.gold or other in text:
        return
    steps = NUMBERED.split(problem.rationale)
    listed = steps[0].text.replace(bracket, other)
    consistent = PAPER.solve(misread, f"(1) {listed}\n")
    assert wrong_step(PAPER, problem, consistent) == "1"
    late = consistent.replace(f"(1) {listed}", f"(1) {steps[0].text}", 1)
    assert wrong_step(PAPER, problem, late) == str(place + 2)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_wrong_final_line_is_found_there(task, data):
    problem = data.draw(easy_problems if task is EASY else paper_problems)
    kept, _, last = problem.rationale.rpartition("\n")
    other = last.replace(problem.gold, str(int(problem.gold) + data.draw(st.sampled_from([-10, -1, 1, 7]))))
    answer = f"{kept}\n{other}"
    fault = task.first_error(problem, answer)
    assert fault is not None
    assert fault.step == task.layout.split(answer)[-1].label
    assert fault.part in other
    assert not task.is_right(problem, answer)


@given(paper_problems, st.data())
@settings(max_examples=150, deadline=None)
def test_a_dropped_step_is_found_where_its_value_is_used(problem, data):
    lines = problem.rationale.split("\n")
    place = data.draw(st.integers(1, len(lines) - 2))
    answer = "\n".join(lines[:place] + lines[place + 1 :])
    user = lines[-2] if place < len(lines) - 2 else lines[-1]
    assert wrong_step(PAPER, problem, answer) == NUMBERED.split(user)[0].label


@given(easy_problems, st.data())
@settings(max_examples=150, deadline=None)
def test_a_compact_answer_that_lacks_a_line_is_found_where_it_would_be(problem, data):
    lines = problem.rationale.split("\n")
    place = data.draw(st.integers(0, 2))
    answer = "\n".join(lines[:place] + lines[place + 1 :])
    value = lines[0].partition("=")[2]
    if place == 0 and value.lstrip("-") in re.findall(r"\d", problem.chat.text):
        return  # 0-4: nothing untrue is said without it
    assert wrong_step(EASY, problem, answer) == str(min(place, 1) + 1)


FAULTS = [
    # (question, answer, step, part, words of the reason)
    ("(4-(7*3))=", "7*3=24\n4-24=-20\n-20", "1", "7*3=24", "7 * 3 should be 21"),
    ("(4-(7*3))=", "7*3=21\n4-21=-15\n-15", "2", "4-21=-15", "4 - 21 should be -17"),
    ("(4-(7*3))=", "4-7=-3\n-3*3=-9\n-9", "1", "4-7", "no part of what is left"),
    ("(4-(7*3))=", "7*3=21\n21-4=17\n17", "2", "21-4", "no part of what is left"),
    ("(4-(7*3))=", "7*3=21\n4-22=-18\n-18", "2", "4-22", "nothing before gives 22"),
    ("(4-(7*3))=", "4-21=-17\n-17", "1", "4-21", "nothing before gives 21"),
    ("(4-(7*3))=", "7*3=21\n-17", "2", "-17", "not finished"),
    ("(4-(7*3))=", "7*3=21\n4-21=-17", "2", "4-21=-17", "stops here"),
    ("(4-(7*3))=", "7*3=21\n4-21=", "2", "4-21=", "stops here"),
    ("(4-(7*3))=", "7*3=", "1", "7*3=", "stops here"),
    ("(4-(7*3))=", "7*3=21\n4-21=-17\n17", "3", "17", "the steps give -17"),
    ("(4-(7*3))=", "-16", "1", "-16", "not what the equation comes to"),
    ("(4-(7*3))=", "7*3=21\n21\n4-21=-17\n21", "4", "21", "the steps give -17"),
    ("((4-3)+7)=", "3-4=-1\n-1+7=6\n6", "1", "3-4", "no part of what is left"),
    ("((1-5)*3)=", "1-5=-4\n4*3=12\n-12", "2", "4*3", "no part of what is left"),
    ("(4+(2+2))=", "2*2=4\n4+4=8\n8", "1", "2*2", "no part of what is left"),
    ("(4-(7+3))=", "7+3=10\n4-7=-3\n-3", "2", "4-7", "no part of what is left"),
    ("(0*(5*3))=", "5*4=20\n0*20=0\n0", "1", "5*4", "nothing before gives 4"),
    ("(7-(5-5))=", "5-5=0\n7-0=7\n7\n8", "4", "8", "the steps give 7"),
    ("(4-(7*3))=", "seven times three", "1", "seven times three", "stops here"),
    ("(4-(7*3))=", "", "1", "", "stops here"),
]


@pytest.mark.parametrize(("text", "answer", "step", "part", "reason"), FAULTS)
def test_the_first_fault_of_a_compact_answer(text, answer, step, part, reason):
    fault = EASY.first_error(asked(text), answer)
    assert (fault.step, fault.part) == (step, part)
    assert reason in fault.reason
    assert COMPACT.read_feedback(COMPACT.write_feedback(answer, fault)) == Fault(step, part) if part else True


WORDED = [
    (NAMED.replace("A - B", "A + B"), "1", "A + B", "another equation"),
    (NAMED.replace("A - B", "A - C"), "1", "A - C", "nothing says what C stands for"),
    (NAMED.replace("-3", "3"), "1", "(5 + 2 * 3 - 6)", "the equation has (5 + 2 * -3 - 6)"),
    (NAMED.replace(" - 6", ""), "1", "(5 + 2 * -3)", "the equation has (5 + 2 * -3 - 6)"),
    (NAMED + "(2) A = (5 + 2 * -3 - 7) = -8.", "2", "(5 + 2 * -3 - 7)", "the equation has"),
    (
        NAMED + "(2) A = (5 + 2 * -3 - 6) = (7 * -3 - 6) = -27.",
        "2",
        "(5 + 2 * -3 - 6) = (7 * -3 - 6)",
        "2 * -3 should be -6",
    ),
    (NAMED + "(2) A = (5 + 2 * -3 - 6) = (5 - 6 + 6) = 5.", "2", "(5 + 2 * -3 - 6) = (5 - 6 + 6)", "should be -7"),
    (NAMED + "(2) A = -7, since 5 - 12 = -6.", "2", "5 - 12", "nothing before gives 12"),
    (NAMED + "(2) A - B = -7 - 16 = -23.", "2", "A - B = -7 - 16", "A has not been calculated"),
    (NAMED + "(2) A = -7.\n(3) B = 16.\n(4) A - B = -7 - 15 = -22.", "4", "A - B = -7 - 15", "B is 16"),
    (NAMED + "(2) A = -7.\n(3) B = 16.\n(4) A - B = -7 + 16 = 9.", "4", "A - B = -7 + 16", "should be -23"),
    (NAMED + "(2) A = -7.\n(3) B = 16.\n(4) B - A = 16 - -7 = 23.", "4", "B - A", "no part of what is left"),
    (NAMED + "(2) A = -7.\n(3) B = 8 + (2 + 2 + 4) = 16.", "3", "8 + (2 + 2 + 4)", "the equation has (7 - -1 + 4 * 2)"),
    (NAMED + "(2) A = 14/2 = 7.", "2", "14/2", "cannot be read"),
    (NAMED + "(2) A = -7.\n(3) B = 16.\n(4) So the answer is -24.", "4", "-24", "not finished"),
    (NAMED + "(2) A = -7.\n(3) B = 16.\n(4) So the answer is -23.", "4", "-23", "not finished"),
    (NAMED + "(2) A = -7.\n(3) B = 16.", "3", "B = 16.", "stops here"),
]


@pytest.mark.parametrize(("answer", "step", "part", "reason"), WORDED)
def test_the_first_fault_of_an_answer_in_words(answer, step, part, reason):
    fault = PAPER.first_error(CLEAR, answer)
    assert (fault.step, fault.part) == (step, part)
    assert reason in fault.reason
    assert NUMBERED.read_feedback(NUMBERED.write_feedback(answer, fault)).agrees_with(fault)


HOSTILE = [
    "(" * 10_000,
    "9**9**9",
    "9**9**9 = 1",
    "A = " + "9" * 1_000_000,
    "(1) " + "9*" * 100_000 + "9 = 3",
    "-" * 50_000 + "7 = 7",
    "7*3=٢١\n4-٢١=-١٧\n-١٧",
    "7*3=21\x00\n4-21=-17\x00\n-17",
    "\x00",
    "A = A = A\nB = A\nA - B = B - A",
    "7*3=21," * 5_000,
    "(7*3)" * 3_000 + "=1",
    "1 = 1 = " * 5_000,
    "A = " * 5_000,
    "(1)(2)(3) " * 3_000,
    "__import__('os').system('true')",
    "A1 = 2 * 3\n" + "\n".join(f"A{n + 1} = A{n} * A{n}" for n in range(1, 99)),
    "(A) = 4 - (7 * 3)\n" + "\n".join("BCDEF"[n % 5] + " = A + A" for n in range(99)),
    "A = (4 - (7 * 3))\n" + "A * " * 99 + "A = 1",
    "{" * 5_000 + "}" * 5_000,
    "the answer " * 3_000,
    "answer is is is is " * 1_000,
    "4-21=-17=" + "+".join(["1"] * 100) + "-" + "-".join(["1"] * 117),
    "(4-(7*3))=" + "=".join(f"{n}-{n + 17}+{n}-{n}+7*{n}-{n}*7" for n in range(300)),
]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_neither_crash_nor_hang(task, answer):
    begun = time.process_time()
    problem = asked("(4-(7*3))=", "7*3=21\n4-21=-17\n-17")
    task.first_error(problem, answer)
    task.is_right(problem, answer)
    task.hint(problem, answer, random.Random(0))
    assert time.process_time() - begun < 3


@given(st.text("0123456789()+-*=. \n,ABx²٣\x00^/"), easy_problems)
@example("0-(=", EASY.problems("train")[0])
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_checked_and_what_has_no_fault_is_right(text, problem):
    for task in TASKS.values():
        fault = task.first_error(problem, text)
        assert fault is not None or task.is_right(problem, text)
        assert fault is None or fault.part in text


def test_it_agrees_with_people_on_the_first_wrong_step_of_other_systems_answers():
    """BIG-Bench-Mistake (Tyen et al., arXiv 2311.08516). Where we differ, most labels miss a step that is wrong."""
    file = Path(os.environ.get("SPARRING_DATA", ""), "big_bench_mistake", "multistep_arithmetic.jsonl")
    if "SPARRING_DATA" not in os.environ or not file.exists():
        pytest.skip("SPARRING_DATA does not say where the data set is")
    agreed = 0
    for row in map(json.loads, file.read_text().splitlines()):
        problem, answer = asked(row["input"]), "\n".join(row["steps"])
        label = None if row["mistake_index"] is None else str(row["mistake_index"] + 1)
        agreed += wrong_step(PAPER, problem, answer) == label
        assert PAPER.is_right(problem, answer) == (row["answer"] == row["target"])
    assert agreed >= 272  # of 300; 282 lack no label that they need

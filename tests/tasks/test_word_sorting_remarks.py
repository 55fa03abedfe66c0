"""What word sorting says about an answer: its solution, hints and false claims, whatever the answer holds."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.sortings import (
    EASY,
    PAPER,
    PLAIN,
    REWORDINGS,
    draws,
    easy_problems,
    fault_at,
    foreign,
    paper_problems,
)


@settings(max_examples=200)
@given(problem=paper_problems, wording=st.sampled_from(sorted(REWORDINGS)), rng=draws)
def test_a_right_answer_cut_before_any_step_is_finished_rightly(problem, wording, rng):
    answer = REWORDINGS[wording](problem.rationale)
    step = rng.choice(PAPER.layout.split(answer))
    prefix = answer[: step.start]
    for given_up in (prefix, prefix.rstrip("\n")):
        solved = PAPER.solve(problem, given_up)
        assert solved.startswith(given_up)
        assert PAPER.is_right(problem, solved)
        assert PAPER.first_error(problem, solved) is None
        labels = [s.label for s in PAPER.layout.split(solved)]
        assert len(set(labels)) == len(labels)
    assert PAPER.solve(problem, answer) == answer


@given(problem=paper_problems, rng=draws)
def test_our_own_answers_are_finished_as_they_were_begun(problem, rng):
    step = rng.choice(PAPER.layout.split(problem.rationale))
    assert PAPER.solve(problem, problem.rationale[: step.start]) == problem.rationale


@given(problem=easy_problems, rng=draws)
def test_a_compact_answer_is_finished_rightly(problem, rng):
    step = rng.choice(EASY.layout.split(problem.rationale))
    prefix = problem.rationale[: step.start]
    assert EASY.solve(problem, prefix) == problem.rationale
    loose = prefix.replace(" ", ",  ").strip()
    solved = EASY.solve(problem, loose)
    assert solved.startswith(loose)
    assert EASY.first_error(problem, solved) is None
    assert EASY.is_right(problem, solved)


@given(problem=paper_problems, rng=draws)
def test_a_wrong_answer_is_corrected_from_the_steps_before_its_first_fault(problem, rng):
    lines = problem.rationale.split("\n")
    number = rng.randrange(len(lines))
    lines[number] = foreign(lines[number], rng, problem)
    answer = "\n".join(lines)
    fault = PAPER.first_error(problem, answer)
    corrected = PAPER.solve(problem, PAPER.layout.before(answer, fault.step))
    assert PAPER.layout.refusal(answer, fault, corrected) is None
    assert PAPER.layout.read_feedback(PAPER.layout.write_feedback(answer, fault)).agrees_with(fault)


def is_true(remark, words):
    """Whether an easy remark, or a remark on the letters of two words, is true."""
    easy = re.fullmatch(r"check: (\w+)<(\w+)", remark)
    if easy:
        assert {easy[1], easy[2]} <= set(words)
        return easy[1] < easy[2]
    ordinal = re.search(r"(\w+) letter", remark)[1]
    depth = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"].index(ordinal)
    letters = re.findall(r'"(\w+)"="(\w?)" \((\d+)\)', remark)
    assert letters
    return all(
        word in words and word[depth:][:1] == its and int(number) == (ord(its) - 96 if its else 0)
        for word, its, number in letters
    )


def an_answer(task, problem, rng):
    lines = problem.rationale.split("\n")
    if rng.random() < 0.3:
        return problem.rationale
    if rng.random() < 0.2:
        return "\n".join(lines[: rng.randrange(len(lines))])
    number = rng.randrange(len(lines))
    words = problem.data["words"]
    one, other = rng.sample(words, 2)
    exchanged = {one: other, other: one}
    lines[number] = re.sub(r"[\w']+", lambda m: exchanged.get(m[0], m[0]), lines[number])
    return "\n".join(lines)


@settings(max_examples=200)
@given(problem=easy_problems, rng=draws)
def test_easy_remarks_look_alike_and_only_hints_are_true(problem, rng):
    answer = an_answer(EASY, problem, rng)
    hint, claim = EASY.hint(problem, answer, rng), EASY.false_claim(problem, answer, rng)
    assert is_true(hint, problem.data["words"])
    assert not is_true(claim, problem.data["words"])
    assert problem.gold not in hint


@settings(max_examples=200)
@given(problem=paper_problems, rng=draws)
def test_claims_on_letters_are_false_and_hints_are_true(problem, rng):
    answer = an_answer(PAPER, problem, rng)
    labels = [s.label for s in PAPER.layout.split(answer)] or ["1"]
    claim = PAPER.false_claim(problem, answer, rng)
    assert not is_true(claim, problem.data["words"])
    hint = PAPER.hint(problem, answer, rng)
    fault = PAPER.first_error(problem, answer)
    assert problem.gold not in hint
    if fault:
        assert hint.startswith(f"Check step ({fault.step}): ")
    if fault is None:
        assert is_true(hint, problem.data["words"])
    assert all(re.match(r"Check step \(([^)]*)\): ", remark)[1] in labels for remark in (hint, claim))


def test_a_hint_is_about_the_first_fault():
    rng = random.Random(0)
    problem = EASY.ask(["dog", "ant", "cat", "bee"])
    assert EASY.hint(problem, "ant\ncat\ndog\nant bee cat dog", rng) == "check: bee<cat"
    assert EASY.hint(problem, "ant\nbee\ncat\nant bee dog cat", rng) == "check: cat<dog"
    assert "cat" in EASY.hint(problem, "ant\nbee\ncat\nant bee dog", rng)
    assert PAPER.hint(PAPER.ask(["dog", "ant"]), '(1) The first letter: "dog"="d" (4), "ant"="n" (14).', rng) == (
        'Check step (1): the first letter is "ant"="a" (1).'
    )


def test_remarks_are_drawn_from_the_stream_that_is_given():
    problem = EASY.problems("train")[0]
    for remark in (EASY.hint, EASY.false_claim):
        first = [remark(problem, problem.rationale, random.Random(5)) for _ in range(2)]
        assert first[0] == first[1]
        assert len({remark(problem, problem.rationale, random.Random(n)) for n in range(40)}) > 1


@settings(max_examples=300)
@given(text=st.text(max_size=300) | st.text(alphabet="\"'()[]<>?=:,.- \n19 antdog", max_size=300), rng=draws)
def test_any_text_is_read_without_a_crash_and_faults_quote_it(text, rng):
    for task in (EASY, PAPER):
        problem = task.ask(["dog", "ant", "antd"])
        fault = task.first_error(problem, text)
        assert fault is None or fault.part in text
        assert (fault is None) <= task.is_right(problem, text)
        assert task.solve(problem, text).startswith(text)
        assert task.hint(problem, text, rng)
        assert not is_true(task.false_claim(problem, text, rng), ["dog", "ant", "antd"])


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "[ant ? ",
        '"',
        "'",
        "ant<",
        "ant ? ",
        "(9",
        "(9) ",
        "a'",
        "answer is ",
        "ant: ",
        " x",
        "(1) ant\n",
        "ant=a (1) ",
    ],
)
def test_long_hostile_answers_take_no_long_time(unit):
    start = time.process_time()
    for task in (EASY, PAPER):
        problem = task.ask(["dog", "ant", "cat"])
        task.first_error(problem, unit * 5_000)
        task.is_right(problem, unit * 5_000)
    assert time.process_time() - start < 2


def test_numbers_too_long_for_python_and_code_are_read_as_text():
    problem = PAPER.ask(["dog", "ant"])
    digits = "9" * 5_000
    fault_at(f'(1) The first letter: "dog"="d" ({digits}), "ant"="a" (1).', "1", problem=problem)
    fault_at(f'(1) We now have: ({digits}) "ant" < (4) "dog".', "1", problem=problem)
    assert PAPER.solve(problem, f"({digits}) So.\n").startswith(f"({digits}) So.\n")
    assert not PAPER.is_right(problem, "The answer is: ' '.join(sorted(['dog', 'ant']))")


def test_an_answer_that_ends_in_an_empty_final_response_is_finished():
    prefix = "(Final response):\n"
    solved = PAPER.solve(PLAIN, prefix)
    assert solved.startswith(prefix)
    assert PAPER.first_error(PLAIN, solved) is None
    assert PAPER.is_right(PLAIN, solved)

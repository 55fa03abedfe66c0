"""The first error of a sorting: none in a right answer however it is worded, and where it is in a wrong one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.sortings import (
    EASY,
    PAPER,
    REWORDINGS,
    WORKED,
    draws,
    easy_problems,
    fault_at,
    foreign,
    paper_problems,
    unnumbered,
    words_at,
)

from sparring.parsing.steps import Fault


@settings(max_examples=300)
@given(problem=paper_problems, wording=st.sampled_from(sorted(REWORDINGS)))
def test_a_right_answer_is_right_however_it_is_worded(problem, wording):
    answer = REWORDINGS[wording](problem.rationale)
    assert PAPER.first_error(problem, answer) is None
    assert PAPER.is_right(problem, answer)


def test_orders_may_be_written_from_the_end_and_reasons_given_once_more():
    problem = PAPER.ask(["dog", "ant", "dab"])
    assert PAPER.first_error(problem, "The answer is: ant dab dog") is None
    answer = """The first letter: dog = d (4), ant = a (1), dab = d (4).
We now have ["dog" ? "dab"] > "ant", since dog = d (4) and ant = a (1).
The first letters of ["dog" ? "dab"] are the same, so look at their second letters: "dog": "o". "dab": "a".
So (1) "dab" < (15) "dog" for the subpart. Hence, we have "ant" < "dab" < "dog".
The answer is ant dab dog"""
    assert PAPER.first_error(problem, answer) is None


@pytest.mark.parametrize(
    ("label", "before", "after", "part"),
    [
        ("1", '"sink"="s" (19)', '"sink"="i" (19)', '"sink"="i" (19)'),
        ("1", '"sink"="s" (19)', '"sink"="s" (20)', '"sink"="s" (20)'),
        ("1", '"sink"="s" (19)', '"stink"="s" (19)', '"stink"'),
        ("1", '"sink"="s" (19)', '"sing"="s" (19)', '"sing"'),
        ("1", ', "sink"="s" (19)', "", '"sing"="s" (19), "song"'),
        ("1", "first letter", "second letter", "second letter"),
        ("2", '(2) ["bee" ? "bat"]', '(3) ["bee" ? "bat"]', '(3) ["bee" ? "bat"]'),
        ("2", '(2) ["bee" ? "bat"]', '(2) "bee"', '(1) "apple" < '),
        ("2", '(2) ["bee" ? "bat"]', '(2) "bat" < (2) "bee"', '(2) "bat" < (2) "bee"'),
        ("2", '(1) "apple" < (2) ["bee" ?', '(1) ["apple" ? "bee"] < (2) [', '(1) ["apple" ? "bee"]'),
        ("3", '["bee" ? "bat"]', '["bee" ? "bat" ? "song"]', '["bee" ? "bat" ? "song"]'),
        ("3", "second", "third", "third letters"),
        ("3.1", '(1) "bat" < (5) "bee"', '(5) "bee" < (1) "bat"', '(5) "bee" < (1) "bat"'),
        ("4.1", '["sing" ? "sink"]', '"sing" < "sink"', '"sing" < "sink"'),
        ("4.2.1", '(14) ["sing" ? "sink"]', '(14) "sink" < (14) "sing"', '(14) "sink" < (14) "sing"'),
        ("4.3", ' < "song"', "", '"sing" < "sink"'),
        ("5", '"bat" < "bee"', '["bat" ? "bee"]', '["bat" ? "bee"]'),
        ("5", '"bat" < "bee"', '"bee" < "bat"', '"bee" < "bat"'),
        ("5", '"bat" < "bee"', '"bat" > "bee"', '"bat" > "bee"'),
        ("Final response", "bat bee", "bee bat", "bee bat"),
        ("Final response", "bat bee", "bat bat bee", "bat"),
        ("Final response", "bat bee", "bat", "apple bat sing"),
    ],
)
def test_the_first_wrong_part_is_quoted(label, before, after, part):
    lines = WORKED.split("\n")
    number = next(n for n, line in enumerate(lines) if line.startswith(f"({label}) "))
    assert before in lines[number]
    lines[number] = lines[number].replace(before, after)
    assert part in fault_at("\n".join(lines), label).part


def test_a_subpart_that_was_begun_is_sorted_to_its_end_before_another():
    answer = """(1) We now have: (1) ["ant" ? "and"] < (2) ["bee" ? "bat"].
(2) Now sort this subpart ["ant" ? "and"] by looking at their second letters: "ant"="n" (14), "and"="n" (14).
(3) We now have: (14) ["ant" ? "and"] for the subpart. Hence, we have ["ant" ? "and"] < ["bee" ? "bat"].
(4) Now sort this subpart ["bee" ? "bat"] by looking at their second letters: "bee"="e" (5), "bat"="a" (1)."""
    fault_at(answer, "4", problem=PAPER.ask(["ant", "bee", "and", "bat"]))


def test_a_right_list_is_a_leap_where_a_subpart_that_was_begun_is_left_tied():
    answer = """(1) We now have: (1) ["ant" ? "and"] < (2) "bee".
(2) Now sort this subpart ["ant" ? "and"] by looking at their second letters: "ant"="n" (14), "and"="n" (14).
(3) We now have: (14) ["ant" ? "and"].
(Final response) So the answer is: and ant bee."""
    fault_at(answer, "Final response", problem=PAPER.ask(["ant", "bee", "and"]))


def test_an_order_that_says_more_than_was_compared_is_a_leap_even_where_it_is_true():
    answer = '(1) We now have: (1) "ant" < (2) ["bee" ? "bat"].\n(2) Hence, we have "ant" < "bat" < "bee".\n'
    fault_at(f"{answer}(Final response) So the answer is: ant bat bee.", "2", problem=PAPER.ask(["bee", "ant", "bat"]))


@settings(max_examples=60)
@given(problem=paper_problems, rng=draws)
def test_an_answer_that_stops_short_is_wrong_where_it_stops(problem, rng):
    lines = problem.rationale.split("\n")
    prefix = lines[: rng.randrange(1, len(lines))]
    fault = PAPER.first_error(problem, "\n".join(prefix))
    assert fault is not None
    assert prefix[-1].startswith(f"({fault.step})")
    assert PAPER.first_error(problem, "") == Fault("1", "", "there is no answer")


def swap(line, rng, problem):
    """Two words that the line tells apart change places."""
    blocks = (
        re.findall(r"\[[^]]*\]|\"[^\"]*\"", line)
        if "<" in line
        else line.rstrip(".").split()[-len(problem.data["words"]) :]
    )
    if "=" in line or len(blocks) < 2 or not ("<" in line or "answer" in line):
        return None
    one, other = (re.search(r"[\w'&.]+", block)[0] for block in rng.sample(blocks, 2))
    exchanged = {one: other, other: one}
    head, cut, tail = line.partition("have" if "<" in line else "is:")
    return head + cut + re.sub(r"[\w'&.]*\w", lambda m: exchanged.get(m[0], m[0]), tail)


def drop(line, rng, problem):
    if "=" in line:
        pieces = re.findall(r', "\w+"="\w" \(\d+\)|"\w+" \? ', line)
        return line.replace(rng.choice(pieces), "") if pieces else None
    if "<" in line:
        pieces = re.findall(r' < (?:\(\d+\) )?"\w+"|"\w+" \? ', line)
        return line.replace(rng.choice(pieces), "") if pieces else None
    return re.sub(rf" {rng.choice(problem.data['words'])}\b", "", line) if "answer" in line else None


def double(line, rng, problem):
    named = {line[start:end].strip('"') for start, end in words_at(line)}
    if len(named) < 2:
        return None
    start, end = rng.choice(words_at(line))
    other = rng.choice(sorted(named - {line[start:end].strip('"')}))
    return line[:start] + line[start:end].replace(line[start:end].strip('"'), other) + line[end:]


def wrong_letter(line, rng, problem):
    marks = list(re.finditer(r'(?<==")\w', line))
    if not marks:
        return None
    mark = rng.choice(marks)
    return line[: mark.start()] + rng.choice(sorted(set("abcxyz") - {mark[0]})) + line[mark.end() :]


def wrong_number(line, rng, problem):
    marks = list(re.finditer(r"(?<=[^^]\()\d+(?=\))", line))
    if not marks:
        return None
    mark = rng.choice(marks)
    return line[: mark.start()] + str(int(mark[0]) % 26 + 1) + line[mark.end() :]


CORRUPTIONS = (swap, drop, double, foreign, wrong_letter, wrong_number)


@settings(max_examples=400)
@given(problem=paper_problems, corrupt=st.sampled_from(CORRUPTIONS), rng=draws)
def test_a_corrupted_step_is_found_at_that_step(problem, corrupt, rng):
    lines = problem.rationale.split("\n")
    number = rng.randrange(len(lines))
    label = re.match(r"\(([^)]*)\)", lines[number])[1]
    worse = corrupt(lines[number], rng, problem)
    if worse is None:
        return
    assert worse != lines[number]
    answer = "\n".join([*lines[:number], worse, *lines[number + 1 :]])
    fault_at(answer, label, problem=problem)
    bare = PAPER.first_error(problem, unnumbered(answer))
    assert bare is not None
    assert bare.step == str(number + 1)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("ant\ncat\nant cat dog", None),
        ("  ant \n\n cat\n ant  cat   dog ", None),
        ("ant,\ncat,\nant, cat, dog.", None),
        ("1. 'ant'\n2. 'cat'\n3. 'ant' 'cat' 'dog'", None),
        ("ant\ncat\ndog\nThe answer is: ant cat dog", None),
        ("ant cat dog", None),
        ("- ant\n- cat\n- dog", None),
        ("cat ant dog", ("1", "cat ant")),
        ("cat\nant\nant cat dog", ("1", "cat")),
        ("ant\nant\nant cat dog", ("2", "ant")),
        ("ant\ncow\nant cat dog", ("2", "cow")),
        ("ant\ndog\nant cat dog", ("2", "dog")),
        ("ant\ncat\nant dog cat", ("3", "dog cat")),
        ("ant\ncat\nant cat", ("3", "ant cat")),
        ("ant\ncat\nant cat cat dog", ("3", "cat")),
        ("ant\ncat\nant cow dog", ("3", "cow")),
        ("ant\ncat", ("2", "cat")),
        ("ant\n?", ("2", "?")),
        ("ant cat dog\ndog", ("2", "dog")),
    ],
)
def test_the_first_wrong_line_of_a_compact_answer_is_found(answer, fault):
    error = EASY.first_error(EASY.ask(["dog", "ant", "cat"]), answer)
    assert (error and (error.step, error.part)) == fault


@settings(max_examples=200)
@given(problem=easy_problems, rng=draws)
def test_a_corrupted_line_is_found_at_that_line(problem, rng):
    lines = problem.rationale.split("\n")
    number = rng.randrange(len(lines))
    words = lines[number].split()
    index = rng.randrange(len(words))
    others = [word for word in problem.data["words"] if word != words[index]]
    worse = [[*words[:index], other, *words[index + 1 :]] for other in (*others, "zzz")]  # other, doubled, foreign
    if len(words) > 1:
        worse += [words[:index] + words[index + 1 :], [*words[:index], words[index], *words[index:]], words[::-1]]
    worse = rng.choice(worse)
    answer = "\n".join([*lines[:number], " ".join(worse), *lines[number + 1 :]])
    fault = fault_at(answer, str(number + 1), EASY, problem)
    assert EASY.layout.read_feedback(EASY.layout.write_feedback(answer, fault)) == Fault(fault.step, fault.part)

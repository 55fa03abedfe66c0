import os
import random
import re
import time
from calendar import monthrange
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.core.task import offers
from sparring.parsing.dates.calendar import Shift, dates, moved, read_date, written
from sparring.parsing.dates.stories import read_story
from sparring.tasks.date_understanding import DateUnderstanding

EASY = DateUnderstanding(train=150, development=20, test=80)
PAPER = DateUnderstanding("paper", train=80, development=20, test=80)
STORY = "The flight was on May 3, 2004. The concert was 10 days after the flight. Today is 2 weeks after the concert."
OPTIONS = ["05/27/2004", "05/28/2004", "05/26/2004", "05/28/2003", "06/28/2004"]
WORKED = """\
(1) The flight is on 05/03/2004.
(2) The concert is 10 days after 05/03/2004, which is 05/13/2004.
(3) Today is 2 weeks after 05/13/2004, which is 05/27/2004.
(4) Tomorrow is 1 day after 05/27/2004, which is 05/28/2004.
(Final response) So the answer is (B)."""
DEADLINE = PAPER._worked(
    "The deadline is Jun 1, 2021, which is 2 days away from now. What is the date a month ago in MM/DD/YYYY?",
    ["04/30/2021", "05/01/2021", "04/29/2021"],
    "A",
)

problems = st.sampled_from([*PAPER.problems("train"), *PAPER.problems("test")])
easy_problems = st.sampled_from([*EASY.problems("train"), *EASY.problems("test")])
days = st.dates(date(1900, 1, 1), date(2100, 1, 1))


# ── the calendar ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("start", "shift", "end"),
    [
        (date(2004, 5, 31), Shift(months=1), date(2004, 6, 30)),
        (date(2004, 3, 31), Shift(months=-1), date(2004, 2, 29)),
        (date(2000, 2, 29), Shift(months=12), date(2001, 2, 28)),
        (date(1999, 12, 31), Shift(days=1), date(2000, 1, 1)),
        (date(2004, 12, 1), Shift(months=1), date(2005, 1, 1)),
        (date(9999, 12, 31), Shift(days=1), None),
        (date(1, 1, 1), Shift(months=-1), None),
    ],
)
def test_moves_keep_to_the_calendar(start, shift, end):
    assert moved(start, shift) == end


@given(day=days, months=st.integers(-100, 100), count=st.integers(-1000, 1000))
def test_a_move_by_months_keeps_the_day_where_the_month_has_it(day, months, count):
    assert moved(day, Shift(days=count)) == day + timedelta(count)
    there = moved(day, Shift(months))
    assert 12 * there.year + there.month == 12 * day.year + day.month + months
    assert there.day == min(day.day, monthrange(there.year, there.month)[1])


@given(day=days)
def test_a_date_is_read_in_every_notation(day):
    month = day.strftime("%B")
    for text in (
        written(day),
        f"{day.month}/{day.day}/{day.year}",
        day.isoformat(),
        f"{month} {day.day}, {day.year}",
        f"{month[:3]}. {day.day}th, {day.year}",
        f"{day.day} {month} {day.year}",
        f"the {day.day}th of {month}, {day.year}",
    ):
        assert read_date(f"It was {text}.") == day
    assert written(day) == f"{day:%m/%d/%Y}"


def test_a_day_that_does_not_exist_is_no_date():
    assert [day for day, _ in dates("02/30/2001, 13/01/2001, 1/2/34 and 02/29/2000")] == [
        None,
        None,
        None,
        date(2000, 2, 29),
    ]


# ── stories ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("story", "today"),
    [
        ("Today is Christmas Eve of 1937.", "12/24/1937"),
        ("2015 is coming in 36 hours.", "12/30/2014"),
        ("It was Sept. 1st, 2021 a week ago.", "09/08/2021"),
        ("Jane and John married on Jan 2, 1958. Today is their golden wedding anniversary.", "01/02/2008"),
        ("Jane booked a flight for tomorrow, Jul 29, 2002.", "07/28/2002"),
        ("Jane quited her job on Mar 20, 2020. 176 days have passed since then.", "09/12/2020"),
        ("Jane thinks today is 6/18/2019, but John thinks today is 6/19/2019. John is correct.", "06/19/2019"),
        ("Jane was born on the last day of Feburary in 2000. Today is her 16-year-old birthday.", "02/29/2016"),
        ("May 6, 1992 is like yesterday to Jane, but that is actually ten years ago.", "05/06/2002"),
        ("The day before yesterday was 11/23/1933.", "11/25/1933"),
        ("The deadline is Jun 1, 2021, which is 2 days away from now.", "05/30/2021"),
        ("The first day of 2019 is a Tuesday, and today is the first Monday of 2019.", "01/07/2019"),
        ("Today is 9/7. Jane is watching NFL 2003.", "09/07/2003"),
        ("Today is the last day of the first quarter of 2008.", "03/31/2008"),
        ("Today is the palindrome day of 2020, because its MMDDYYYY format is the same backwards.", "02/02/2020"),
        ("Yesterday was 12/31/1929. Today could not be 12/32/1929.", "01/01/1930"),
        ("People put the day before the month. Therefore, today is 02/01/1987 to them.", "01/02/1987"),
        (
            "In the US, Thanksgiving is on the fourth Thursday of November. Today is the US Thanksgiving of 2001.",
            "11/22/2001",
        ),
    ],
)
def test_a_story_tells_which_day_is_today(story, today):
    assert written(read_story(f"{story} What is the date today in MM/DD/YYYY?").days[-1]) == today


def test_a_story_that_needs_other_knowledge_is_not_read():
    for story in ("Today is Jane's birthday.", "On May 9th, 2017 Jane bought 40 eggs. Today she ran out of eggs."):
        assert read_story(f"{story} What is the date today in MM/DD/YYYY?") is None
    assert read_story("Today is 02/30/2001. What is the date today in MM/DD/YYYY?") is None
    assert read_story("Today is 02/03/2001. Which day is it?") is None


# ── problems ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_training_problems_have_up_to_two_moves_and_held_out_ones_up_to_four():
    assert {p.bin for p in PAPER.problems("train")} == {"seen, 1 move", "seen, 2 moves"}
    assert {p.bin for p in PAPER.problems("test")} == {
        *("seen, 1 move", "seen, 2 moves", "unseen, 3 moves", "unseen, 4 moves")
    }
    assert {p.bin for p in EASY.problems("train")} == {"1 move", "2 moves"}


def test_every_ability_is_offered():
    assert offers(EASY) == {"question", "worked", "thoughts", "gold", "rationale", "first_error", "solution", "claims"}


def test_options_differ_and_one_of_them_is_where_the_moves_lead():
    for task, size in ((EASY, 3), (PAPER, 6)):
        letters = set()
        for problem in task.problems("train"):
            options = problem.data["options"]
            assert len(set(options)) == size
            day = read_date(problem.data["story"][1])
            for _, months, count, _ in problem.data["moves"]:
                day = moved(day, Shift(months, count))
            assert options["ABCDEF".index(problem.gold)] == written(day)
            letters.add(problem.gold)
        assert len(letters) == size


def test_an_easy_question_is_one_line_and_each_move_another():
    problem = next(p for p in EASY.problems("train") if p.bin == "2 moves")
    start, one, other = re.match(r"(\S+) (\S+) (\S+)\? \(A\) \d", problem.chat.text).groups()
    first, second, last = problem.rationale.split("\n")
    assert first.startswith(f"{start}{one}=")
    assert second.startswith(f"{first.partition('=')[2]}{other}=")
    assert last == f"({problem.gold})"


# ── right answers and first errors ────────────────────────────────────────────────────────────────────────────


def flight():
    """A problem with two events, as generated ones have them."""
    problem = next(
        p
        for p in DateUnderstanding("paper", train=1, development=0, test=300).problems("test")
        if len(p.data["moves"]) == 4
    )
    moves = [
        ["the concert", 0, 10, "10 days after"],
        ["today", 0, 14, "2 weeks after"],
        ["tomorrow", 0, 1, "1 day after"],
    ]
    data = {"options": OPTIONS, "story": ["the flight", "05/03/2004"], "moves": moves}
    text = f"{STORY} What is the date tomorrow in MM/DD/YYYY?"
    bare = type(problem)(text, type(problem.chat)(), gold="B", rationale="", data=data)
    return type(problem)(text, type(problem.chat)(), "B", PAPER.solve(bare, ""), data=data)


FLIGHT = flight()


def test_a_story_is_worked_out_move_by_move():
    assert FLIGHT.rationale == WORKED


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "The answer is (B).",
        "(B) 05/28/2004",
        "05/28/2004",
        "**Answer: May 28, 2004**",
        "Tomorrow is 2004-05-28.",
        "Tomorrow, the day after 05/27/2004, is 05/28/2004.",
        "It cannot be (A). The answer is 28 May 2004, one day after 05/27/2004.",
    ],
)
def test_an_option_is_chosen_by_letter_or_date(answer):
    assert PAPER.is_right(FLIGHT, answer)
    assert PAPER.first_error(FLIGHT, answer) is None


@pytest.mark.parametrize("answer", ["A", "(B) 05/27/2004", "05/27/2004", "(A) or (B)", "05/28/1999", "", "05/28"])
def test_another_option_or_none_is_wrong(answer):
    assert not PAPER.is_right(FLIGHT, answer)
    assert PAPER.first_error(FLIGHT, answer) is not None


@pytest.mark.parametrize(
    "answer",
    [
        "May 3, 2004 + 10 days = May 13, 2004\nMay 13, 2004 + 2 weeks + 1 day = May 28, 2004\n(B)",
        "24 days after 05/03/2004 is today, 05/27/2004. Adding 1 day to 05/27/2004 gives 05/28/2004.\n(B)",
        "The flight was on 05/03/2004 (a Monday), so 14 days later it was 05/17/2004.\n"
        "Ten days after 05/17/2004 is 05/27/2004, so tomorrow is 05/28/2004.\n(B)",
        "May has 31 days. It is 05/27/2004 today. The answer is not 06/28/2004.\n(B)",
        "If today were 01/01/2000, tomorrow would be another day. Yesterday was 05/26/2004.\n(B)",
        "05/13/2004 + 7 days = 05/20/2004\n05/20/2004 + 7 days = 05/27/2004\n(B)",
    ],
)
def test_other_valid_ways_are_no_errors(answer):
    assert PAPER.first_error(FLIGHT, answer) is None


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (WORKED.replace("on 05/03", "on 05/04"), ("1", "The flight is on 05/04/2004")),
        (WORKED.replace("10 days", "11 days"), ("2", "The concert is 11 days after 05/03/2004")),
        (WORKED.replace("after 05/13/2004", "after 05/15/2004"), ("3", "05/15/2004")),
        (WORKED.replace("2 weeks after", "2 weeks before"), ("3", "Today is 2 weeks before 05/13/2004")),
        (WORKED.replace("Tomorrow is", "Yesterday is"), ("4", "Yesterday is 1 day after 05/27/2004")),
        (WORKED.replace("The concert", "The party"), ("2", "The party")),
        (WORKED.replace("which is 05/13/2004", "which is 05/32/2004"), ("2", "05/32/2004")),
        (WORKED.replace("is (B)", "is (A)"), ("Final response", "So the answer is (A).")),
        ("05/27/2004 - 1 day = 05/26/2004\nThe answer is (B).", ("1", "05/27/2004 - 1 day = 05/26/2004")),
        ("05/27/2004 is a Friday.\n(B)", ("1", "05/27/2004 is a Friday")),
        ("May has 30 days.\n(B)", ("1", "May has 30 days")),
        ("It was 05/05/2005.\n(B)", ("1", "05/05/2005")),
        ("05/03/2004 + 9 months = 02/03/2005\n(B)", ("1", "05/03/2004 + 9 months = 02/03/2005")),
        (WORKED.rpartition("\n")[0].rpartition("\n")[0], ("3", WORKED.split("\n")[2][4:])),
    ],
)
def test_the_first_false_statement_is_found(answer, fault):
    found = PAPER.first_error(FLIGHT, answer)
    assert found is not None
    assert found.step == fault[0]
    assert found.part in fault[1] or fault[1] in found.part
    assert found.reason


def test_a_row_is_worked_out_from_its_story():
    assert DEADLINE.rationale == (
        "(1) The date given is 06/01/2021.\n"
        "(2) Today is 2 days before 06/01/2021, which is 05/30/2021.\n"
        "(3) A month ago is 1 month before 05/30/2021, which is 04/30/2021.\n"
        "(Final response) So the answer is (A)."
    )
    assert PAPER.first_error(DEADLINE, DEADLINE.rationale.replace("before 06", "after 06")).step == "2"


WORDS = "05/03/2004|10 days|after|before|ago|today|is|which is|,|.|\n|(B)|+5d|=|from|the concert|May"


@given(words=st.lists(st.sampled_from([*WORDS.split("|"), "not", "1 year"]), max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_words_can_be_read_and_wrong_answers_have_a_fault(words):
    answer = " ".join(words)
    fault = PAPER.first_error(FLIGHT, answer)
    assert (fault is not None) or PAPER.is_right(FLIGHT, answer)
    assert fault is None or fault.part in answer
    assert PAPER.solve(FLIGHT, answer).startswith(answer)


@pytest.mark.parametrize(
    "unit",
    ["05/03/2004 ", "10 days after ", "is ", "05/03/2004+9999d", "1/", "may ", "ago from today is ", "+999y", "the "],
)
def test_long_answers_take_little_time(unit):
    start = time.process_time()
    PAPER.first_error(FLIGHT, unit * 5_000)
    PAPER.is_right(FLIGHT, unit * 5_000)
    assert time.process_time() - start < 2


# ── solutions and remarks ─────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=100, deadline=None)
@given(problem=problems | easy_problems, rng=st.randoms(use_true_random=False))
def test_a_worked_answer_is_continued_from_any_step(problem, rng):
    task = PAPER if "What is" in problem.chat.text else EASY
    step = rng.choice(task.layout.split(problem.rationale))
    assert task.solve(problem, problem.rationale[: step.start]) == problem.rationale
    assert task.solve(problem, problem.rationale) == problem.rationale


@settings(max_examples=100, deadline=None)
@given(problem=problems | easy_problems, seed=st.integers(0, 99))
def test_hints_are_true_claims_are_false_and_neither_gives_the_answer_away(problem, seed):
    task = PAPER if "What is" in problem.chat.text else EASY
    gold = problem.data["options"]["ABCDEF".index(problem.gold)]
    for answer in (problem.rationale, "", problem.rationale.replace("1", "2")):
        hint = task.hint(problem, answer, random.Random(seed))
        claim = task.false_claim(problem, answer, random.Random(seed))
        assert gold not in hint
        assert not task.is_right(problem, hint)
        assert is_true(task, problem, hint)
        assert not is_true(task, problem, claim)
        assert task.is_true(problem, answer, hint) is True
        assert task.is_true(problem, answer, claim) is False


@pytest.mark.parametrize(
    ("remark", "truth"),
    [
        ("Three days after {base} is {base}, I think.", False),
        ("The flight was on {base}, as you say.", True),
        ("The month is {month}, but the day is 99.", False),
        ("The month is {month}.", True),
        ("The year is {year} and there are leap years.", True),
        ("Look at the months once more.", None),
        ("The day is 3 days later than you think.", None),
        ("February 2004 has 29 days.", True),
        ("February 2004 has 28 days.", False),
    ],
)
def test_remarks_in_words_are_checked(remark, truth):
    gold = FLIGHT.data["options"]["ABCDEF".index(FLIGHT.gold)]
    month, _, year = gold.split("/")
    said = remark.format(base=FLIGHT.data["story"][1], month=month, year=year)
    assert PAPER.is_true(FLIGHT, FLIGHT.rationale, said) is truth, said


def is_true(task, problem, remark):
    """Whether a remark on a move or on a part of the last date is true, by the worked answer."""
    gold = problem.data["options"]["ABCDEF".index(problem.gold)]
    part = re.search(r"\b(month|day|year)(?:=| is )(\d+)", remark)
    if part:
        return gold.split("/")[("month", "day", "year").index(part[1])] == part[2]
    said = re.findall(r"\d+/\d+/\d+|\d+ \w+ (?:after|before)|[+-]\d+[dwmy]", remark)
    return any(
        set(said) <= set(re.findall(r"\d+/\d+/\d+|\d+ \w+ (?:after|before)|[+-]\d+[dwmy]", line))
        for line in problem.rationale.split("\n")
    )


# ── a real file ───────────────────────────────────────────────────────────────────────────────────────────────


def test_real_rows_are_worked_out_where_the_story_is_understood():
    file = Path(os.environ.get("SPARRING_DATA", ""), "bbh", "date_understanding.json")
    if not file.is_file():
        pytest.skip("SPARRING_DATA holds no BIG-bench-hard")
    task = DateUnderstanding("paper", file=str(file))
    rows = [p for split in ("train", "development", "test") for p in task.problems(split)]
    assert len(rows) == 250
    assert sum(p.rationale is not None for p in rows) == 217
    assert all(p.rationale is not None for p in task.problems("train"))
    for problem in rows:
        assert task.is_right(problem, f"So the answer is ({problem.gold}).")
        if problem.rationale is not None:
            assert task.is_right(problem, problem.rationale)
            assert task.first_error(problem, problem.rationale) is None
    assert task.notes[:2] == (
        "rows without a worked answer, another target: 7",
        "rows without a worked answer, no option found: 26",
    )

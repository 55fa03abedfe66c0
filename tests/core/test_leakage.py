"""Whether words give the gold answer away, in numbers, choices and words; and that the measure is linear."""

from __future__ import annotations

import time

import pytest

from sparring.core.chat import LEARNER, USER, question
from sparring.core.leakage import states_gold
from sparring.core.task import Problem
from sparring.tasks.table import Table


@pytest.fixture
def asked(tmp_path):
    """A table's task that judges by `right`, and a problem with `gold`."""

    def make(gold: str, right: str, text: str = "How much is it?") -> tuple[Table, Problem]:
        rows = [f'{{"question": "{n}?", "answer": "{n}"}}' for n in range(9)]
        (tmp_path / "rows.jsonl").write_text("\n".join(rows))
        return Table(train=str(tmp_path / "rows.jsonl"), right=right), Problem("x", question(text), gold=gold)

    return make


@pytest.mark.parametrize(
    ("gold", "remark", "leaks"),
    [
        ("15", "It should be 15.", True),
        ("15", "Is 15 what you want to say, or 16?", True),
        ("15", "You have 10, and 5 more make 15, don't they?", True),
        ("15", "Look at 150 and at 3.15 again, and at 15.5.", False),
        ("15", "Your 11+5=16 is wrong.", False),
        ("15", "Step 15 is wrong, and so is step (15.1).", False),
        ("-5", "10-5 is what you want.", False),
        ("-5", "You forgot that it is -5, I think.", True),
        ("1500", "$1,500.00 would be right, I think, not 12.", True),
        ("0.5", "Could 1/2 be it?", True),
        ("18", "#### 18", True),
        ("18", "", False),
    ],
)
def test_a_remark_that_holds_the_gold_number_in_whatever_notation_states_it(asked, gold, remark, leaks):
    assert states_gold(*asked(gold, "number"), remark) is leaks


def test_a_number_of_the_question_is_stated_only_as_an_answer(asked):
    task, problem = asked("4", "number", "What is 0+4 ?")
    assert not states_gold(task, problem, "check: 0+4=5")
    assert states_gold(task, problem, "check: 0+4=4")
    assert states_gold(task, problem, "The answer is 4, if 5 is not.")


@pytest.mark.parametrize(
    ("gold", "right", "remark", "leaks"),
    [
        ("B", "choice", "I would take (B), not (C).", True),
        ("B", "choice", "Have you thought of option B?", True),
        ("B", "choice", "The answer is B.", True),
        ("A", "choice", "That is a guess. A better one is (C).", False),
        ("B", "choice", "Be careful.", False),
        ("New York", "exact", "Have you been in new  york, perhaps?", True),
        ("den kelp sit", "exact", "Den, kelp, sit: what is wrong with that?", True),
        ("den kelp sit", "exact", "Kelp comes after den.", False),
        ("art", "exact", "Start with the heart of it.", False),
        ("+", "exact", "Try + there.", True),
        ("+", "exact", "Try that there.", False),
        ("NO", "exact", "Nothing is known.", False),
        ("NO", "exact", "That would be a no, I think, and not a yes.", True),
    ],
)
def test_a_remark_that_marks_the_choice_or_holds_the_words_whole_states_them(asked, gold, right, remark, leaks):
    assert states_gold(*asked(gold, right), remark) is leaks


@pytest.mark.parametrize(
    ("reason", "leaks"),
    [
        ("step (1) gives 15", False),
        ("15 has to be taken from step (1), then 1 added", False),
        ("the answer is 15", True),
        ("it has to be 16", False),
    ],
)
def test_gold_that_was_said_already_is_given_away_only_by_who_calls_it_the_answer(asked, reason, leaks):
    task, problem = asked("15", "number")
    assert states_gold(task, problem, reason, known="3*5=15\n") is leaks
    assert states_gold(task, problem, reason) is ("15" in reason)


def test_gold_in_an_earlier_turn_of_the_question_is_no_secret(asked):
    task, problem = asked("New York", "exact")
    chat = question("Where do you live?", "You are from New York.").say(LEARNER, "There.").say(USER, "Where is that?")
    assert states_gold(task, problem, "Think of New York again.")
    assert not states_gold(task, Problem("x", chat, gold="New York"), "Think of New York again.")


HOSTILE = [
    "1",
    "1 ",
    "12,345,",
    "1/1/",
    "-",
    "step 1.",
    "step (",
    "ab ",
    "(A",
    "option ",
    "\n",
    "#### ",
    ".1",
    "1e",
    "1 1/",
]
HOSTILE += ["the answer is ", "\\boxed{", "\\frac{1}", "$ ", "*", '"', "New York"[:-1] + " "]


@pytest.mark.parametrize("gold", ["15", "New York", "B"])
@pytest.mark.parametrize("words", HOSTILE)
def test_the_time_it_takes_grows_no_worse_than_with_the_length(gold, words):
    class Nothing:
        def is_right(self, problem, response):
            return False

    def seconds(length: int) -> float:
        start = time.process_time()
        states_gold(Nothing(), Problem("x", question("?"), gold=gold), (words * length)[:length])
        return time.process_time() - start

    times = {length: seconds(length) for length in (10**3, 10**4, 10**5, 10**6)}
    assert times[10**6] < 30 * times[10**5] + 0.5, times
    assert times[10**6] < 10, times

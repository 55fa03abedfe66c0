"""Whether a remark is true, as far as it can be computed; what cannot be computed has no verdict."""

from __future__ import annotations

import pytest

from sparring.core.chat import question
from sparring.core.task import Problem
from sparring.core.truth import is_true
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tasks.table import Table
from sparring.tasks.word_sorting import WordSorting
from tests.contracts.test_tasks import written
from tests.tasks.arithmetic_answers import asked


@pytest.fixture
def table(tmp_path):
    return lambda right: Table(written(tmp_path / "rows.jsonl", [{"prompt": "?", "answer": "1"}]), right=right)


@pytest.mark.parametrize(
    ("gold", "right", "remark", "truth"),
    [
        ("15", "number", "The answer is 15.", True),
        ("15", "number", "The answer is 16, I think.", False),
        ("15", "number", "The answer is $15.00.", True),
        ("15", "number", "Your answer is wrong.", None),
        ("15", "number", "The answer is not 15.", None),
        ("15", "number", "The answer is close to 15.", None),
        ("15", "number", "Look at the second step again.", None),
        ("15", "number", "", None),
        ("15", "number", "3 * 5 = 15, so the answer is 15.", True),
        ("15", "number", "3 * 4 = 15, doesn't it?", False),
        ("15", "number", "3 * 5 = 15, but 2 * 5 = 12.", False),
        ("B", "choice", "The answer is (C).", False),
        ("B", "choice", "The answer is B.", True),
        ("New York", "exact", "The answer is new york.", True),
        ("New York", "exact", "The answer is Boston.", False),
        ("New York", "exact", "The answer is incorrect.", None),
    ],
)
def test_numbers_and_stated_answers_are_checked(table, gold, right, remark, truth):
    assert is_true(table(right), Problem("x", question("?"), gold), "the answer", remark) is truth


ANSWER = '(1) This equation can be written as "(A - B)", where A = (1 + 2 * 3) and B = (4 - 9 * 2).'


@pytest.mark.parametrize(
    ("remark", "truth"),
    [
        ("Check step (1): 2 * 3 = 6.", True),
        ("Check step (1): 2 * 3 = 5.", False),
        ("Check step (2): A = 7.", True),
        ("Check step (2): A = 9.", False),
        ("Check step (2): C = 7.", None),
        ("Check step (1): the equation has (4 - 9 * 2).", True),
        ("Check step (1): the equation has (4 - 9 * 3).", False),
        ("Check step (1): the equation is (A - B).", True),
        ("Check step (1): the equation is (A + B).", False),
        ("Check step (1).", None),
    ],
)
def test_a_remark_on_arithmetic_is_held_against_the_names_of_the_answer(remark, truth):
    problem = asked("((1 + 2 * 3) - (4 - 9 * 2)) =")
    assert is_true(MultistepArithmetic("paper", train=1), problem, ANSWER, remark) is truth


@pytest.mark.parametrize(
    ("remark", "truth"),
    [
        ("check: ant<cat", True),
        ("check: cat<ant", False),
        ('"ant" < "cat" < "cot"', True),
        ('"ant" < "cot" < "cat"', False),
        ('in the second letter, "cat"="a" (1) and "cot"="o" (15).', True),
        ('in the second letter, "cat"="o" (15) and "cot"="a" (1).', False),
        ('the first letter is "ant"="a" (2)', False),
        ('"cot" is missing', True),  # so the checker says, too
        ("Look again.", None),
    ],
)
def test_a_remark_on_sorting_is_held_against_the_words(remark, truth):
    task = WordSorting("paper", train=1)
    problem = task.ask(["cot", "ant", "cat"])
    assert is_true(task, problem, "(Final response) So the answer is: ant cat.", remark) is truth

"""Tasks that are functions."""

from __future__ import annotations

import sys
from itertools import islice

import pytest

import sparring
from sparring.common.errors import ConfigError
from sparring.common.registry import first_sentence
from sparring.config.factory import make_task, name_of
from sparring.core.function_task import task_of
from sparring.core.task import Endless, Task, offers


@sparring.task(right=lambda response, gold: response.strip() == gold)
def backwards(rng, letters: int = 6, alphabet: str = "abc"):
    """A word, to be written backwards. Nothing else."""
    word = "".join(rng.choice(alphabet) for _ in range(letters))
    return f"backwards: {word}", word[::-1]


def double(top: int):
    return [{"question": f"double {n}", "answer": 2 * n, "category": ("even", "odd")[n % 2]} for n in range(top)]


def words(rng):
    return "".join(rng.choice("abcdefgh") for _ in range(8))


def test_a_function_that_draws_is_a_task_with_its_parameters_as_keys():
    task = make_task({"kind": f"{__name__}.backwards", "letters": 8, "train": 20, "development": 4, "test": 4})
    assert isinstance(task, Task)
    assert isinstance(task, Endless)
    assert (task.letters, task.alphabet, name_of(task)) == (8, "abc", f"{__name__}.backwards")
    assert task == backwards(letters=8, train=20, development=4, test=4)
    splits = [task.problems(split) for split in ("train", "development", "test")]
    assert list(map(len, splits)) == [20, 4, 4]
    assert len({problem.id for split in splits for problem in split}) == 28
    assert list(islice(task.endless(), 20)) == list(splits[0])
    problem = splits[0][0]
    assert task.is_right(problem, f" {problem.gold} ")
    assert not task.is_right(problem, f"{problem.gold}x")
    assert not task.is_right(problem, " ")
    assert first_sentence(type(task)) == "A word, to be written backwards."


def test_a_plain_function_that_returns_rows_is_a_task():
    task = make_task({"kind": double, "top": 50, "test": 7})
    assert not isinstance(task, Endless)
    sizes = {split: len(task.problems(split)) for split in ("train", "development", "test")}
    assert sizes == {"train": 38, "development": 5, "test": 7}
    problem = task.problems("test")[0]
    assert problem.data["columns"]["answer"] == 2 * int(problem.chat.text.split()[1])
    assert problem.bin in ("even", "odd")
    assert task.is_right(problem, f"The answer is {problem.gold}.")
    assert make_task({"kind": double, "top": 50, "test": 7, "seed": 1}).problems("test") != task.problems("test")
    assert offers(task) == {"gold", "question", "worked", "thoughts"}


def test_a_question_alone_has_no_right_answer():
    task = make_task({"kind": words, "train": 4, "development": 1, "test": 1})
    assert offers(task) == {"question"}
    with pytest.raises(ConfigError, match="gives no answers"):
        task.is_right(task.problems("train")[0], "x")


@pytest.mark.parametrize(
    ("call", "table", "message"),
    [
        (double, {}, "the key top is missing"),
        (double, {"top": "9"}, "top = '9': input should be a valid integer"),
        (double, {"top": 9, "tops": 1}, "unknown key 'tops' .did you mean 'top'"),
        (double, {"top": 9, "test": 10}, "more than the 9 rows"),
        (lambda rng: 3, {}, "the task <lambda> gave '3'; give a question"),
        (lambda rng: rng.nothing, {}, r"the task <lambda> failed .*test_function_task.py, line \d+.: AttributeError"),
        (lambda: 3, {}, "returned '3'; return rows, or take rng"),
        (lambda rng: "always the same", {}, "has only 1 distinct test problems"),
        (lambda rng, /: "x", {}, "takes rng by position only"),
        (lambda: sys.exit(3), {}, r"the task <lambda> failed .*SystemExit: 3"),
    ],
)
def test_what_is_no_task_is_one_clear_line(call, table, message):
    with pytest.raises(ConfigError, match=message):
        make_task({"kind": call, **table}).problems("train")


def test_the_rule_is_a_function_or_a_name():
    async def later(rng): ...

    with pytest.raises(ConfigError, match=r"unknown rule for right answers 'numbr' .did you mean 'number'"):
        task_of(double, "numbr")
    with pytest.raises(ConfigError, match="later is asynchronous"):
        task_of(later)
    assert task_of(double, "number")(top=20).is_right(task_of(double)(top=20).problems("test")[0], "no 3") is False


@pytest.mark.parametrize("function", ["listed", "drawn", "decorated"])
def test_a_task_in_a_file_keeps_the_name_that_finds_it_again(tmp_path, monkeypatch, function):
    (tmp_path / "own_tasks.py").write_text(
        "import sparring\n\n\n"
        'def listed():\n    return [(f"{n}+1=", n + 1) for n in range(40)]\n\n\n'
        "def drawn(rng):\n    return str(rng.random())\n\n\n"
        "@sparring.task\ndef decorated(rng):\n    return str(rng.random())\n"
    )
    monkeypatch.chdir(tmp_path)
    named = f"own_tasks.py:{function}"
    task = make_task({"kind": named})
    assert name_of(task) == named
    assert make_task({"kind": name_of(task)}) == task

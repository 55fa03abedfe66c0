"""A user's function: found by its name, called by its parameters' names, and its mistakes told in one line."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import threading
import time

import pytest

from sparring.common.errors import ConfigError, Unavailable
from sparring.common.functions import GivenFunction, load_function, name_of_function
from sparring.core.chat import question
from sparring.core.right_function import RightFunction
from sparring.core.task import Problem
from sparring.core.user_function import COLUMNS, UserFunction, about, row_of

PROBLEM = Problem("p1", question("2+2=", "Be brief."), gold="4", data={COLUMNS: {"level": 3, "gold": "column"}})


def ask(call, problem: Problem = PROBLEM, threads: int = 1, **known):
    function = UserFunction.load(GivenFunction(call), "the judge")
    arguments = function.arguments({**about(problem), **known}, row_of(problem))
    return asyncio.run(function.ask(problem, arguments, threads))


def in_a_test():
    return 1


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_function_is_found_in_a_file_and_in_a_module(tmp_path, monkeypatch):
    (tmp_path / "judging.py").write_text("def right(response, problem):\n    return response == problem.gold\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in (f"{tmp_path}/judging.py:right", "judging.right"):
        right = RightFunction.load(name)
        assert right.is_right(PROBLEM, "4")
        assert not right.is_right(PROBLEM, "5")


def test_a_file_is_run_once_until_it_changes_and_may_import_the_scripts_beside_it(tmp_path):
    (tmp_path / "beside_it.py").write_text("RUNS = []\n")
    (tmp_path / "mine.py").write_text(
        "import beside_it\nbeside_it.RUNS.append(1)\ndef runs(): return len(beside_it.RUNS)\n"
    )
    name = f"{tmp_path}/mine.py:runs"
    assert load_function(name)() == load_function(name)() == 1
    with (tmp_path / "mine.py").open("a") as file:
        file.write("# edited\n")
    assert load_function(name)() == 2
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "unknown function in .*judging.py 'right'"),
        ("right = 3", "is not a function"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("def right(", "SyntaxError"),
        ("raise RuntimeError('early')", "early"),
        ("raise SystemExit(3)", "no function at .*judging.py:right.*SystemExit: 3"),
        ("def right(response, /): ...", "takes response by position only"),
        ("def right(respons): ...", None),
        ("import sparring; sparring.train('sft', run='x')", "sparring.train was called while .*judging.py was loaded"),
    ],
)
def test_a_function_that_cannot_be_used_is_one_clear_line(tmp_path, body, message):
    (tmp_path / "judging.py").write_text(body)
    message = message or "unknown parameter of the function .*judging.py:right: 'respons' .did you mean 'response'"
    with pytest.raises(ConfigError, match=message):
        RightFunction.load(f"{tmp_path}/judging.py:right").is_right(PROBLEM, "4")


@pytest.mark.parametrize("name", ["missing/judging.py:right", "no_such_package.right"])
def test_a_missing_module_is_one_clear_line(name):
    with pytest.raises(ConfigError, match="no function at"):
        load_function(name)


def test_a_function_given_in_python_is_named_by_its_place_or_said_to_be_lost(tmp_path, monkeypatch):
    assert name_of_function(in_a_test) == f"{__name__}.in_a_test"
    assert load_function(name_of_function(in_a_test)) is in_a_test
    assert name_of_function(lambda: 1) == "<lambda>"
    assert name_of_function(functools.partial(in_a_test)) == "<partial>"
    (tmp_path / "own_script.py").write_text("def score(): return 7\n")
    monkeypatch.chdir(tmp_path)
    assert name_of_function(load_function("own_script.py:score")) == "own_script.py:score"
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        name_of_function(importlib.import_module("own_script").score) == "own_script.py:score"
    )  # found again from another search path
    with pytest.raises(ConfigError, match=r"the function <lambda> was given in Python and is in no file"):
        load_function("<lambda>")


# ── arguments ───────────────────────────────────────────────────────────────────────────────────────────────


def test_arguments_are_matched_by_name_and_what_is_known_goes_before_a_column():
    assert ask(lambda question, prompt, gold, level: (question, prompt, gold, level)) == ("2+2=", "2+2=", "4", 3)
    assert ask(lambda columns, chat, problem: (columns["gold"], len(chat.messages), problem.id)) == ("column", 2, "p1")
    assert ask(lambda level, nothing=5, rationale="none": (level, nothing, rationale)) == (3, 5, None)
    assert ask(lambda **columns: columns) == {"level": 3}
    assert ask(lambda *args, answer: (args, answer), answer="x") == ((), "x")


def test_the_learners_words_have_four_names_and_answer_is_the_rows_own_beside_another():
    row = Problem("p", question("q"), gold="4", data={COLUMNS: {"answer": "four"}})
    for source, expected in (
        (lambda answer: answer, "said"),
        (lambda response, answer: (response, answer), ("said", "four")),
        (lambda completion: completion, "said"),
        (lambda attempt, gold: (attempt, gold), ("said", "4")),
    ):
        function = UserFunction.load(GivenFunction(source), "the judge")
        assert ask(source, row, **function.said(row, "said")) == expected


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_function_does_not_hold_up_the_event_loop_and_is_called_once_at_a_time():
    busy, most, lock = 0, 0, threading.Lock()

    def slow(level):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.05)
        with lock:
            busy -= 1
        return threading.current_thread()

    async def calls(threads: int) -> tuple[int, set]:
        function = UserFunction.load(GivenFunction(slow), "the judge")
        work = asyncio.gather(*(function.ask(PROBLEM, {"level": 1}, threads) for _ in range(4)))
        ticks = 0
        while not work.done():
            ticks += 1
            await asyncio.sleep(0.002)
        return ticks, set(await work)

    for threads in (1, 3):
        busy = most = 0
        ticks, used = asyncio.run(calls(threads))
        assert most == threads
        assert ticks > 5
        assert threading.current_thread() not in used
    _, used = asyncio.run(calls(0))  # in the loop's own thread
    assert used == {threading.current_thread()}


def test_an_asynchronous_function_runs_in_the_event_loop_however_it_is_wrapped():
    async def score(gold):
        await asyncio.sleep(0)
        return gold, threading.current_thread() is threading.main_thread()

    class Scorer:
        async def __call__(self, gold):
            return await score(gold)

    for call in (score, Scorer(), lambda gold: score(gold=gold)):
        assert ask(call) == ("4", True)
    right = RightFunction(UserFunction.load(GivenFunction(score), "the function"))
    with pytest.raises(ConfigError, match=r"returned \('4', True\) .* it must return True or False"):
        right.is_right(PROBLEM, "x")


def test_a_mistake_in_a_function_is_one_line_with_its_place_and_the_problem(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import json\n\n\ndef score(gold):\n    return json.loads('{' + gold)\n")
    monkeypatch.chdir(tmp_path)
    for threads in (0, 1):
        with pytest.raises(ConfigError) as error:
            ask(load_function("mine.py:score"), threads=threads)
        said = str(error.value)
        assert said.startswith(
            "the judge mine.py:score failed on the problem 'p1' (mine.py, line 5): JSONDecodeError: "
        )
        assert "\n" not in said


def test_an_iterator_that_is_at_its_end_is_a_mistake_too():
    def score(gold):
        return next(iter(()))

    for threads in (0, 1):
        with pytest.raises(
            ConfigError, match=r"failed on the problem 'p1' \(.*test_user_function\.py, line \d+\): StopIteration"
        ):
            asyncio.run(
                asyncio.wait_for(
                    UserFunction.load(GivenFunction(score), "the judge").ask(PROBLEM, {"gold": "4"}, threads), 5
                )
            )


def test_a_function_that_exits_does_not_end_the_program_without_a_word():
    def leave(gold):
        sys.exit(3)

    async def leave_later(gold):
        sys.exit(3)

    failed = r"the judge <leave.* failed on the problem 'p1' \(.*line \d+\): SystemExit: 3"
    for call, threads in ((leave, 0), (leave, 1), (leave_later, 1)):
        with pytest.raises(ConfigError, match=failed):
            ask(call, threads=threads)
    right = RightFunction(UserFunction.load(GivenFunction(lambda response: sys.exit(3)), "the function"))
    with pytest.raises(ConfigError, match="SystemExit: 3"):
        right.is_right(PROBLEM, "x")


def test_an_expected_failure_passes_as_it_is():
    def score(gold):
        raise Unavailable("the server is down")

    with pytest.raises(Unavailable, match="the server is down"):
        ask(score)


@pytest.mark.parametrize(("body", "message"), [("pass", "returned None .* it must"), ("1 / 0", "line 2.: Zero")])
def test_a_function_that_gives_no_verdict_is_no_verdict(tmp_path, body, message):
    (tmp_path / "judging.py").write_text(f"def right(response, problem):\n    {body}\n")
    with pytest.raises(ConfigError, match=message):
        RightFunction.load(f"{tmp_path}/judging.py:right").is_right(PROBLEM, "a")

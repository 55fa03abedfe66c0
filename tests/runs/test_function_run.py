"""Runs whose parts are plain functions: saved by their path, resumed, estimated, packed, evaluated."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sparring
from sparring.common.errors import ConfigError
from sparring.common.functions import load_function
from sparring.config.evaluation import EvaluationRecipe
from sparring.models.source import ModelSource
from sparring.runs.bundle import bundle
from sparring.runs.display import Display
from sparring.runs.estimate import estimate
from sparring.runs.evaluation import run_evaluation
from sparring.runs.load import load_learner
from sparring.runs.replay import replay

QUIET = Display(quiet=True)
MINE = """
CALLS = []


def score(answer, level):
    CALLS.append(answer)
    return len(answer) + level


def better(first, second, level):
    CALLS.append((first, second))
    return "first" if len(first) > len(second) else "second" if len(second) > len(first) else "tie"


def right(response, gold, level):
    return gold in response and level >= 0


def remark(answer, gold):
    return f"Is {answer} really {gold}?"


def rows(count: int = 20):
    return [{"question": f"{n}+1=", "answer": n + 1, "level": n % 3} for n in range(count)]
"""
RECIPE = """
[task]
kind = "table"
train = "rows.jsonl"
right = "mine.py:right"

[[phase]]
method = "sft"
epochs = 16
max_tokens = 4

[[phase]]
method = "saie"
max_tokens = 4
discussant.by = "mine.py:remark"

[[phase]]
method = "response_preference"
problems = 8
samples = 4
max_tokens = 4
judge = {by = "mine.py:score", threads = 2}

[trainer]
learning_rate = 5e-3
batch_size = 4

[run]
threads = 1
max_learner_failures = 1.0
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working directory with functions, rows and a recipe in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    rows = (f'{{"prompt": "{n}+1=", "answer": "{n + 1}", "level": {n % 3}}}\n' for n in range(20))
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def test_functions_in_a_file_are_saved_by_their_path_resumed_and_packed(place):
    sparring.train("recipe.toml", "run", display=QUIET)
    saved = tomllib.loads((place / "run" / "recipe.toml").read_text())
    assert saved["task"]["right"] == "mine.py:right"
    assert saved["phase"][1]["discussant"] == {"by": "function", "function": "mine.py:remark"}
    assert saved["phase"][2]["judge"] == {"by": "function", "function": "mine.py:score", "threads": 2}
    sparring.train("run/recipe.toml", "run", resume=True, display=QUIET)
    assert " really " in (place / "run/rounds/2-saie/0001/episodes.jsonl").read_text()
    assert load_function("mine.py:score").__globals__["CALLS"]

    path, manifest = bundle(Path("run"))
    assert {"files/phase.3.judge.function/mine.py", "files/task.right/mine.py"} <= manifest.files.keys()
    with pytest.raises(ConfigError, match=r"contains code .*phase.2.discussant.function.*read it, then add --trust"):
        replay(path, Path("again"), display=QUIET)
    (place / "mine.py").rename(place / "moved.py")
    assert replay(path, Path("again"), trust=True, display=QUIET).same


def test_a_run_with_a_function_in_no_file_resumes_with_it_and_says_so_without_it(place):
    table = tomllib.loads(RECIPE)
    del table["phase"][1]

    def brief(answer):
        return -len(answer)

    sparring.train(table, "run", judge=brief, display=QUIET)
    with pytest.raises(ConfigError, match=r"the function <brief> was given in Python and is in no file; give it again"):
        sparring.train("run/recipe.toml", "run", resume=True, display=QUIET)
    with pytest.raises(ConfigError, match=r"started with another recipe .*'<brief>' → '<lambda>'"):
        sparring.train("run/recipe.toml", "run", resume=True, judge=lambda answer: 1, display=QUIET)
    sparring.train("run/recipe.toml", "run", resume=True, judge=brief, display=QUIET)
    with pytest.raises(ConfigError, match="<brief>"):
        bundle(Path("run"))


def test_functions_stand_for_names_in_a_table_and_for_partners_in_a_recipe(place):
    score, right = load_function("mine.py:score"), load_function("mine.py:right")
    table = tomllib.loads(RECIPE)
    table["task"]["right"] = right
    table["phase"][2]["judge"] = {"by": score, "threads": 2}
    assert sparring.Recipe.of(table) == sparring.Recipe.read("recipe.toml")
    table["phase"][2]["judge"] = score
    assert sparring.Recipe.of(table).table()["phase"][2]["judge"] == {"by": "function", "function": "mine.py:score"}


def test_a_function_that_compares_teaches_its_preference_and_measures_win_rates(place):
    table = tomllib.loads(RECIPE)
    table["phase"] = [table["phase"][0], table["phase"][2] | {"judge": {"by": "mine.py:better"}}]
    sparring.train(table, "run", display=QUIET)
    folder = place / "run/rounds/2-response_preference/0001"
    pairs = [json.loads(line) for line in (folder / "experience.jsonl").read_text().splitlines()]
    assert pairs
    lengths = [
        [sum(len(part["text"]) for part in pair[side]["parts"]) for side in ("chosen", "rejected")] for pair in pairs
    ]
    assert all(chosen > rejected for chosen, rejected in lengths)
    calls = load_function("mine.py:better").__globals__["CALLS"]
    assert {(second, first) for first, second in calls} == set(calls)

    saved = tomllib.loads((place / "run" / "recipe.toml").read_text())
    assert saved["phase"][1]["judge"] == {"by": "function", "function": "mine.py:better"}
    sparring.train(table, "again", judge=load_function("mine.py:better"), display=QUIET)
    again = place / "again/rounds/2-response_preference/0001"
    assert (again / "experience.jsonl").read_text() == (folder / "experience.jsonl").read_text()


def test_a_function_that_compares_measures_a_win_rate(place):
    def better(first, second):
        return "first by far" if len(first) > len(second) else "second"

    learners = [{"by": "scripted", "replies": [reply]} for reply in ("a long one", "short")]
    protocol = {"kind": "win_rate", "judge": better}
    recipe = EvaluationRecipe.of({"learner": learners, "task": {"kind": "mine.py:rows"}, "protocol": protocol})
    found = run_evaluation(recipe).measures()
    assert [found[name].value for name in ("win_rate", "won_by_far", "contradiction")] == [1.0, 0.5, 0.0]


def test_an_estimate_calls_no_function(place):
    recipe = sparring.Recipe.read("recipe.toml")
    estimate(recipe, episodes=2)
    assert not load_function("mine.py:score").__globals__["CALLS"]


def test_a_failing_function_stops_the_run_which_goes_on_when_it_is_mended(place):
    (place / "mine.py").write_text(MINE.replace("return len(answer) + level", "return len(answer) + levle"))
    table = tomllib.loads(RECIPE)
    del table["phase"][1]
    with pytest.raises(ConfigError, match=r"the judge mine.py:score failed .*mine.py, line 7.: NameError"):
        sparring.train(table, "run", display=QUIET)
    assert json.loads((place / "run" / "run.json").read_text())["status"] == "stopped"
    (place / "mine.py").write_text(MINE)
    assert sparring.train(table, "run", resume=True, display=QUIET).folder == Path("run")


def test_one_line_evaluates_what_is_at_hand(place):
    rows = load_function("mine.py:rows")
    sparring.train({"task": {"kind": rows}, "phase": [{"method": "sft", "max_tokens": 4}]}, "run", display=QUIET)
    learner = load_learner("run")
    assert sparring.evaluate(learner) == sparring.evaluate("run") == sparring.evaluate("run", task="run/recipe.toml")
    task = sparring.Recipe.read("run/recipe.toml").task
    recipe = sparring.Recipe.read({"task": {"kind": "mine.py:rows"}, "phase": [{"method": "sft"}]})
    for given in (task, recipe, {"kind": "mine.py:rows"}, "mine.py:rows"):
        outcomes = sparring.evaluate("tiny", task=given).outcomes
        assert [outcome.problem for outcome in outcomes] == [problem.id for problem in task.problems("test")]
    judged = sparring.evaluate("run", protocol="judge_score", judge=lambda answer, level: level)
    assert judged.score.count == 2
    with pytest.raises(ConfigError, match="the protocol solo has no role judge"):
        sparring.evaluate("run", judge=len)
    assert learner.place == "run" != ModelSource.model


SCRIPT = """
import random
import sparring


@sparring.task
def letters(rng: random.Random, choices: str = "abcdefgh"):
    letter = rng.choice(choices) + rng.choice(choices)
    return letter, letter


def brief(answer):
    return -len(answer)


task = {"kind": letters, "train": 8, "development": 2, "test": 2}
phase = {"method": "response_preference", "samples": 2, "max_tokens": 2, "judge": brief}
sparring.train({"task": task, "phase": [phase], "run": {"max_learner_failures": 1.0}}, "run")
print(sparring.evaluate("run").score.count, sparring.Recipe.read("run/recipe.toml").table()["task"]["kind"])
"""


def test_the_parts_of_a_script_are_found_while_it_runs_and_later(place):
    """Its own call of `train` stands in nobody's way while it runs, and is refused when it is loaded for its parts."""
    (place / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 script.py:letters"
    saved = tomllib.loads((place / "run" / "recipe.toml").read_text())
    assert saved["phase"][0]["judge"]["function"] == "script.py:brief"
    with pytest.raises(ConfigError, match=r"sparring.train was called while script.py was loaded .*__main__"):
        sparring.evaluate("run")
    (place / "script.py").write_text(SCRIPT.replace("sparring.train(", "if __name__ == '__main__': sparring.train(")
                                     .replace("print(", "if __name__ == '__main__': print("))  # fmt: skip
    assert sparring.evaluate("run").score.count == 2

"""A run as a loop, and functions that hear of it: each result once, and a run that resumes wherever it was left."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sparring
from sparring.common.errors import ConfigError, RunStopped
from sparring.runs.display import Display

QUIET = Display(quiet=True)


def tally(rng):
    number = rng.randrange(1000)
    return f"{number}", "i" * (1 + number % 5)


SMALL = {
    "task": {"kind": tally, "train": 16, "development": 4, "test": 4},
    "phase": [
        {"method": "sft", "rounds": 2, "epochs": 6, "max_tokens": 8},
        {"method": "response_preference", "rounds": 2, "problems": 8, "samples": 4, "max_tokens": 8,
         "judge": {"by": "task"}},
    ],
    "trainer": {"learning_rate": 5e-3, "batch_size": 4},
    "run": {"threads": 1, "max_learner_failures": 1.0, "evaluate_every": 16},
}  # fmt: skip
PLAIN = {**SMALL, "task": {**SMALL["task"], "kind": "multistep_arithmetic"}, "phase": [{"method": "sft", "rounds": 2}]}
PLACES = [(1, 1), (1, 2), (2, 1), (2, 2)]
INTERRUPTED = """
import signal, sys
import sparring
from sparring.runs.display import Display

for round in sparring.rounds({table!r}, sys.argv[1], display=Display(quiet=True)):
    signal.raise_signal(signal.SIGINT)
"""


def brevity(answer):
    return -len(answer)


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "final" / "model.safetensors").read_bytes()


def status(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["status"]


def places(results) -> list[tuple[int, int]]:
    return [(result.phase, result.round) for result in results]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict[str, list]]:
    """A run that was never left, and what was heard of it."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    heard: dict[str, list] = {"on_round": [], "on_evaluation": [], "on_episode": []}
    sparring.train(SMALL, folder, judge=brevity, display=QUIET, **{name: heard[name].append for name in heard})
    return folder, heard


def test_callbacks_hear_of_every_round_evaluation_and_episode(whole):
    folder, heard = whole
    assert places(heard["on_round"]) == PLACES
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in lines if line["kind"] not in ("step", "round")]
    assert [result.kind for result in heard["on_evaluation"]] == kinds
    assert kinds[-2:] == ["test", "test_final"]
    assert len(heard["on_episode"]) == 16 + 16 + 8 + 8
    first, last = heard["on_round"][0], heard["on_round"][-1]
    assert (first.method, first.problems, first.examples) == ("sft", 16, 16)
    assert first.loss > 0
    third = heard["on_round"][2]
    assert third.loss > 0  # there were pairs to learn from, and what the function prefers was learnt
    assert last.measures["characters"] < third.measures["characters"]
    assert {episode.problem.id for episode in last.episodes()} == {e.problem.id for e in heard["on_episode"][-8:]}
    test = heard["on_evaluation"][-1]
    assert (test.primary, test.problems, test.score.count) == ("accuracy", 4, 4)


def test_a_resumed_run_repeats_no_callback(whole):
    folder, _ = whole
    heard: list = []
    result = sparring.train(SMALL, folder, resume=True, judge=brevity, display=QUIET, on_round=heard.append,
                            on_evaluation=heard.append, on_episode=heard.append)  # fmt: skip
    assert heard == []
    assert result.score.count == 4


@pytest.mark.parametrize("way", ["break", "exception", "close"])
def test_a_loop_that_is_left_leaves_a_run_that_ends_with_the_same_weights(way, whole, tmp_path):
    folder, seen = tmp_path / "run", []

    def loop() -> None:
        for result in sparring.rounds(SMALL, folder, judge=brevity, display=QUIET):
            seen.append(result)
            if len(seen) == 3 and way == "break":
                break
            if len(seen) == 3:
                raise ZeroDivisionError

    if way == "close":
        results = sparring.rounds(SMALL, folder, judge=brevity, display=QUIET)
        seen += [next(results), next(results)]
        results.close()
    elif way == "break":
        loop()
    else:
        with pytest.raises(ZeroDivisionError):
            loop()
    assert status(folder) == "stopped"
    saved = {path.name for path in (folder / "checkpoints").iterdir()}
    assert f"{seen[-1].problems:09d}" in saved
    steps_before = (folder / "metrics.jsonl").read_text().count('"step"')
    rest = list(sparring.rounds(SMALL, folder, resume=True, judge=brevity, display=QUIET))
    assert places([*seen, *rest]) == PLACES
    assert status(folder) == "finished"
    assert weights(folder) == weights(whole[0])
    assert (folder / "metrics.jsonl").read_text().count('"step"') >= steps_before


def test_the_loop_returns_the_result_and_works_inside_an_event_loop(whole, tmp_path):
    async def in_a_notebook() -> sparring.Result:
        results, seen = sparring.rounds(SMALL, tmp_path / "run", judge=brevity, display=QUIET), []
        try:
            while True:
                seen.append(next(results))
        except StopIteration as end:
            assert places(seen) == PLACES
            return end.value

    result = asyncio.run(in_a_notebook())
    assert result.score.count == 4
    assert weights(tmp_path / "run") == weights(whole[0])


def test_a_callback_that_fails_is_one_line_and_is_not_told_again(whole, tmp_path):
    def careless(result):
        raise KeyError("loss")

    with pytest.raises(ConfigError) as error:
        sparring.train(SMALL, tmp_path / "run", judge=brevity, display=QUIET, on_round=careless)
    assert "on_round (<careless>) failed (" in str(error.value)
    assert "test_rounds.py, line " in str(error.value)
    assert isinstance(error.value.__cause__, KeyError)
    assert status(tmp_path / "run") == "stopped"
    heard: list = []
    sparring.train(SMALL, tmp_path / "run", resume=True, judge=brevity, display=QUIET, on_round=heard.append)
    assert places(heard) == PLACES[1:]
    assert weights(tmp_path / "run") == weights(whole[0])


def test_a_callback_may_stop_the_run(tmp_path):
    def enough(result):
        raise RunStopped("good enough")

    with pytest.raises(RunStopped, match="good enough"):
        sparring.train(SMALL, tmp_path / "run", judge=brevity, display=QUIET, on_episode=enough)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["reason"] == "good enough"


def test_an_interruption_in_the_loop_is_clean(tmp_path):
    program = INTERRUPTED.format(table=PLAIN)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode in (130, -signal.SIGINT)
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert status(tmp_path / "run") == "stopped"
    rest = sparring.rounds(PLAIN, tmp_path / "run", resume=True, display=QUIET)
    assert places([next(rest)]) == [(1, 2)]
    rest.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"jugde": brevity}, "unknown argument of sparring.train 'jugde' .did you mean 'judge'"),
        ({"editor": brevity}, "no phase of the recipe has the role editor"),
        ({"judge": 3}, "judge = 3 is not a table"),
        ({"on_round": 3}, "on_round is not a plain function"),
        ({"on_episode": asyncio.sleep}, "on_episode is not a plain function"),
        ({"judge": lambda text: 1}, "takes neither answer, answers, completions nor both"),
    ],
)
def test_what_cannot_be_given_is_refused_before_the_run(given, message, tmp_path):
    for verb in (sparring.train, sparring.rounds):
        with pytest.raises(ConfigError, match=message):
            verb(SMALL, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()

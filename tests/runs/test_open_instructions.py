"""A run on instructions without right answers: its judge chooses the best learner, on the ledger, and tests it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sparring.common.errors import ConfigError, Failure, RunStopped
from sparring.config.recipe import Recipe
from sparring.core.evaluation import Evaluation, Outcome, score
from sparring.ledger import entries
from sparring.runs.bundle import bundle
from sparring.runs.display import Display
from sparring.runs.estimate import estimate
from sparring.runs.replay import replay
from sparring.runs.run import train
from sparring.runs.selection import check_judge, protocol_of
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.training import checkpoint
from tests.fault_server import say, standing

QUIET = Display(quiet=True)


@contextmanager
def judge(verdict) -> Iterator[tuple[str, list]]:
    """Run a judge on a real socket; `verdict` gets its prompt and returns its reply."""

    async def answer(request, writer):
        await say(verdict(request.asked))(request, writer)

    with standing(answer) as found:
        yield found.url, found.requests


def prefer_longer(prompt: str) -> str:
    a, b = re.search(r"Response A:\n(.*?)\n\nResponse B:\n(.*?)\n\nReason", prompt, re.DOTALL).groups()
    return f"[[{'A' if len(a) > len(b) else 'B' if len(b) > len(a) else 'C'}]]"


def score_length(prompt: str) -> str:
    [response] = re.findall(r"Response:\n(.*?)\n\nReason", prompt, re.DOTALL)
    return f"Score: {min(10, max(1, len(response) // 4))}"


@pytest.fixture(scope="module")
def speaks(tmp_path_factory) -> str:
    """Return a tiny learner that ends its replies, as a folder."""
    table = {
        "task": {"kind": "multistep_arithmetic", "train": 64, "development": 2, "test": 0},
        "phase": [{"method": "sft", "epochs": 6, "max_tokens": 24}],
        "trainer": {"learning_rate": 1e-3, "batch_size": 8},
        "run": {"threads": 1, "evaluate_problems": 0},
    }
    return str(train(Recipe.of(table), tmp_path_factory.mktemp("speaks") / "run", display=QUIET).final)


def recipe(learner: str, url: str, folder: Path, **changes) -> Recipe:
    sums = MultistepArithmetic(train=30, development=1, test=1).problems("train")
    rows = [json.dumps({"instruction": problem.chat.text}) for problem in sums]
    (folder / "instructions.jsonl").write_text("\n".join(rows) + "\n")
    table = {
        "learner": {"model": learner},
        "task": {
            "kind": "instructions",
            "train": str(folder / "instructions.jsonl"),
            "development_size": 4,
            "test_size": 3,
        },
        "phase": [
            {
                "method": "response_preference",
                "problems": 4,
                "rounds": 2,
                "samples": 2,
                "max_tokens": 32,
                "judge": {"by": "endpoint", "model": "m", "base_url": url, "retries": 0, "timeout": 5},
            }
        ],
        "trainer": {"learning_rate": 1e-5, "batch_size": 4},
        "run": {"threads": 1, "evaluate_every": 4, "max_learner_failures": 1.0},
    }
    return Recipe.read(table, [f"{key.replace('__', '.')}={value}" for key, value in changes.items()])


def lines(run: Path, kind: str) -> list[dict]:
    return [line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if line["kind"] == kind]


@pytest.mark.parametrize("protocol", ["win_rate", "judge_score"])
def test_the_judge_of_the_run_chooses_the_best_learner_and_tests_it(speaks, tmp_path, monkeypatch, protocol):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    mode, verdict = {"win_rate": ("pairwise", prefer_longer), "judge_score": ("pointwise", score_length)}[protocol]
    run = tmp_path / "run"
    with judge(verdict) as (url, requests):
        made = recipe(speaks, url, tmp_path, phase__1__judge__mode=f'"{mode}"')
        result = train(made, run, display=QUIET)
        sent, found = len(requests), (run / "evaluation.json").read_bytes()
        (run / "evaluation.json").unlink()
        train(made, run, resume=True, display=QUIET)
        assert len(requests) == sent  # every verdict is on the ledger
        assert (run / "evaluation.json").read_bytes() == found
    developed = lines(run, "development")
    assert [line["at"] for line in developed] == [4, 8]
    assert {line["primary"] for line in developed} == {result.test["primary"]} == {WHAT[protocol]}
    best = max(developed, key=lambda line: (score(line), -line["at"]))
    assert checkpoint.read_usage(result.best).origin.problems == best["at"]
    assert json.loads(found)["measures"] == result.test["measures"]
    assert [outcome["failures"] for outcome in json.loads(found)["outcomes"]] == [[], [], []]
    judged = [entry for entry in entries(run / "ledger.sqlite") if entry["phase"] == f"evaluation-{protocol}"]
    assert judged
    assert {entry["role"] for entry in judged} == {"judge"}


WHAT = {"win_rate": "win_rate", "judge_score": "score"}


def test_later_responses_are_compared_with_those_of_the_start(speaks, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with judge(prefer_longer) as (url, _):
        train(recipe(speaks, url, tmp_path, phase__1__rounds=1, trainer__learning_rate=1e-9), tmp_path / "run")
        start = json.loads((tmp_path / "run" / "start.json").read_text())
    assert len(start) == 4 + 3  # the development and the test problems
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert {outcome["problem"]: outcome["response"] for outcome in found["outcomes"]}.items() <= start.items()
    assert found["measures"]["tie"]["value"] == 1.0  # nothing was learnt: the same responses, and no verdict is paid
    assert {entry["phase"] for entry in entries(tmp_path / "run" / "ledger.sqlite")} == {"1-response_preference"}


def test_a_replay_measures_the_same_without_a_judge(speaks, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with judge(prefer_longer) as (url, _):
        train(recipe(speaks, url, tmp_path), tmp_path / "run", display=QUIET)
    packed, _ = bundle(tmp_path / "run", tmp_path / "run.tar.gz")
    done = replay(packed, tmp_path / "again", display=QUIET)
    found, again = (json.loads((tmp_path / run / "evaluation.json").read_text()) for run in ("run", "again"))
    assert found == again
    assert done.same


def test_a_judge_that_fails_too_often_stops_the_run():
    failure, skipped = Failure("Unreadable", "judge", "no verdict"), Failure("Skipped", "judge", "no wish")
    outcomes = [Outcome(str(n), "all", {}, failures=(failure if n < 2 else skipped,)) for n in range(4)]
    check_judge(Evaluation(tuple(outcomes)), 0.5)
    with pytest.raises(RunStopped, match=r"judge failed on 2 of 4 problems \(bound 40%, .*no verdict"):
        check_judge(Evaluation(tuple(outcomes)), 0.4)


def test_a_lost_file_of_the_start_is_named(speaks, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with judge(prefer_longer) as (url, _):
        made = recipe(speaks, url, tmp_path)
        train(made, tmp_path / "run", display=QUIET)
        (tmp_path / "run" / "start.json").unlink()
        (tmp_path / "run" / "evaluation.json").unlink()
        with pytest.raises(ConfigError, match=r"start\.json lacks responses of the run's start"):
            train(made, tmp_path / "run", resume=True, display=QUIET)


def test_without_gold_answers_and_without_a_judge_nothing_is_measured(tmp_path):
    table = recipe("tiny", "http://localhost:1/v1", tmp_path).table()
    assert protocol_of(Recipe.of(table)).name == "win_rate"
    first = table["phase"][0]
    later = {**first, "judge": {**first["judge"], "mode": "pointwise"}}
    assert protocol_of(Recipe.of({**table, "phase": [first, later]})).name == "judge_score"  # the last phase's judge
    table["task"] = {"kind": "multistep_arithmetic", "train": 20, "development": 2, "test": 2}
    assert protocol_of(Recipe.of(table)).name == "solo"


def test_an_estimate_counts_the_judges_calls_of_evaluations(tmp_path):
    found = estimate(recipe("tiny", "http://localhost:1/v1", tmp_path), episodes=2)
    training, developed, tested = found.lines
    assert (developed.phase, developed.rounds, developed.calls) == ("development", 3, 2 * 4)  # 8 problems by 4, the end
    assert (tested.phase, tested.rounds, tested.calls) == ("test", 2, 2 * 3)
    assert developed.completion / developed.calls == training.completion / training.calls

"""Runs whose partners are behind an endpoint: recorded, replayed for free, stopped at a budget, resumed."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sparring.cli.ledger import ledger
from sparring.common.errors import ConfigError
from sparring.config.recipe import Recipe
from sparring.ledger import BudgetReached, NotRecorded, entries, runs, totals
from sparring.runs.display import Display
from sparring.runs.run import train
from tests.cli.program import sparring_
from tests.fault_server import Request, late, say, standing, status

QUIET = Display(quiet=True)
KEY = "sk-canary-0123456789"


def partner(request: Request) -> str:
    """Return a partner's reply in the requested form; equal requests get equal replies."""
    asked = request.asked
    if "Compare two responses" in asked:
        a, b = re.search(r"Response A:\n(.*?)\n\nResponse B:\n(.*?)\n\nReason", asked, re.DOTALL).groups()
        return f"hm. [[{'A' if len(a) < len(b) else 'B' if len(b) < len(a) else 'C'}]]"
    if "Check a student's answer" in asked:
        label, text = re.search(r"\((\d+)\) (.+)", asked).groups()
        return f'In step ({label}) the part "{text}" is incorrect. This is because I say so.'
    if "goes wrong at step" in asked:
        return "1+1=2\n2"
    return "Look again."


@contextmanager
def server(says: Callable[[Request], str] = partner) -> Iterator[tuple[str, list[Request]]]:
    """Run a partner on a real socket in its own thread; yields its URL and the requests."""

    async def answer(request, writer):
        await say(says(request))(request, writer)

    with standing(answer) as found:
        yield found.url, found.requests


def recipe(url: str, ledger: Path, **changes) -> Recipe:
    endpoint = {"by": "endpoint", "model": "m", "base_url": url, "retries": 0, "timeout": 5}
    table = {
        "task": {"kind": "multistep_arithmetic", "train": 64, "development": 4, "test": 4},
        "phase": [
            {"method": "sft", "epochs": 4, "max_tokens": 24},
            {"method": "saie", "problems": 8, "rounds": 2, "max_tokens": 24, "discussant": endpoint},
            {"method": "tripost", "problems": 8, "max_tokens": 24, "critic": endpoint, "editor": endpoint},
            {"method": "response_preference", "problems": 8, "samples": 3, "max_tokens": 24, "judge": endpoint},
        ],
        "trainer": {"learning_rate": 1e-3, "batch_size": 8},
        "run": {"threads": 1, "max_partner_failures": 1.0, "max_learner_failures": 1.0},
        "ledger": {"path": str(ledger)},
    }
    return Recipe.read(table, [f"{key.replace('__', '.')}={value}" for key, value in changes.items()])


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "final" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def paid(tmp_path_factory):
    """Return a finished run with its ledger, the requests at the server, and its URL (no longer served)."""
    folder = tmp_path_factory.mktemp("paid")
    with pytest.MonkeyPatch.context() as patch, server() as (url, heard):
        patch.setenv("OPENAI_API_KEY", KEY)
        train(recipe(url, folder / "ledger.sqlite"), folder / "run", display=QUIET)
    return folder, heard, url


def test_every_call_is_recorded_with_its_role_and_the_episode_it_served(paid):
    folder, heard, _ = paid
    found = list(entries(folder / "ledger.sqlite"))
    assert len(found) == len(heard)
    assert {entry["role"] for entry in found} == {"discussant", "critic", "editor", "judge"}
    assert {entry["phase"] for entry in found} == {"2-saie", "3-tripost", "4-response_preference"}
    assert all(entry["problem"] for entry in found)
    assert sum(total.calls for total in totals(folder / "ledger.sqlite")) == len(heard)


def test_a_run_from_a_full_ledger_asks_nobody_and_ends_with_the_same_weights(paid, tmp_path):
    folder, _, url = paid
    train(recipe(url, folder / "ledger.sqlite", ledger__mode='"replay"'), tmp_path / "again", display=QUIET)
    assert weights(tmp_path / "again") == weights(folder / "run")


def test_a_replay_without_the_reply_names_the_call(paid, tmp_path):
    folder, _, url = paid
    other = recipe(url, folder / "ledger.sqlite", ledger__mode='"replay"', task__seed=1)
    with pytest.raises(
        NotRecorded, match=r"has no reply for sample 0 of discussant at m, problem .* of phase '2-saie'"
    ):
        train(other, tmp_path / "run", display=QUIET)


def test_at_the_cap_the_run_stops_and_goes_on_when_it_is_raised_paying_nothing_twice(paid, tmp_path, caplog):
    folder, _, _ = paid
    path = tmp_path / "l.sqlite"
    with server() as (url, heard):
        with pytest.raises(BudgetReached, match=r"has spent 10 of its budget of 10 calls .* raise budget.run.calls"):
            train(recipe(url, path, budget__run__calls=10), tmp_path / "run", display=QUIET)
        assert len(heard) == 10
        assert _told(tmp_path / "run")["status"] == "stopped"
        assert (
            f"in all: 10 calls, {sum(t.prompt_tokens + t.completion_tokens for t in totals(path))} tokens"
            in (_told(tmp_path / "run")["reason"])
        )
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        with pytest.raises(BudgetReached):
            train(recipe(url, path, budget__run__calls=10), tmp_path / "elsewhere", resume=True, display=QUIET)
        assert len(heard) == 10
        train(recipe(url, path, budget__run__calls=10_000), tmp_path / "elsewhere", resume=True, display=QUIET)
        asked = [json.dumps(request.body, sort_keys=True) for request in heard]
        assert len(asked) == len(set(asked))
    assert weights(tmp_path / "elsewhere") == weights(folder / "run")
    assert list(runs(path).values()) == ["elsewhere"]
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(
    ("answer", "budget", "reason"),
    [
        (status(401, "who are you"), 99, "rejects the key in the environment variable OPENAI_API_KEY"),
        (late(0.3), 2, "this run has spent 2 of its budget of 2 calls (in all: 2 calls, 30 tokens, 0 in money)"),
    ],
)
def test_a_run_that_may_not_go_on_says_so_in_one_line_and_in_its_folder(answer, budget, reason, tmp_path, caplog):
    with standing(answer) as found:
        whole = recipe(found.url, tmp_path / "l.sqlite", budget__run__calls=budget, run__evaluate_problems=0)
        saie = replace(whole, phases=(replace(whole.phases[1], problems=32),))
        (tmp_path / "r.toml").write_text(saie.toml())
        said = sparring_("train", tmp_path / "r.toml", "--run", tmp_path / "run")
    gc.collect()
    assert said.code == 2
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert [line.startswith("error: ") for line in lines] == [False] * (len(lines) - 1) + [True]
    assert "Traceback" not in said.err
    assert reason in lines[-1]
    assert not caplog.records
    assert _told(tmp_path / "run")["status"] == "stopped"
    assert reason in _told(tmp_path / "run")["reason"]


def test_a_run_that_stops_at_a_mistake_before_anything_is_paid_leaves_its_folder_to_the_mended_recipe(tmp_path):
    def saie(url, **changes):
        whole = recipe(url, tmp_path / "l.sqlite", run__evaluate_problems=0, **changes)
        return replace(whole, phases=(replace(whole.phases[1], problems=32, rounds=1),))

    with standing(status(401, "who are you")) as found, pytest.raises(ConfigError, match="rejects the key"):
        train(saie(found.url), tmp_path / "run", display=QUIET)
    assert _told(tmp_path / "run")["status"] == "stopped"
    with server() as (url, heard):
        with pytest.raises(ConfigError, match="already contains a run; add --resume"):
            train(saie(found.url), tmp_path / "run", display=QUIET)  # not mended
        train(saie(url, run__seed=5), tmp_path / "run", display=QUIET)
        train(saie(url, run__seed=5), tmp_path / "fresh", display=QUIET)
    assert heard
    assert (tmp_path / "run" / "earlier" / "1" / "recipe.toml").exists()
    assert list((tmp_path / "run" / "earlier" / "1").rglob("journal.jsonl"))  # what was sampled is kept
    assert weights(tmp_path / "run") == weights(tmp_path / "fresh")


def test_a_run_that_stops_at_a_mistake_resumes_with_what_it_sampled(tmp_path):
    with standing(status(401, "who are you")) as found, pytest.raises(ConfigError, match="rejects the key"):
        train(recipe(found.url, tmp_path / "l.sqlite", run__evaluate_problems=0), tmp_path / "run", display=QUIET)
    assert not (tmp_path / "run" / "earlier").exists()
    other = recipe("http://localhost:1/v1", tmp_path / "l.sqlite", run__evaluate_problems=0)
    with pytest.raises(ConfigError, match="was started with another recipe"):
        train(other, tmp_path / "run", resume=True, display=QUIET)


def test_a_run_that_stops_at_a_mistake_after_its_first_round_stays_a_run(tmp_path):
    with standing(status(401, "who are you")) as found, pytest.raises(ConfigError, match="rejects the key"):
        train(recipe(found.url, tmp_path / "l.sqlite"), tmp_path / "run", display=QUIET)
    with pytest.raises(ConfigError, match="already contains a run; add --resume"):
        train(recipe(found.url, tmp_path / "l.sqlite", run__seed=1), tmp_path / "run", display=QUIET)


def _told(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_the_key_is_in_no_file_of_the_run(paid):
    folder, heard, _ = paid
    assert heard[0].headers["authorization"] == f"Bearer {KEY}"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_the_ledger_is_shown_and_written(paid, tmp_path, capsys):
    folder, heard, _ = paid
    ledger(folder / "run", failures=True, output=tmp_path / "calls.jsonl")
    told = capsys.readouterr().out
    assert f"{len(heard)} calls, 0 failed" in told
    assert all(role in told for role in ("discussant", "critic", "editor", "judge"))
    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == len(heard)
    ledger(folder / "ledger.sqlite", failures=False, output=None)
    with pytest.raises(ConfigError, match="is neither a run nor a ledger file"):
        ledger(tmp_path / "nothing", failures=False, output=None)

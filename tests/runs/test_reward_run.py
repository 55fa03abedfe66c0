"""A run with a reward model as judge: it finishes, its scores are on the ledger, and a replay needs no model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sparring.common.files import read_jsonl
from sparring.config.recipe import Recipe
from sparring.core.episode import Episode
from sparring.ledger import NotRecorded, entries
from sparring.runs.display import Display
from sparring.runs.run import train
from sparring.speakers import reward
from tests.reward_model import save_reward_model
from tests.runs.test_paid_run import weights

QUIET = Display(quiet=True)


def recipe(model: str, ledger: Path, **changes) -> Recipe:
    table = {
        "task": {"kind": "multistep_arithmetic", "train": 64, "development": 4, "test": 4},
        "phase": [
            {"method": "sft", "epochs": 4, "max_tokens": 24},
            {
                "method": "response_preference",
                "problems": 8,
                "samples": 4,
                "max_tokens": 24,
                "judge": {"by": "reward", "model": model, "device": "cpu"},
            },
        ],
        "trainer": {"learning_rate": 1e-3, "batch_size": 8},
        "run": {"threads": 1, "max_learner_failures": 1.0},
        "ledger": {"path": str(ledger)},
    }
    return Recipe.read(table, [f"{key.replace('__', '.')}={value}" for key, value in changes.items()])


@pytest.fixture(scope="module")
def paid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    model = save_reward_model(folder / "model")
    train(recipe(model, folder / "ledger.sqlite"), folder / "run", display=QUIET)
    return folder, model


def test_every_response_has_its_score_and_every_score_is_on_the_ledger(paid):
    folder, model = paid
    (path,) = (folder / "run" / "rounds").glob("2-*/*/episodes.jsonl")
    episodes = read_jsonl(path, Episode)
    scored = {(e.problem.id, c.answer.text): c.score for e in episodes for c in e.candidates if c.answer is not None}
    assert len(scored) > 8
    assert len(set(scored.values())) > len(scored) / 2
    told = [entry for entry in entries(folder / "ledger.sqlite") if entry["role"] == "judge"]
    assert {entry["model"] for entry in told} == {model}
    asked = {(e["problem"], e["request"]["messages"][-1]["content"]): e["reply"] for e in told}
    assert {key: float(reply["parts"][0]["text"]) for key, reply in asked.items()} == {
        key: score for key, score in scored.items() if score is not None
    }
    assert all(entry["prompt_tokens"] for entry in told)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any(line["kind"] == "round" and line["phase"] == 2 and line["experience"] for line in lines)


def test_a_replay_needs_no_model_and_ends_with_the_same_weights(paid, tmp_path, monkeypatch):
    folder, model = paid
    monkeypatch.setattr(reward, "_LOADED", {})
    shutil.move(model, tmp_path / "away")
    try:
        replayed = recipe(model, folder / "ledger.sqlite", ledger__mode='"replay"')
        train(replayed, tmp_path / "again", display=QUIET)
        assert weights(tmp_path / "again") == weights(folder / "run")
        with pytest.raises(NotRecorded, match="has no reply for sample 0 of judge"):
            train(
                recipe(model, folder / "ledger.sqlite", ledger__mode='"replay"', run__seed=1),
                tmp_path / "x",
                display=QUIET,
            )
    finally:
        shutil.move(tmp_path / "away", model)

"""A real model behind a real server plays all four roles: `transformers serve` on loopback.

The partner is a tiny model that sparring itself has trained, for seconds, to say something readable in every role.
Another, untrained, says nothing that can be read: it must never score, and the gate must stop its run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from sparring.common.errors import RunStopped
from sparring.config.recipe import Recipe
from sparring.core.chat import LEARNER, Chat
from sparring.core.speaker import PARTNER, Reply, Sampling, text_reply
from sparring.ledger import entries
from sparring.models.tiny import tiny_model, tiny_tokenizer
from sparring.parsing.steps import Fault
from sparring.parsing.thought import NONE
from sparring.partners.model_critic import ModelCritic
from sparring.partners.model_discussant import ModelDiscussant
from sparring.partners.model_editor import ModelEditor
from sparring.partners.model_judge import ModelJudge
from sparring.runs.display import Display
from sparring.runs.run import train
from sparring.tasks.multistep_arithmetic import MultistepArithmetic

pytest.importorskip("fastapi", reason="transformers serve is not installed: pip install 'sparring[serving]'")
pytest.importorskip("uvicorn", reason="transformers serve is not installed: pip install 'sparring[serving]'")

QUIET = Display(quiet=True)
TASK = MultistepArithmetic(train=120, development=4, test=4)
REMARK, FAULT, UPDATE, SCORES = "Look again.", 'In step (1) the part "=" is incorrect.', "1+1=2\n2", "38"
ROLES = {"discussant", "critic", "editor", "judge"}


@dataclass
class Teacher:
    """Says one thing, and notes in which words it was asked: a lesson for the model that is to stand in its place."""

    line: str
    lessons: list[dict[str, str]]

    async def reply(self, chat: Chat, sampling: Sampling, sample: int = 0) -> Reply:
        self.lessons.append({"prompt": chat.text, "answer": self.line})
        return text_reply(self.line, PARTNER)


async def lessons() -> list[dict[str, str]]:
    """What the four roles are asked about each training problem, and what is to be said."""
    noted: list[dict[str, str]] = []
    rng = random.Random(0)
    for problem in TASK.problems("train"):
        attempt = rng.choice((rng.choice(TASK.problems("train")).rationale, _scribble(rng)))
        chat, fault = problem.chat.say(LEARNER, attempt), Fault("1", "=")
        for stance in ("supportive", "adversarial"):
            await ModelDiscussant(Teacher(REMARK, noted)).remark(problem, chat, stance, rng)
        await ModelCritic(Teacher(FAULT, noted), TASK).feedback(problem, attempt, rng)
        await ModelEditor(Teacher(UPDATE, noted), TASK).improve(problem, attempt, fault, rng)
        judge = ModelJudge(Teacher(f"Score: {rng.choice(SCORES)}", noted), mode="pointwise")
        await judge.score(problem, [NONE.split(attempt).answer], rng)
    return noted


def _scribble(rng: random.Random) -> str:
    """What a learner may write that has hardly learnt anything, with the `=` that the critic is to quote."""
    return "1=" + "".join(rng.choices("0123456789+-*()=\n", k=rng.randrange(1, 24)))


def taught(folder: Path) -> tuple[Path, Path]:
    """A tiny model fresh and untrained, and the same after its lessons."""
    fresh = folder / "fresh"
    tiny_model(0, hidden=64, length=1024).save_pretrained(fresh)
    tiny_tokenizer().save_pretrained(fresh)
    rows = asyncio.run(lessons())
    (folder / "lessons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {
        "learner": {"model": str(fresh)},
        "task": {"kind": "table", "train": str(folder / "lessons.jsonl"), "development_size": 0, "test_size": 0},
        "phase": [{"method": "sft", "max_tokens": 8}],
        "trainer": {"learning_rate": 3e-3, "batch_size": 5, "lr_schedule": "cosine"},
        "run": {"threads": 1},
    }
    train(Recipe.of(table), folder / "school", display=QUIET)
    return fresh, folder / "school" / "checkpoints" / "final"


@contextmanager
def served(log: Path) -> Iterator[str]:
    """`transformers serve` in a process of its own: its URL. It loads whatever checkpoint a request names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}  # tests run side by side
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=file, stderr=file, env=environment
        )
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


# A judge that draws: it knows two scores, and where they differ there is something to prefer. This server takes a
# temperature but draws only where the generation settings say so.
DRAWING = {"mode": "pointwise", "temperature": 0.5, "extra_body": {"generation_config": '{"do_sample": true}'}}


def recipe(url: str, model: Path, ledger: Path, *methods: str, mode: str = "record") -> Recipe:
    partner = {"by": "endpoint", "model": str(model), "base_url": url, "retries": 0, "timeout": 60, "max_tokens": 48}
    phases = {
        "sft": {"epochs": 10},
        "saie": {"discussant": partner},
        "tripost": {"critic": partner, "editor": partner, "updates": 1},
        "response_preference": {"samples": 3, "judge": {**partner, **DRAWING}},
    }
    table = {
        "task": {"kind": "multistep_arithmetic", "train": 64, "development": 4, "test": 4},
        "phase": [
            {"method": method, "problems": 64 if method == "sft" else 8, "max_tokens": 24, **phases[method]}
            for method in methods
        ],
        "trainer": {"learning_rate": 1e-3, "batch_size": 8},
        "run": {"threads": 1, "save_every": 8, "keep": 4, "max_partner_failures": 0.5, "max_learner_failures": 1.0},
        "ledger": {"path": str(ledger), "mode": mode},
    }
    return Recipe.of(table)


METHODS = ("sft", "saie", "tripost", "response_preference")


def weights(folder: Path, checkpoint: str = "final") -> bytes:
    return (folder / "checkpoints" / checkpoint / "model.safetensors").read_bytes()


class Played(NamedTuple):
    """Where a run of all methods lies, its recipe's URL (nobody answers there any more) and partner, and how the run
    with the untrained partner ended."""

    folder: Path
    url: str
    partner: Path
    stopped: str


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Played:
    folder = tmp_path_factory.mktemp("served")
    fresh, partner = taught(folder)
    with served(folder / "server.log") as url:
        train(recipe(url, partner, folder / "ledger.sqlite", *METHODS), folder / "run", display=QUIET)
        babble = recipe(url, fresh, folder / "babble.sqlite", "sft", "response_preference")
        with pytest.raises(RunStopped) as stop:
            train(babble, folder / "babble", display=QUIET)
    return Played(folder, url, partner, str(stop.value))


def test_the_served_model_plays_all_four_roles_and_is_on_the_ledger(played):
    found = list(entries(played.folder / "ledger.sqlite"))
    assert {entry["role"] for entry in found} == ROLES
    for entry in found:
        assert entry["outcome"] == "replied"
        assert entry["answered_by"].startswith(str(played.partner))
        assert entry["prompt_tokens"] > 200 > entry["completion_tokens"] > 0  # counted by its own tokenizer
    words = {role: Counter(_text(entry) for entry in found if entry["role"] == role) for role in ROLES}
    assert words["discussant"].most_common(1)[0][0] == REMARK
    assert words["critic"].most_common(1)[0][0] == FAULT
    assert words["editor"].most_common(1)[0][0] == UPDATE
    assert set(words["judge"]) >= {f"Score: {score}" for score in SCORES}


def _text(entry: dict) -> str:
    return "".join(part["text"] for part in entry["reply"]["parts"])


def test_every_phase_goes_by_what_the_served_model_said(played):
    run = played.folder / "run"
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert REMARK in _saved(run, "2-saie", "experience")
    assert json.dumps(UPDATE) in _saved(run, "3-tripost", "episodes")  # and it is not right, so it is not learnt
    assert json.dumps(UPDATE) not in _saved(run, "3-tripost", "experience")
    assert '"rejected"' in _saved(run, "4-response_preference", "experience")
    after = {weights(run, f"{at:09}") for at in (64, 72, 80, 88)}
    assert len(after) == len(METHODS)  # the warm-up and three phases: each moved the weights


def _saved(run: Path, phase: str, name: str) -> str:
    return (run / "rounds" / phase / "0001" / f"{name}.jsonl").read_text()


def test_with_the_server_gone_the_ledger_gives_the_same_weights(played, tmp_path):
    again = recipe(played.url, played.partner, played.folder / "ledger.sqlite", *METHODS, mode="replay")
    train(again, tmp_path / "run", display=QUIET)
    assert weights(tmp_path / "run") == weights(played.folder / "run")


def test_a_model_that_cannot_be_read_scores_nothing_and_is_stopped_at_the_gate(played):
    assert "the partner failed in 8 of 8 episodes (bound 50%, max_partner_failures under [run])" in played.stopped
    assert "judge: CutOff" in played.stopped or "judge: Unreadable" in played.stopped
    told = json.loads((played.folder / "babble" / "run.json").read_text())
    assert told["status"] == "stopped"
    assert not list((played.folder / "babble" / "rounds").glob("2-*/*/experience.jsonl"))
    assert {entry["role"] for entry in entries(played.folder / "babble.sqlite")} == {"judge"}

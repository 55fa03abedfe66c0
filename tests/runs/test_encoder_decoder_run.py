"""A run whose learner is an encoder–decoder: every method, resuming, use afterwards, merging."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSeq2SeqLM
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import sparring
from sparring.common.errors import RunStopped
from sparring.config.recipe import Recipe
from sparring.core.chat import LEARNER, question
from sparring.core.speaker import Sampling
from sparring.inference.model import load_model
from sparring.inference.model_speaker import ModelSpeaker
from sparring.models.source import ModelSource
from sparring.runs.display import Display
from sparring.runs.metrics import Metrics
from sparring.runs.run import train
from tests.cli.program import sparring_
from tests.encoder_decoders import saved
from tests.runs.test_run import stopped_at_reply

QUIET = Display(quiet=True)
TASK = {"by": "task"}
THINKING = {"thought_format": "think", "thought_prompt": ""}
SETTINGS = {
    "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 12, "development": 2, "test": 2},
    "phase": [
        {"method": "sft", "epochs": 15, "max_tokens": 24, "trainer": {"learning_rate": 2e-2}, **THINKING},
        {"method": "thought_preference", "problems": 6, "samples": 3, "max_tokens": 32, "unreadable_share": 1.0,
         "judge": {"by": "task", "wrong": 0.5}, **THINKING},
        {"method": "saie", "rounds": 2, "problems": 4, "replay": 4, "max_tokens": 12, "discussant": TASK},
        {"method": "tripost", "rounds": 1, "problems": 6, "max_tokens": 16, "critic": TASK, "editor": TASK},
    ],
    "trainer": {"learning_rate": 1e-3, "batch_size": 4},
    "run": {"save_every": 6, "threads": 1, "max_learner_failures": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module", params=[None, {"rank": 4}], ids=["all weights", "adapters"])
def recipe(request, tmp_path_factory) -> Recipe:
    folder = saved(tmp_path_factory.mktemp("models") / "t5", scale=0.1, dropout_rate=0.1)
    learner = {"model": str(folder), "slots": 16} | ({"lora": request.param} if request.param else {})
    return Recipe.of({"learner": learner, **SETTINGS})


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe, folder, display=QUIET)
    return folder


def metrics(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "checkpoints" / "final").glob("*.safetensors")}


def steps(folder: Path) -> list[dict]:
    return [line for line in metrics(folder) if line["kind"] == "step"]


def test_every_method_moves_weights(finished, recipe):
    found = {line["phase"]: line for line in steps(finished)}
    assert set(found) >= {1, 3, 4}
    if recipe.learner.lora is None:  # adapters learn too little in so few steps to write a thought
        first = next(line for line in steps(finished) if line["phase"] == 2)
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)  # before the first step, dropout or not
    assert found[1]["loss"] < next(line["loss"] for line in steps(finished))


def test_stopped_in_each_phase_it_ends_as_if_it_had_never_stopped(finished, recipe, tmp_path, monkeypatch):
    last = {line["phase"]: ("step", line["phase"], line["round"], line["step"]) for line in steps(finished)}
    stops = list(last.values())

    def record(self, key, values):
        line = real(self, key, values)
        if stops and key == stops[0]:
            raise RunStopped(f"pulled the plug {stops.pop(0)}")
        return line

    real = Metrics.record
    monkeypatch.setattr(Metrics, "record", record)
    while stops:
        with pytest.raises(RunStopped, match="pulled the plug"):
            train(recipe, tmp_path / "run", resume=True, display=QUIET)
    train(recipe, tmp_path / "run", resume=True, display=QUIET)
    assert weights(tmp_path / "run") == weights(finished)
    assert metrics(tmp_path / "run") == metrics(finished)


def test_replies_of_a_stopped_round_come_from_the_journal(tmp_path, monkeypatch):
    sampled = stopped_at_reply(5, monkeypatch)
    phase = {"method": "saie", "problems": 8, "max_tokens": 4, "learn": "own_correct_revision", "discussant": TASK}
    run = {"threads": 1, "evaluate_problems": 0, "test_problems": 0, "max_learner_failures": 1.0}
    learner = {"model": str(saved(tmp_path / "t5"))}
    recipe = Recipe.of({"learner": learner, "task": SETTINGS["task"], "phase": [phase], "run": run})
    with pytest.raises(RunStopped, match="pulled the plug"):
        train(recipe, tmp_path / "run", display=QUIET)
    train(recipe, tmp_path / "run", resume=True, display=QUIET)
    assert (len(sampled), len(set(sampled))) == (9, 8)  # only the fifth, which was not yet written, came twice


def test_what_was_trained_is_talked_to_evaluated_and_exported_for_plain_transformers(finished, recipe, tmp_path):
    said = sparring_("talk", finished, stdin="(1+(2+3))=\n")
    assert said.code == 0, said
    said = sparring_("evaluate", finished, "--task", "multistep_arithmetic", "--problems", 4)
    assert said.code == 0, said
    assert isinstance(sparring.load_learner(finished).answerer, object)
    folder = finished / "checkpoints" / "final"
    if recipe.learner.lora is None:
        assert_speaks_plainly(folder, AutoModelForSeq2SeqLM.from_pretrained(folder))
        return
    best = AutoPeftModelForSeq2SeqLM.from_pretrained(finished / "checkpoints" / "best")
    said = sparring_("export", finished, tmp_path / "merged")
    assert said.code == 0, said
    merged = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "merged")
    ids = {"input_ids": torch.tensor([[9, 8, 7]]), "decoder_input_ids": torch.tensor([[0, 10, 11]])}
    with torch.no_grad():
        torch.testing.assert_close(merged(**ids).logits, best(**ids).logits, rtol=1e-3, atol=1e-4)
    assert_speaks_plainly(tmp_path / "merged", merged)


def assert_speaks_plainly(folder: Path, network) -> None:
    """The saved tokenizer's template and `generate` give the reply that the learner gives here."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "(1+(2+3))="}], tokenize=False)
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    plain = network.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12)[0, 1:].tolist()
    speaker = ModelSpeaker(load_model(ModelSource(str(folder))), LEARNER, ("use",))
    chat, greedy = question("(1+(2+3))="), Sampling(temperature=0, max_tokens=12)
    (part,) = asyncio.run(speaker.reply(chat, greedy)).parts
    assert tuple(plain[: len(part.ids)]) == part.ids

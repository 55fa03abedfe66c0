"""A run over rows with neither gold answers nor a judge is measured by its method's loss on held-out rows."""

import json
import math
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparring.common.errors import ConfigError, RunStopped
from sparring.config.recipe import Recipe
from sparring.runs.display import Display
from sparring.runs.held_out import START_LOGPROBS
from sparring.runs.metrics import Metrics
from sparring.runs.run import Run, train

REPLIES = [{"prompt": f"Count to {n}.", "completion": " ".join(map(str, range(1, n + 1)))} for n in range(1, 31)]
PAIRS = [{"prompt": f"Say {n}.", "chosen": f"{n}", "rejected": f"not {n}"} for n in range(30)]
QUIET = Display(quiet=True)


def recipe(rows, method, epochs=3, learning_rate=3e-3, **settings) -> Recipe:
    task = {"kind": "table", "train": rows, "development_size": 6, "test_size": 5}
    phase = {"method": method, "epochs": epochs, "trainer": {"learning_rate": learning_rate, "batch_size": 4}}
    run = {"threads": 1, "evaluate_every": 6, "save_every": 6, **settings}
    return Recipe.read({"learner": {"model": "tiny"}, "task": task, "phase": [phase], "run": run})


def developed(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["measures"] for line in lines if line["kind"] == "development"]


def log_likelihood(folder, prompt, reply):
    """The mean log-probability of the reply's tokens and its end, computed with transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    asked = [{"role": "user", "content": prompt}]
    start = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    said = tokenizer(reply, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    with torch.inference_mode():
        logprobs = model(torch.tensor([start + said])).logits[0].log_softmax(-1)
    return sum(float(logprobs[len(start) - 1 + i, token]) for i, token in enumerate(said)) / len(said)


def test_the_score_is_the_log_probability_of_a_held_out_token(tmp_path):
    run = recipe(REPLIES, "sft")
    result = train(run, tmp_path / "run", display=QUIET)
    by_hand = [log_likelihood(result.best, p.chat.text, p.worked.last.text) for p in run.task.problems("test")]
    assert len(by_hand) == 5
    assert result.test["primary"] == "log_likelihood"
    measured = json.loads((tmp_path / "run" / "evaluation.json").read_text())["protocol"]
    assert measured == {"kind": "held_out_loss", "objective": {"kind": "Likelihood"}}
    assert result.score.value == pytest.approx(sum(by_hand) / 5, abs=1e-4)
    scores = [measures["log_likelihood"]["value"] for measures in developed(tmp_path / "run")]
    assert len(scores) == 4  # at the start, after 6 and 12 problems, and at the end
    [progress] = json.loads((tmp_path / "run" / "evaluation.json").read_text())["development"]
    assert (progress["start"], progress["highest"]) == (scores[0], max(scores[1:]))
    assert scores == sorted(scores)  # it learns to count


def test_a_run_that_overfits_keeps_its_best_learner(tmp_path):
    rng = random.Random(0)
    noise = [{"prompt": f"Row {n}.", "completion": "".join(rng.choices("abcdefgh", k=12))} for n in range(30)]
    result = train(recipe(noise, "sft", epochs=24, learning_rate=1e-2), tmp_path / "run", display=QUIET)
    scores = [measures["log_likelihood"]["value"] for measures in developed(tmp_path / "run")]
    assert max(scores) > scores[-1] + 0.02
    assert result.origin.problems < 19


def test_pairs_are_measured_against_the_start_of_the_run(tmp_path):
    folder = tmp_path / "run"
    result = train(recipe(PAIRS, "dpo"), folder, display=QUIET)
    start, first, *_, last = developed(folder)
    assert first.keys() == {"log_likelihood", "ranked"}
    assert start["log_likelihood"]["value"] == pytest.approx(math.log(0.5))
    assert math.log(0.5) < first["log_likelihood"]["value"] < last["log_likelihood"]["value"] < 0
    assert last["ranked"]["value"] == 1
    assert len(json.loads((folder / START_LOGPROBS).read_text())) == 6 + 5
    assert result.test["measures"]["ranked"]["value"] == 1


def test_a_resumed_run_compares_with_the_same_start(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(recipe(PAIRS, "dpo"), whole, display=QUIET)
    save, saved = Run._save, []

    def save_and_stop(self, phase):
        save(self, phase)
        saved.append(phase)
        raise RunStopped("stopped by the test")

    monkeypatch.setattr(Run, "_save", save_and_stop)
    with pytest.raises(RunStopped, match="by the test"):
        train(recipe(PAIRS, "dpo"), cut, display=QUIET)
    monkeypatch.undo()
    start = (cut / START_LOGPROBS).read_text()
    (cut / START_LOGPROBS).unlink()
    with pytest.raises(ConfigError, match=r"start_logprobs\.json is missing or damaged; remove the folder checkpoints"):
        train(recipe(PAIRS, "dpo"), cut, resume=True, display=QUIET)
    (cut / START_LOGPROBS).write_text(start)
    train(recipe(PAIRS, "dpo"), cut, resume=True, display=QUIET)
    assert developed(cut) == developed(whole)


def test_rows_too_long_for_the_model_are_left_out_and_all_too_long_are_one_line(tmp_path):
    long = [{"prompt": f"Repeat {n}.", "completion": "word " * 5_000} for n in range(3)]
    paths = {}
    for name, rows in (("train", REPLIES), ("some", [*long, REPLIES[0] | {"prompt": "Count to one."}]), ("all", long)):
        paths[name] = tmp_path / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in rows))

    def trained(development):
        files = {"train": str(paths["train"]), "development": str(paths[development])}
        table = {"task": {"kind": "table", "test_size": 0, **files}, "phase": [{"method": "sft"}]}
        return train(Recipe.read({"learner": {"model": "tiny"}, **table}), tmp_path / development, display=QUIET)

    trained("some")
    assert [measures["log_likelihood"]["count"] for measures in developed(tmp_path / "some")] == [1, 1]
    with pytest.raises(RunStopped, match="none of 3 held-out rows can be measured: they have no reply, or are longer"):
        trained("all")
    assert not any(
        line["kind"] == "step" for line in Metrics(tmp_path / "all" / "metrics.jsonl")
    )  # before any training


def test_held_out_rows_without_a_reply_are_left_out(tmp_path):
    files = {"train": REPLIES, "development": [{"prompt": "Count."}, {"prompt": "Say it.", "completion": "1 2 3"}]}
    table = {"task": {"kind": "table", "test_size": 0, **files}, "phase": [{"method": "sft"}]}
    result = train(Recipe.read({"learner": {"model": "tiny"}, **table}), tmp_path / "run", display=QUIET)
    _, measures = developed(tmp_path / "run")
    assert measures["log_likelihood"]["count"] == 1
    expected = log_likelihood(result.best, "Say it.", "1 2 3")
    assert measures["log_likelihood"]["value"] == pytest.approx(expected, abs=1e-4)


def test_without_evaluations_the_last_learner_is_the_best(tmp_path):
    result = train(recipe(REPLIES, "sft", evaluate_problems=0, test_problems=0), tmp_path / "run", display=QUIET)
    assert developed(tmp_path / "run") == []
    assert result.test is None
    assert result.origin.problems == 19

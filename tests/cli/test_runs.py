"""Sequences that are too long, folders, and runs that go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.cli.program import GOOD, discussant, refused, rows, sparring_, table_of, tree

# ── sequences over the model's length ───────────────────────────────────────────────────────────────────────


def test_sequences_over_the_models_length_are_counted_and_reported_never_cut(recipe, tmp_path):
    long = [{"prompt": "x" * 600 + str(n), "answer": "y"} for n in range(20)]
    source = rows(tmp_path / "rows.jsonl", *GOOD, *long)
    path = table_of(recipe, source, "development_size = 0", "test_size = 0")
    said = sparring_("train", path, "--run", tmp_path / "strict")
    assert said.code == 2
    line = said.err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "20 of 60" in line
    assert "512 tokens" in line
    assert "max_dropped" in line
    assert "Traceback" not in said.err
    said = sparring_("train", path, "--run", tmp_path / "lenient", "--set", "trainer.max_dropped=0.5")
    assert said.code == 0, said
    rounds = [json.loads(line) for line in (tmp_path / "lenient" / "metrics.jsonl").read_text().splitlines()]
    assert [line["dropped"] for line in rounds if line["kind"] == "round"] == [20]
    assert "20" in said.err
    assert "longer than" in said.err


def test_questions_over_the_models_length_are_reported_not_cut(run, tmp_path):
    long = [{"prompt": "x" * 600 + str(n), "answer": "y"} for n in range(4)]
    source = rows(tmp_path / "rows.jsonl", *GOOD[:4], *long)
    said = sparring_(
        "evaluate", run, "--task", "table", "--set", f"task.train={source}", "--set", "task.test_size=0",
        "--set", "task.development_size=0", "--split", "train", "--run", tmp_path / "e",
    )  # fmt: skip
    assert "Traceback" not in said.err
    assert said.code == 0, said
    outcomes = [json.loads(line) for line in (tmp_path / "e" / "problems.jsonl").read_text().splitlines()]
    assert len(outcomes) == 8
    assert sum("512" in failure["reason"] for outcome in outcomes for failure in outcome["failures"]) == 4


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_exists_is_not_overwritten(run):
    before = tree(run)
    refused("train", run.parent / "recipe.toml", "--run", run, says=(str(run), "already contains a run", "--resume"))
    assert tree(run) == before


def test_resuming_what_is_not_there_starts_a_run_and_says_so(recipe, tmp_path):
    (tmp_path / "sp ace").mkdir()
    folder = tmp_path / "sp ace" / "run"
    said = sparring_("train", recipe(), "--run", folder, "--resume")
    assert said.code == 0, said
    assert f"nothing to resume in {folder}; starting a new run" in " ".join(said.err.split())
    assert f"to talk to it: sparring talk '{folder}'" in said.out
    again = sparring_("train", recipe(), "--run", folder, "--resume")
    assert "nothing to resume" not in again.err


def test_a_changed_recipe_is_refused_with_the_difference_named(run):
    before = tree(run)
    refused(
        "train", run.parent / "recipe.toml", "--run", run, "--resume", "--set", "phase.1.epochs=3",
        says=(str(run), "another recipe", "phase.1.epochs: 1 → 3"),
    )  # fmt: skip
    assert tree(run) == before


def test_a_folder_that_holds_something_else_is_left_as_it_is(recipe, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "checkpoints").write_text("chapter one")
    said = sparring_("train", recipe(), "--run", tmp_path / "thesis")
    assert (tmp_path / "thesis" / "checkpoints").read_text() == "chapter one"
    assert "Traceback" not in said.err
    assert said.code == 2


def test_a_file_where_the_folder_should_be_is_named(recipe, tmp_path):
    (tmp_path / "file").write_text("precious")
    for place in (tmp_path / "file", tmp_path / "file" / "deep"):
        refused("train", recipe(), "--run", place, says=("cannot write", str(place), "choose another folder"))
        refused("demo", "--methods", "sft", "--run", place, says=(str(place), "choose another folder"))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_that_cannot_be_written_to_is_named(recipe):
    """/proc refuses writers of all ranks, the superuser too."""
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc, which nobody can write to")
    refused("train", recipe(), "--run", "/proc/sparring", says=("cannot write /proc/sparring", "choose another folder"))


def test_a_folder_that_cannot_be_written_is_named_before_any_problem_is_asked(run, tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr("sparring.runs.evaluation.measure_problems", lambda *args, **more: measured.append(args))
    (tmp_path / "file").write_text("precious")
    refused("evaluate", run, "--run", tmp_path / "file" / "e", says=("cannot write", "choose another folder"))
    assert not measured
    assert (tmp_path / "file").read_text() == "precious"


# ── a run that goes wrong ───────────────────────────────────────────────────────────────────────────────────


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(recipe, tmp_path):
    said = sparring_(
        "train", recipe(), "--run", tmp_path / "run", "--set", "trainer.learning_rate=1e30", "--set", "run.save_every=8"
    )
    assert said.code == 2
    assert "Traceback" not in said.err
    line = said.err.splitlines()[-1]
    assert line.startswith("error: ")
    for part in ("phase 1 (sft), round 1", " is nan in step", "rows", "the last good checkpoint is"):
        assert part in line
    (saved,) = {path.parent for path in (tmp_path / "run" / "checkpoints").glob("*/state")}
    network = AutoModelForCausalLM.from_pretrained(saved)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_a_loss_that_is_no_number_promises_no_checkpoint_where_there_is_none(recipe, tmp_path):
    said = sparring_("train", recipe(), "--run", tmp_path / "run", "--set", "trainer.learning_rate=1e30")
    assert said.code == 2
    line = said.err.splitlines()[-1]
    assert " is nan in step" in line
    assert not list((tmp_path / "run").glob("checkpoints/*"))
    assert "the last good checkpoint" not in line


def test_a_script_that_runs_dry_stops_the_run_and_says_why(recipe, tmp_path):
    path = recipe(*discussant('by = "scripted"\nreplies = ["Look again."]\nloop = false'))
    said = sparring_(  # the learner, which nobody has taught, seldom ends a reply: that is not to count here
        "train", path, "--run", tmp_path / "run", "--set", "phase.1.problems=64", "--set", "phase.1.max_tokens=64",
        "--set", "run.max_learner_failures=1", "--set", "run.max_partner_failures=0",
    )  # fmt: skip
    assert said.code == 2
    line = said.err.splitlines()[-1]
    assert line.startswith("error: the partner failed in ")
    assert "the script has only 1 replies" in line
    assert "max_partner_failures" in line
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"


def test_an_interruption_is_one_line_and_can_be_gone_on_with(recipe, tmp_path, monkeypatch):
    def interrupt(*args, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sparring.training.trainer.Trainer.learn", interrupt)
        said = sparring_("train", recipe(), "--run", tmp_path / "run")
    assert said.code == 130
    assert said.err.splitlines()[-1] == "interrupted; to continue a run, add --resume"
    assert sparring_("train", recipe(), "--run", tmp_path / "run", "--resume").code == 0

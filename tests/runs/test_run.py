"""A run: its folder, its stages, and going on after a kill as if it had never stopped."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import time
import tomllib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import sparring
from sparring.common.errors import ConfigError, Failure, RunStopped, Skipped, Unavailable
from sparring.config.recipe import Recipe
from sparring.core.attempts import Serving
from sparring.core.episode import Episode
from sparring.core.evaluation import score
from sparring.core.rollout import check_failures, play
from sparring.inference.model import LanguageModel
from sparring.methods.saie import SAIE
from sparring.runs.display import Display
from sparring.runs.folder import branch
from sparring.runs.metrics import Metrics
from sparring.runs.run import train
from sparring.training import checkpoint

QUIET = Display(quiet=True)

SMALL = {
    "learner": {"model": "tiny", "slots": 32},
    "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 48, "development": 16, "test": 16},
    "phase": [
        {"method": "sft", "rounds": 2, "replay": 12, "max_tokens": 24},
        {"method": "saie", "rounds": 3, "problems": 16, "replay": 12, "max_tokens": 24, "discussant": {"by": "task"},
         "updates_per_round": "batch"},
        {"method": "tripost", "rounds": 2, "problems": 32, "replay": 12, "max_tokens": 24,
         "critic": {"by": "task"}, "editor": {"by": "task"}},
        {"method": "response_preference", "rounds": 2, "problems": 32, "replay": 12, "samples": 4, "max_tokens": 8,
         "judge": {"by": "task", "wrong": 0.3}, "length_penalty": "auto", "auto_problems": 8,
         "unreadable_share": 0.5, "trainer": {"batch_size": 1}},
    ],
    "trainer": {"learning_rate": 1e-3, "batch_size": 8},
    "run": {"evaluate_every": 40, "save_every": 8, "keep": 2, "threads": 1},
}  # fmt: skip


def small(**changes) -> Recipe:
    return Recipe.read(SMALL, [f"{key.replace('__', '.')}={value}" for key, value in changes.items()])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A run of all methods that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(small(), folder, display=QUIET)
    return folder


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "final" / "model.safetensors").read_bytes()


def metrics(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if "second" not in k} for line in lines]


# ── the folder ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_a_folder_that_other_tools_can_read(finished):
    told = json.loads((finished / "run.json").read_text())
    assert told["status"] == "finished"
    assert {"torch", "transformers", "sparring"} <= told["versions"].keys()
    assert Recipe.of(tomllib.loads((finished / "recipe.toml").read_text())).table() == small().table()
    rounds = sorted(path.relative_to(finished / "rounds").as_posix() for path in (finished / "rounds").glob("*/*"))
    assert rounds == [
        "1-sft/0001", "1-sft/0002", "2-saie/0001", "2-saie/0002", "2-saie/0003", "3-tripost/0001", "3-tripost/0002",
        "4-response_preference/0001", "4-response_preference/0002",
    ]  # fmt: skip
    episodes = [json.loads(line) for line in (finished / "rounds/2-saie/0001/episodes.jsonl").read_text().splitlines()]
    assert len(episodes) == 16
    assert not list(finished.rglob("*journal*"))
    assert json.loads((finished / "evaluation.json").read_text())["problems"] == 16


def test_a_checkpoint_loads_with_plain_transformers_and_knows_its_use(finished):
    final = finished / "checkpoints" / "final"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(final), AutoTokenizer.from_pretrained(final)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "(1+(2+3))="}], add_generation_prompt=True, return_tensors="pt"
    )
    assert model.generate(**prompt, max_new_tokens=4).shape[1] > prompt["input_ids"].shape[1]
    used = checkpoint.read_usage(final)
    assert (used.method, used.settings["samples"], used.layout) == ("response_preference", 4, "compact")
    opened = sparring.load_learner(final)
    assert (opened.answerer.name, opened.answerer.samples, opened.layout.name) == ("response_preference", 4, "compact")


def test_checkpoints_are_kept_as_told_and_the_newest_two_have_a_state(finished):
    numbered = sorted(path for path in (finished / "checkpoints").iterdir() if path.name.isdigit())
    assert len(numbered) == 2
    assert [(path / "state").exists() for path in numbered] == [True, True]
    assert (finished / "checkpoints" / "best" / "sparring.json").exists()


def test_evaluations_and_checkpoints_are_counted_in_problems_not_rounds(finished):
    at = [line["at"] for line in metrics(finished) if line["kind"] == "development"]
    total = 2 * 48 + 3 * 16 + 2 * 32 + 2 * 32
    assert at == sorted(set(at))
    assert {48 // 40 * 40 // 40, *[a // 40 for a in at]} >= set(range(1, total // 40 + 1))


def test_the_best_learner_is_the_first_with_the_highest_development_score(finished):
    lines = [line for line in metrics(finished) if line["kind"] == "development"]
    best = max(lines, key=lambda line: (score(line), -line["at"]))
    method = small().phases[best["phase"] - 1].method.name
    assert checkpoint.read_usage(finished / "checkpoints" / "best").method == method


def test_the_same_recipe_gives_the_same_bits(finished, tmp_path):
    train(small(), tmp_path / "again", display=QUIET)
    assert weights(tmp_path / "again") == weights(finished)
    assert metrics(tmp_path / "again") == metrics(finished)
    train(small(run__seed=1), tmp_path / "other", display=QUIET)
    assert weights(tmp_path / "other") != weights(finished)


# ── going on ────────────────────────────────────────────────────────────────────────────────────────────────


def sitting(folder: Path) -> None:
    """Goes on with a run of SMALL, in a process that is there to be killed."""
    train(small(), folder, resume=True, display=QUIET)


# A process that has imported everything and forks the sittings: each then starts at once.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__])


def entries(folder: Path) -> int:
    """How many files and folders are in `folder` while another process works there (what vanishes is passed over)."""
    return sum(len(files) + len(folders) for _, folders, files in os.walk(folder))


def killed_and_resumed(folder: Path, kills: int, rng: random.Random) -> int:
    """Runs SMALL in processes of its own, of which `kills` are killed; how many really were."""
    killed = 0
    for _ in range(kills):
        process = FORKED.Process(target=sitting, args=(folder,))
        process.start()
        while not (folder / "recipe.toml").exists() and process.is_alive():
            time.sleep(0.02)
        marks = entries(folder)
        patience = rng.randrange(1, 12)  # files to wait for: kills fall into all stages, however slow the machine
        while process.is_alive() and abs(entries(folder) - marks) < patience:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        process.kill()
        process.join()
        killed += process.exitcode != 0
    process = FORKED.Process(target=sitting, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return killed


def assert_as_if_never_stopped(folder: Path, whole: Path) -> None:
    assert metrics(folder) == metrics(whole)
    assert weights(folder) == weights(whole)
    for path in whole.rglob("experience.jsonl"):
        assert (folder / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_killed_at_five_points_it_ends_as_if_it_had_never_stopped(finished, tmp_path):
    assert killed_and_resumed(tmp_path / "run", 5, random.Random(0)) >= 4
    assert_as_if_never_stopped(tmp_path / "run", finished)


def test_stopped_between_steps_of_later_rounds_it_replays_what_it_would_have_replayed(finished, tmp_path, monkeypatch):
    """Each time after a checkpoint in mid-round, whose memory must not hold the round's own experience."""
    stops = [("step", *place) for place in ((1, 2, 3), (2, 3, 1), (3, 2, 4), (4, 2, 2))]

    def record(self, key, values):
        line = real(self, key, values)
        if stops and key == stops[0]:
            raise RunStopped(f"pulled the plug {stops.pop(0)}")
        return line

    real = Metrics.record
    monkeypatch.setattr(Metrics, "record", record)
    while stops:
        with pytest.raises(RunStopped, match="pulled the plug"):
            train(small(), tmp_path / "run", resume=True, display=QUIET)
    train(small(), tmp_path / "run", resume=True, display=QUIET)
    assert_as_if_never_stopped(tmp_path / "run", finished)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_fifty_points_it_ends_as_if_it_had_never_stopped(seed, finished, tmp_path):
    killed_and_resumed(tmp_path / "run", 5, random.Random(seed + 1))
    assert_as_if_never_stopped(tmp_path / "run", finished)


def stopped_at_reply(number: int, monkeypatch) -> list:
    """Stop the run when this reply is sampled; return the list of all that are."""
    sampled: list = []
    real = LanguageModel.sample

    async def counted(self, request):
        found = await real(self, request)
        sampled.append((request.ids, request.stream))
        if len(sampled) == number:
            raise RunStopped("pulled the plug")
        return found

    monkeypatch.setattr(LanguageModel, "sample", counted)
    return sampled


def test_a_resumed_run_samples_nothing_twice(finished, tmp_path, monkeypatch):
    """Stopped while the last reply of a round is awaited: what was sampled before comes from the journal."""
    sampled = stopped_at_reply(20, monkeypatch)
    with pytest.raises(RunStopped, match="pulled the plug"):
        train(small(run__evaluate_every=0, run__evaluate_problems=0), tmp_path / "run", display=QUIET)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    written = sum(len(path.read_text().splitlines()) for path in (tmp_path / "run").rglob("journal.jsonl"))
    assert written >= 3  # of the round that was stopped; the first one's replies are in its episodes
    before = set(sampled[:19])
    del sampled[:]
    sampled += [None] * 100  # no further stop
    train(small(run__evaluate_every=0, run__evaluate_problems=0), tmp_path / "run", resume=True, display=QUIET)
    assert not before & set(sampled)


def test_a_folder_with_a_run_is_not_overwritten_and_a_changed_recipe_is_refused(finished):
    with pytest.raises(ConfigError, match="already contains a run; add --resume to continue it"):
        train(small(), finished, display=QUIET)
    with pytest.raises(ConfigError, match=r"another recipe \(phase.2.rounds: 3 → 4\)"):
        train(small(phase__saie__rounds=4), finished, resume=True, display=QUIET)


def test_a_finished_run_resumed_stays_as_it_is_and_asks_nothing(finished, monkeypatch):
    before = weights(finished)
    monkeypatch.delattr(LanguageModel, "sample")
    train(small(), finished, resume=True, display=QUIET)
    assert weights(finished) == before


def test_a_branch_has_its_beginning_behind_it(tmp_path):
    beginning = Recipe.of({**SMALL, "phase": SMALL["phase"][:1]})
    train(beginning, tmp_path / "first", display=QUIET)
    branch(tmp_path / "first", tmp_path / "second", small())
    train(small(), tmp_path / "second", resume=True, display=QUIET)
    tests = [line["phase"] for line in metrics(tmp_path / "second") if line["kind"] == "test"]
    assert tests == [1, 4]
    with pytest.raises(ConfigError, match="is not the beginning of this recipe"):
        branch(tmp_path / "first", tmp_path / "third", small(run__seed=3))


# ── choosing problems ───────────────────────────────────────────────────────────────────────────────────────


def asked(folder: Path) -> list[str]:
    paths = sorted(folder.glob("rounds/*/*/episodes.jsonl"))
    return [json.loads(line)["problem"]["id"] for path in paths for line in path.read_text().splitlines()]


def test_fixed_problems_are_asked_pass_by_pass_and_fresh_ones_never_twice(finished, tmp_path):
    fixed = asked(finished)
    assert sorted(fixed[:48]) == sorted(fixed[48:96]) == sorted(set(fixed))
    assert fixed[:48] != fixed[48:96]
    train(small(task__problems="fresh", run__evaluate_every=0), tmp_path / "fresh", display=QUIET)
    fresh = asked(tmp_path / "fresh")
    assert len(fresh) == len(set(fresh)) == 2 * 48 + 3 * 16 + 2 * 32 + 2 * 32
    held_out = {p.id for split in ("development", "test") for p in small().task.problems(split)}
    assert not held_out & set(fresh)


def test_a_task_without_right_answers_is_evaluated_by_the_judge(tmp_path):
    rows = [{"prompt": f"What is {n}?", "rationale": f"{n} it is"} for n in range(20)]
    (tmp_path / "open.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {
        "task": {"kind": "table", "train": str(tmp_path / "open.jsonl")},
        "phase": [{"method": "response_preference", "samples": 2, "max_tokens": 4,
                   "judge": {"by": "scripted", "replies": ["[[A]]"]}}],
        "run": {"threads": 1, "max_learner_failures": 1.0, "max_partner_failures": 1.0},
    }  # fmt: skip
    result = train(Recipe.of(table), tmp_path / "run", display=QUIET)
    assert result.test["primary"] == "win_rate"
    assert result.score.count == 0  # all replies are cut at four tokens, so there is nothing to compare


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_loss_that_is_no_number_names_the_round_and_keeps_the_last_good_checkpoint(tmp_path):
    recipe = small(trainer__learning_rate=1e30, run__evaluate_every=0, run__save_every=8)
    with pytest.raises(
        RunStopped, match=r"phase 1 \(sft\), round 1: the .* is nan in step \d+, rows .*; the last good"
    ):
        train(recipe, tmp_path / "run", display=QUIET)
    saved = checkpoint.latest(tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(saved)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full exists on Linux only")
def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path):
    folder = tmp_path / "run"
    (folder).mkdir()
    (folder / "run.json.partial").symlink_to("/dev/full")
    with pytest.raises(RunStopped, match=r"run.json: No space left on device; free space"):
        train(small(), folder, display=QUIET)


def test_a_partner_that_fails_too_often_stops_the_run_with_the_commonest_causes(script):
    class Dumb:
        async def remark(self, *_):
            raise Unavailable("the line is dead")

    task, method = small().task, SAIE(Dumb())
    problems = task.problems("train")[:16]
    found = asyncio.run(play(method, task, problems, lambda problem: script(["1"]), (0,), at_once=4, serving=Serving()))
    assert [episode.problem for episode in found] == list(problems)
    with pytest.raises(
        RunStopped, match=r"the partner failed in 16 of 16 .* 16 × discussant: Unavailable: the line is dead"
    ):
        check_failures(found, 0.2, 0.9)
    check_failures(found, 1.0, 0.9)
    cut = asyncio.run(
        play(method, task, problems, lambda problem: script(["1"], finish="length"), (0,), at_once=4, serving=Serving())
    )
    with pytest.raises(
        RunStopped, match=r"the learner failed in 16 of 16 .*, for example .1.; raise max_tokens in a new run"
    ):
        check_failures(cut, 0.2, 0.9)


def test_the_conversations_of_a_round_that_fails_too_often_are_kept_until_it_is_played_again(tmp_path):
    saie = {"method": "saie", "problems": 8, "max_tokens": 2, "discussant": {"by": "task"}}
    recipe = {**SMALL, "phase": [saie]}
    with pytest.raises(RunStopped, match=r"failed in 8 of 8 .*; the conversations are in .*failed_episodes.jsonl$"):
        train(Recipe.of(recipe), tmp_path / "run", display=QUIET)
    path = tmp_path / "run/rounds/1-saie/0001/failed_episodes.jsonl"
    failures = [failure for line in path.read_text().splitlines() for failure in json.loads(line)["failures"]]
    assert [failure["kind"] for failure in failures] == ["CutOff"] * 8
    assert all(failure["words"] for failure in failures)  # what the learner wrote before the cut
    patient = {**recipe, "run": {**SMALL.get("run", {}), "max_learner_failures": 1.0}}
    train(Recipe.of(patient), tmp_path / "run", display=QUIET, resume=True)
    assert not path.exists()


def test_what_a_person_skips_is_no_failure_that_stops_a_run():
    problems = small().task.problems("train")[:4]
    skipped = Failure.of(Skipped("ann: skipped"), "discussant")
    check_failures([Episode(p, p.chat, failures=(skipped,), failed=True) for p in problems], 0.2, 0.9)
    lost = Failure.of(Unavailable("the line is dead"), "discussant")
    found = [Episode(p, p.chat, failures=(skipped, lost), failed=True) for p in problems]
    with pytest.raises(RunStopped, match=r"under .run.\): 4 × discussant: Unavailable: the line is dead$"):
        check_failures(found, 0.2, 0.9)


def test_it_runs_inside_a_running_event_loop(tmp_path):
    async def notebook():
        recipe = Recipe.of({**SMALL, "phase": SMALL["phase"][:1]})
        return train(recipe, tmp_path / "run", display=QUIET)

    assert asyncio.run(notebook()).test["problems"] == 16

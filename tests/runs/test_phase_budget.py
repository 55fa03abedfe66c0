"""A phase that ends when its gradient tokens or its seconds are spent."""

from __future__ import annotations

import itertools
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparring.common.errors import ConfigError, RunStopped
from sparring.config.recipe import Recipe
from sparring.runs.bundle import bundle
from sparring.runs.display import Display
from sparring.runs.estimate import estimate
from sparring.runs.replay import replay
from sparring.runs.run import train
from sparring.training.trainer import Trainer
from tests.runs.test_run import asked, weights

QUIET = Display(quiet=True)
TASK = {"kind": "multistep_arithmetic", "range": "easy", "train": 16, "development": 4, "test": 4}
SFT = {"method": "sft", "max_tokens": 24}


def recipe(*phases: dict, task: dict | None = None, **run) -> Recipe:
    settings = {"threads": 1, "max_learner_failures": 1.0, **run}
    trainer = {"learning_rate": 1e-3, "batch_size": 4, "lr_schedule": "linear"}
    return Recipe.of({"task": {**TASK, **(task or {})}, "phase": list(phases), "trainer": trainer, "run": settings})


def lines(folder: Path, kind: str, phase: int = 1) -> list[dict]:
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if (line["kind"], line["phase"]) == (kind, phase)]


def one_pass() -> int:
    """The gradient tokens of a pass over the rationales: a byte is a token, and a stop token ends each."""
    return sum(len(problem.rationale) + 1 for problem in recipe(SFT).task.problems("train"))


def test_gradient_tokens_are_counted_over_the_rounds_of_a_phase(tmp_path):
    train(recipe({**SFT, "rounds": 2, "epochs": 3}, SFT), tmp_path / "run", display=QUIET)
    assert [line["gradient_tokens"] for line in lines(tmp_path / "run", "round")] == [3 * one_pass(), 6 * one_pass()]
    assert lines(tmp_path / "run", "round", 2)[0]["gradient_tokens"] == one_pass()


def test_both_sides_of_a_pair_count(tmp_path):
    phase = {"method": "response_preference", "samples": 4, "max_tokens": 8, "judge": {"by": "task", "wrong": 0.5}}
    warm_up = {**SFT, "learn": "answer", "epochs": 10}
    train(recipe(warm_up, phase), tmp_path / "run", display=QUIET)
    path = tmp_path / "run/rounds/2-response_preference/0001/experience.jsonl"
    sides = [pair[side] for pair in map(json.loads, path.read_text().splitlines()) for side in ("chosen", "rejected")]
    assert sides
    stops = sum(not side.get("open") for side in sides)
    expected = stops + sum(len(part["ids"]) for side in sides for part in side["parts"])
    assert lines(tmp_path / "run", "round", 2)[-1]["gradient_tokens"] == expected


def test_a_phase_ends_after_the_step_that_reaches_its_gradient_tokens(tmp_path):
    budget = int(2.4 * one_pass())
    train(recipe({**SFT, "max_gradient_tokens": budget}), tmp_path / "run", display=QUIET)
    steps, rounds = lines(tmp_path / "run", "step"), lines(tmp_path / "run", "round")
    assert len(rounds) == 3  # as many as the budget needs
    assert steps[-1]["gradient_tokens"] >= budget > steps[-2]["gradient_tokens"]
    assert rounds[-1]["gradient_tokens"] == steps[-1]["gradient_tokens"]
    assert rounds[-1]["problems"] == 4 * len(steps)
    (development,) = lines(tmp_path / "run", "development")
    assert (development["round"], development["at"]) == (3, 4 * len(steps))


def test_rounds_limit_a_phase_with_a_budget(tmp_path):
    train(recipe({**SFT, "rounds": 2, "max_gradient_tokens": 10**9}), tmp_path / "run", display=QUIET)
    assert len(lines(tmp_path / "run", "round")) == 2


def test_without_a_budget_a_phase_has_one_round_and_the_recipe_says_so():
    assert recipe(SFT).phases[0].rounds == 1
    open_ended = recipe({**SFT, "max_seconds": 2})
    assert open_ended.phases[0].rounds is None
    assert Recipe.of(tomllib.loads(open_ended.toml())) == open_ended
    for key in ("max_gradient_tokens", "max_seconds"):
        with pytest.raises(ConfigError, match=rf"{key} = 0: input should be greater than 0"):
            recipe({**SFT, key: 0})


def test_the_learning_rate_falls_to_zero_with_the_budget_for_a_phase_and_within_each_round(tmp_path, monkeypatch):
    rates: list[float] = []
    step = Trainer._step

    def noted(self, *args):
        rates.append(self.learning_rate())
        return step(self, *args)

    monkeypatch.setattr(Trainer, "_step", noted)
    budget = 2 * one_pass()
    train(recipe({**SFT, "max_gradient_tokens": budget}), tmp_path / "run", display=QUIET)
    spent = [0, *(line["gradient_tokens"] for line in lines(tmp_path / "run", "step"))]
    assert rates == pytest.approx([1e-3 * (1 - tokens / budget) for tokens in spent[:-1]])
    rates.clear()
    programs = {role: {"by": "task"} for role in ("critic", "editor", "author")}
    tripost = {"method": "tripost", **programs, "rounds": 2, "max_gradient_tokens": 10**9}
    train(recipe(tripost), tmp_path / "rounds", display=QUIET)
    assert rates[0] == 1e-3
    assert rates.count(1e-3) == 2  # the optimiser of tripost lives for a round, and so does its schedule
    rates.clear()
    first, second = lines(tmp_path / "rounds", "round")
    used = [first["gradient_tokens"], second["gradient_tokens"]]
    cut = used[0] + (used[1] - used[0]) // 2  # ends the second round half-way
    train(recipe({**tripost, "rounds": 9, "max_gradient_tokens": cut}), tmp_path / "cut", display=QUIET)
    last = lines(tmp_path / "cut", "step")[-2]["gradient_tokens"]
    assert rates.count(1e-3) == 2
    assert rates[-1] == pytest.approx(1e-3 * (1 - (last - used[0]) / (cut - used[0])))  # it falls to zero by then


class Stopped(RuntimeError):
    """Stands for a kill."""


def killed_after(monkeypatch, steps: int):
    """Let a run die after so many steps of its process."""
    step, left = Trainer._step, itertools.count(steps, -1)

    def fatal(self, *args):
        if next(left) == 0:
            raise Stopped
        return step(self, *args)

    monkeypatch.setattr(Trainer, "_step", fatal)


@pytest.mark.parametrize("after", [3, 6, 9])  # in the first round; in the second; in the next phase
def test_a_killed_run_ends_with_the_same_weights_and_counts(after, tmp_path, monkeypatch):
    saie = {"method": "saie", "rounds": 1, "problems": 8, "max_tokens": 24, "discussant": {"by": "placebo"}}
    plan = recipe({**SFT, "max_gradient_tokens": int(1.8 * one_pass())}, {**saie, "updates_per_round": 4}, save_every=4)
    train(plan, tmp_path / "whole", display=QUIET)
    assert len(lines(tmp_path / "whole", "step")) == 8
    with monkeypatch.context() as patch:
        killed_after(patch, after)
        with pytest.raises(Stopped):
            train(plan, tmp_path / "cut", display=QUIET)
    train(plan, tmp_path / "cut", display=QUIET, resume=True)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    for phase in (1, 2):
        for kind in ("step", "round"):
            one, other = (lines(tmp_path / name, kind, phase) for name in ("whole", "cut"))
            assert [line["gradient_tokens"] for line in one] == [line["gradient_tokens"] for line in other]


def test_a_run_that_was_stopped_at_the_last_step_of_its_budget_takes_no_other(tmp_path, monkeypatch):
    plan = recipe({**SFT, "max_gradient_tokens": 1}, save_every=4)  # saved at the step that ends the phase
    train(plan, tmp_path / "whole", display=QUIET)
    with monkeypatch.context() as patch:
        patch.setattr("sparring.runs.run.Run._is_spent", lambda self, phase: 1 / 0 if self.position.step else False)
        with pytest.raises(ZeroDivisionError):
            train(plan, tmp_path / "cut", display=QUIET)
    train(plan, tmp_path / "cut", display=QUIET, resume=True)
    assert len(lines(tmp_path / "cut", "step")) == 1
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.mark.parametrize("problems", ["fixed", "fresh"])
def test_the_next_phase_goes_on_with_the_problems_after_the_drawn_ones(problems, tmp_path):
    first = {**SFT, "problems": 4, "max_gradient_tokens": one_pass() // 2}
    train(recipe(first, {**SFT, "problems": 4}, task={"problems": problems}), tmp_path / "run", display=QUIET)
    train(recipe({**SFT, "rounds": 4, "problems": 4}, task={"problems": problems}), tmp_path / "all", display=QUIET)
    assert asked(tmp_path / "run") == asked(tmp_path / "all")[: len(asked(tmp_path / "run"))]
    assert len(asked(tmp_path / "run")) >= 8


def ticking(monkeypatch) -> None:
    """Let a second pass whenever the run looks at the clock."""
    monkeypatch.setattr("sparring.runs.run.time", SimpleNamespace(monotonic=itertools.count().__next__))


@pytest.mark.parametrize("seconds", [6.0, 8.0])  # after a round; in the middle of one
def test_a_phase_ends_after_its_seconds_and_a_replay_after_the_same_step(seconds, tmp_path, monkeypatch):
    plan = recipe({**SFT, "max_seconds": seconds}, save_every=4)
    with monkeypatch.context() as patch:
        ticking(patch)
        train(plan, tmp_path / "run", display=QUIET)
    steps, rounds = lines(tmp_path / "run", "step"), lines(tmp_path / "run", "round")
    assert (len(steps) % 4 == 0) == (seconds == 6)
    assert all(line["seconds"] < seconds for line in [*steps[:-1], *rounds[:-1]])
    assert rounds[-1]["seconds"] >= seconds
    bundle(tmp_path / "run", tmp_path / "run.tar.gz")
    again = replay(tmp_path / "run.tar.gz", tmp_path / "again", display=QUIET)  # by the real clock, which is slower
    assert again.same
    assert [line["seconds"] for line in lines(tmp_path / "again", "step")] == [line["seconds"] for line in steps]


def test_a_resumed_run_has_spent_the_seconds_of_the_steps_that_it_repeats(tmp_path, monkeypatch):
    plan = recipe({**SFT, "max_seconds": 9.0})  # no checkpoint before the end
    with monkeypatch.context() as patch:
        ticking(patch)
        killed_after(patch, 3)
        with pytest.raises(Stopped):
            train(plan, tmp_path / "run", display=QUIET)
    before = [line["seconds"] for line in lines(tmp_path / "run", "step")]
    with monkeypatch.context() as patch:
        patch.setattr("sparring.runs.run.time", SimpleNamespace(monotonic=itertools.count(step=50).__next__))
        train(plan, tmp_path / "run", display=QUIET, resume=True)
    after = [line["seconds"] for line in lines(tmp_path / "run", "step")]
    assert after[:3] == before
    assert len(after) == 4  # a step of fifty seconds or more


def test_a_phase_that_would_never_reach_its_budget_is_stopped(tmp_path):
    saie = {"method": "saie", "problems": 1, "max_tokens": 4, "discussant": {"by": "placebo"}, "gold_weight": 0}
    plan = recipe({**saie, "learn": "own_correct_revision", "max_gradient_tokens": 100})
    with pytest.raises(RunStopped, match=r"phase 1 .saie. had nothing to train on in 20 rounds, .* set rounds"):
        train(plan, tmp_path / "run", display=QUIET)


def test_an_estimate_says_that_the_rounds_are_unknown():
    discussant = {"by": "endpoint", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    saie = {"method": "saie", "problems": 4, "max_tokens": 8, "discussant": discussant}
    table = {**recipe({**saie, "max_seconds": 60}).table(), "budget": {"run": {"calls": 100}}}
    found = estimate(Recipe.of(table), 2)
    assert [(line.calls, line.rounds) for line in found.lines] == [(4, 1)]
    assert "1-saie: a budget ends the phase, so its number of rounds is unknown; one round is counted" in found.notes
    assert [note for note in found.notes if "budget.run.calls = 100: the number of rounds is unknown" in note]
    limited = Recipe.of({**table, "phase": [{**saie, "max_seconds": 60, "rounds": 3}]})
    assert "budget.run.calls = 100 is enough: the run uses at most 12" in estimate(limited, 2).notes

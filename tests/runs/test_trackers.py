"""Experiment trackers: each recorded line once, whatever becomes of the run or of the tracker."""

from __future__ import annotations

import json
import threading
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate import tracking

from sparring.common import extras
from sparring.common.errors import ConfigError, RunStopped
from sparring.config.adjustable import may_change
from sparring.config.recipe import Recipe
from sparring.runs.display import Display
from sparring.runs.folder import branch
from sparring.runs.run import train
from sparring.runs.trackers import figures
from sparring.training.learner import Learner
from tests.runs.test_run import weights

QUIET = Display(quiet=True)
SMALL = {
    "learner": {"model": "tiny"},
    "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 8, "development": 2, "test": 2},
    "phase": [{"method": "sft", "rounds": 3, "max_tokens": 8}],
    "trainer": {"learning_rate": 1e-3, "batch_size": 2, "lr_schedule": "linear"},
    "run": {"threads": 1, "save_every": 8, "evaluate_every": 8},
}
ENDPOINT = {"by": "endpoint", "model": "m", "base_url": "http://x/v1", "extra_body": {"key": "s3cret"}}


def recipe(*trackers: str, **changes) -> Recipe:
    return Recipe.read(
        SMALL, [f"run.trackers={json.dumps(trackers)}", *(f"{k.replace('__', '.')}={v}" for k, v in changes.items())]
    )


class StandIn(tracking.GeneralTracker):
    """A tracker with accelerate's interface that remembers what it got."""

    name = "stand-in"
    requires_logging_directory = True
    fails_at, waits_for = 10**9, None

    def __init__(self, project: str, **settings) -> None:
        self.opened.append((project, settings))

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values: dict) -> None:
        self.settings.update(values)

    def log(self, values: dict, step: int | None = None, **kwargs) -> None:
        if self.waits_for is not None and not self.waits_for.wait(30):
            raise AssertionError("the run waited for the tracker")
        if len(self.logged) >= self.fails_at:
            raise ConnectionError("no route to host")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished.append(True)


@pytest.fixture
def stand_in(monkeypatch) -> type[StandIn]:
    class Fresh(StandIn):
        opened, settings, logged, finished = [], {}, [], []

    for name in ("wandb", "trackio"):
        monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, Fresh)
    monkeypatch.setattr(extras, "find_spec", lambda name: SimpleNamespace(origin=name))
    return Fresh


class Stops(Display):
    """Interrupts the run at its seventh step, after the third checkpoint's line was recorded."""

    steps = 0

    def step(self, problems: float, loss: float) -> None:
        self.steps += 1
        if self.steps == 7:
            raise KeyboardInterrupt


class Listens(Display):
    """Keeps what it was told to print."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []
        self.trained = threading.Event()

    def say(self, text: str) -> None:
        self.said.append(text)
        if "is finished" in text:
            self.trained.set()


def lines(folder: Path) -> list[dict]:
    return list(map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()))


@pytest.fixture(scope="module")
def untracked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("untracked") / "run"
    train(recipe(), folder, display=QUIET)
    return folder


def test_a_tracker_gets_each_line_once_at_the_number_of_steps_taken(stand_in, untracked, tmp_path):
    train(recipe("wandb"), tmp_path / "run", display=QUIET)
    assert weights(tmp_path / "run") == weights(untracked)
    recorded = lines(tmp_path / "run")
    assert [values for _, values in stand_in.logged] == [figures(line) for line in recorded]
    steps = [step for step, values in stand_in.logged if "step/loss" in values]
    assert steps == list(range(1, 13))  # 3 rounds of 8 problems, 2 a step
    assert [values["problems"] for _, values in stand_in.logged if "step/loss" in values] == list(range(2, 25, 2))
    assert [step for step, values in stand_in.logged if "development/accuracy" in values] == [4, 8, 12]
    assert stand_in.logged[-1][0] == 12
    assert "test_final/accuracy_low" in stand_in.logged[-1][1]
    assert stand_in.settings["trainer.learning_rate"] == 1e-3
    assert stand_in.finished == [True]
    run = json.loads((tmp_path / "run" / "run.json").read_text())["id"]
    assert stand_in.opened[0][1]["id"] == run


def test_learning_rate_norm_and_speed_are_in_the_record(untracked):
    steps = [line for line in lines(untracked) if line["kind"] == "step"]
    # linear over the 24 problems of the phase: the step that starts after n of them has 1e-3 * (1 - n / 24)
    assert [line["learning_rate"] for line in steps] == pytest.approx([1e-3 * (1 - n / 24) for n in range(0, 24, 2)])
    assert all(line["gradient_norm"] > 0 and line["trained_tokens_per_second"] > 0 for line in steps)
    rounds = [line for line in lines(untracked) if line["kind"] == "round"]
    assert [line["problems"] for line in rounds] == [8, 16, 24]


def test_a_resumed_run_sends_no_step_twice_and_a_new_tracker_gets_all_of_them(stand_in, untracked, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(recipe("wandb"), tmp_path / "run", display=Stops(quiet=True))
    before = len(stand_in.logged)
    assert [step for step, values in stand_in.logged if "step/loss" in values] == list(range(1, 8))
    train(recipe("wandb", "trackio"), tmp_path / "run", resume=True, display=QUIET)
    assert weights(tmp_path / "run") == weights(untracked)
    recorded = [figures(line) for line in lines(tmp_path / "run")]
    after = [values for _, values in stand_in.logged]
    assert all(after.count(values) == 2 for values in recorded if "step/loss" in values)  # once for each tracker
    assert len(after) == 2 * len(recorded)
    assert after[before : 2 * before] == recorded[:before]  # trackio catches up first


def test_a_callback_that_stops_the_run_keeps_no_line_from_the_trackers(stand_in, tmp_path):
    def stop(result):
        raise RunStopped("good enough")

    with pytest.raises(RunStopped, match="good enough"):
        train(recipe("wandb"), tmp_path / "run", display=QUIET, on_evaluation=stop)
    assert [values for _, values in stand_in.logged] == [figures(line) for line in lines(tmp_path / "run")]
    assert "development/accuracy" in stand_in.logged[-1][1]


def test_a_branch_of_a_run_is_a_run_of_its_own_to_its_trackers(stand_in, tmp_path):
    train(recipe("wandb"), tmp_path / "run", display=QUIET)
    branch(tmp_path / "run", tmp_path / "branch", recipe("wandb"))
    assert not (tmp_path / "branch" / "trackers.json").exists()


def test_a_tracker_that_fails_costs_one_warning_and_nothing_else(stand_in, untracked, tmp_path):
    stand_in.fails_at = 5
    display = Listens()
    train(recipe("wandb", "trackio"), tmp_path / "run", display=display)
    warnings = sorted(line for line in display.said if line.startswith("warning"))
    assert len(warnings) == 2
    assert "tracker trackio failed (no route to host)" in warnings[0]
    assert weights(tmp_path / "run") == weights(untracked)


def test_a_run_does_not_wait_for_a_slow_tracker(stand_in, tmp_path):
    display = Listens()
    stand_in.waits_for = display.trained
    train(recipe("wandb"), tmp_path / "run", display=display)
    assert not [line for line in display.said if line.startswith("warning")]
    assert len(stand_in.logged) == len(lines(tmp_path / "run"))


def test_a_missing_package_is_named_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.setattr(Learner, "load", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(ConfigError, match=r"the tracker 'comet_ml' needs comet_ml, .* pip install comet_ml$"):
        train(recipe("comet_ml"), tmp_path / "run", display=QUIET)


def test_a_folder_with_the_name_of_a_package_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "wandb_x").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="needs wandb_x, which is not installed: pip install wandb_x"):
        extras.need("wandb_x", "the tracker")


def test_a_tracker_that_does_not_start_is_refused_in_one_line(stand_in, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no API key configured\nmore")

    monkeypatch.setattr(stand_in, "__init__", refuse)
    with pytest.raises(ConfigError, match=r"wandb does not start \(no API key configured\); .* take it out"):
        train(recipe("wandb"), tmp_path / "run", display=QUIET)


def test_trackers_are_a_word_or_a_list_of_known_names_and_may_change():
    assert Recipe.read(SMALL, ["run.trackers=mlflow"]).run.trackers == ["mlflow"]
    assert may_change("run.trackers")
    with pytest.raises(ConfigError, match=r"trackers.*'tensorboard', 'wandb', 'mlflow', 'trackio' or 'comet_ml'"):
        Recipe.read(SMALL, ["run.trackers=wandbb"])


def test_what_may_be_a_secret_is_not_sent(stand_in, tmp_path, monkeypatch):
    plan = recipe("wandb", phase__1__problems=2)
    table = {**plan.table(), "phase": [{"method": "saie", "discussant": ENDPOINT}]}
    monkeypatch.setattr(Recipe, "table", lambda _: table)
    train(plan, tmp_path / "run", display=QUIET)
    sent = {key: value for key, value in stand_in.settings.items() if "extra_body" in key}
    assert sent
    assert "s3cret" not in str(sent)


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_holds_every_step_once_after_a_stop(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(recipe("tensorboard"), tmp_path / "run", display=Stops(quiet=True))
    train(recipe("tensorboard"), tmp_path / "run", resume=True, display=QUIET)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("step/loss")]
    recorded = [line["loss"] for line in lines(tmp_path / "run") if line["kind"] == "step"]
    assert [step for step, _ in losses] == list(range(1, 13))
    assert [value for _, value in losses] == pytest.approx(recorded)

"""A run that is stopped has saved what it had learnt, and goes on from there to the same weights."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from sparring.common.errors import RunStopped
from sparring.config.recipe import Recipe
from sparring.runs.display import Display
from sparring.runs.round import Round
from sparring.runs.run import Run, train
from sparring.runs.selection import Selection
from sparring.training import checkpoint

QUIET = Display(quiet=True)
RECIPE = Recipe.of({
    "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 24, "development": 4, "test": 4},
    "phase": [{"method": "sft", "rounds": 2, "problems": 12, "epochs": 2, "trainer": {"batch_size": 4}}],
    "run": {"threads": 1, "evaluate_every": 0, "max_learner_failures": 1.0},
})  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of the same run, never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(RECIPE, folder, display=QUIET)
    return folder


def stop_at(monkeypatch, place) -> None:
    """Stop the run at a `place`: (class, method, number of the call, what stops it)."""
    owner, name, call, stop = place
    original, calls = getattr(owner, name), []

    def counted(self, *args, **more):
        calls.append(name)
        if len(calls) == call:
            stop()
        return original(self, *args, **more)

    monkeypatch.setattr(owner, name, counted)


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def fail() -> None:
    raise RunStopped("the judge is away")


@pytest.mark.parametrize(
    ("place", "saved"),
    [
        ((Run, "_record", 3, press_ctrl_c), (0, 0, 3)),  # in the middle of the first round
        ((Run, "_record", 8, press_ctrl_c), (0, 1, 2)),
        ((Round, "experience", 2, press_ctrl_c), (0, 1, 0)),  # while the second round is played
        ((Selection, "develop", 1, fail), (0, 2, 0)),  # after the last round
    ],
)
def test_a_run_that_is_stopped_goes_on_where_it_was(place, saved, whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    stop_at(monkeypatch, place)
    with pytest.raises((KeyboardInterrupt, RunStopped)):
        train(RECIPE, folder, display=QUIET)
    position = checkpoint.read_state(checkpoint.latest(folder)).position
    assert (position.phase, position.round, position.step) == saved
    monkeypatch.undo()
    train(RECIPE, folder, resume=True, display=QUIET)
    final = Path("checkpoints") / "final" / "model.safetensors"
    assert (folder / final).read_bytes() == (whole / final).read_bytes()


def test_a_run_that_is_stopped_before_it_learnt_saves_nothing(tmp_path, monkeypatch):
    stop_at(monkeypatch, (Round, "experience", 1, press_ctrl_c))
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, tmp_path / "run", display=QUIET)
    assert checkpoint.latest(tmp_path / "run") is None

"""All state of a run, saved and restored; and how a saved learner is to be used.

A checkpoint is a folder in the Hugging Face format with two additions: `sparring.json`, the method and settings by
which the learner answers, and in the newest one `state/`, what a run needs to go on from it as if it had never stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from sparring.errors import ConfigError
from sparring.experience import Experience
from sparring.files import adapter, read_json, read_jsonl, write_json, write_jsonl, writing
from sparring.learner import Learner
from sparring.model_source import USAGE, Quantization, Thoughts


@dataclass(frozen=True)
class Usage:
    """How a learner is to be used: its method with the settings of `answer`, the layout of its answers, how its own
    thoughts are treated, and in how few bits its adapters knew the weights that they adapt."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "lines"
    thinking: Thoughts = "off"
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Position:
    """How far a run has come: steps done in a round of a phase (counted from 0), and problems seen in all."""

    phase: int = 0
    round: int = 0
    step: int = 0
    problems: float = 0.0


@dataclass(frozen=True)
class State:
    """What a run goes on from, besides the weights themselves."""

    position: Position
    weights: str
    training: dict[str, Any]
    memory: tuple[Experience, ...] = ()


def save(folder: Path, learner: Learner, usage: Usage, state: State | None = None) -> None:
    """Writes a checkpoint: it is there whole, or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    learner.save(partial)
    note(partial, usage)
    if state is not None:
        with writing(partial):
            (partial / "state").mkdir()
            torch.save(state.training, partial / "state" / "training.pt")
        write_jsonl(partial / "state" / "memory.jsonl", state.memory, Experience)
        write_json(partial / "state" / "position.json", {"position": asdict(state.position), "weights": state.weights})
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)


def note(folder: Path, usage: Usage) -> None:
    """Writes down how the learner in `folder` is to be used."""
    write_json(folder / USAGE, asdict(usage))


def usage(folder: Path) -> Usage | None:
    """How the learner in `folder` is to be used; None for a model that no run has trained."""
    path = folder / USAGE
    if not path.exists():
        return None
    found = adapter(Usage).validate_python(read_json(path))
    assert isinstance(found, Usage)
    return found


def state(folder: Path) -> State:
    """The state saved in `folder`."""
    told = read_json(folder / "state" / "position.json")
    training = torch.load(folder / "state" / "training.pt", weights_only=True, map_location="cpu")
    memory = tuple(read_jsonl(folder / "state" / "memory.jsonl", Experience))
    return State(Position(**told["position"]), told["weights"], training, memory)


def latest(run: Path) -> Path | None:
    """The newest checkpoint of `run` that it can go on from."""
    found = [path.parent.parent for path in (run / "checkpoints").glob("*/state/position.json")]
    whole = [path for path in found if not path.name.endswith(".partial")]
    return max(whole, key=lambda path: path.name, default=None)


def prune(run: Path, keep: int) -> None:
    """Leaves the newest `keep` numbered checkpoints of `run`, and the state of the newest one only."""
    numbered = sorted(path for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    for path in numbered[:-keep]:
        shutil.rmtree(path)
    for path in numbered[-keep:-1]:
        shutil.rmtree(path / "state", ignore_errors=True)


def of(place: Path) -> Path:
    """The learner meant by `place`: a run's best checkpoint, or the folder itself if it holds a model."""
    for folder in (place / "checkpoints" / "best", place / "checkpoints" / "final", place):
        if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
            return folder
    raise ConfigError(f"{place} holds no model and no run with a finished checkpoint; give one of the two")

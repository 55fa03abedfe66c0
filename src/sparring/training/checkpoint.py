"""Checkpoints: the state of a run, and how to use a saved learner.

A checkpoint is a folder in the Hugging Face format with two additions. `sparring.json` holds the method and settings
with which the learner answers, and its position in the run. `state/`, in the newest two, holds what a run needs to
resume as if it had never stopped. The second newest serves if the newest cannot be read.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sparring.common.errors import ConfigError
from sparring.common.files import adapter, read_json, read_jsonl, write_json, write_jsonl, writing
from sparring.core.experience import Experience
from sparring.models.source import USAGE, Quantization, Thoughts
from sparring.training.learner import Learner

STATES = 2  # checkpoints that a run can resume from
START_OVER = "remove the folder checkpoints and resume: training is repeated, but nothing is sampled or paid for twice"


class Damaged(ConfigError):
    """A checkpoint that cannot be read."""


@dataclass(frozen=True)
class Origin:
    """The position in a run that a learner comes from: phase, round, step (from 1), problems seen, weights' name."""

    phase: int
    method: str
    round: int
    step: int
    problems: int
    weights: str

    def plain(self) -> dict[str, Any]:
        """Return the position as plain data, without the weights' name, which depends on the first learner's path."""
        return {"phase": self.phase, "method": self.method, "round": self.round, "step": self.step,
                "problems": self.problems}  # fmt: skip


def describe_origin(origin: Mapping[str, Any]) -> str:
    """Describe a position, as `Origin.plain` returns it, in words."""
    return f"phase {origin['phase']} ({origin['method']}), round {origin['round']}, step {origin['step']}"


@dataclass(frozen=True)
class Usage:
    """How to use a learner, and its origin.

    `method` with the `settings` of its `answer`; the `layout` of its answers; how its thoughts are treated
    (`thinking`); arguments of its chat template; the `quantization` its adapters were trained under.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "lines"
    thinking: Thoughts = "off"
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    quantization: Quantization | None = None
    origin: Origin | None = None


@dataclass(frozen=True)
class Position:
    """The progress of a run: phase, round and completed steps (from 0), and problems seen in all.

    `first`: how many problems were drawn before the phase. `gradient_tokens` and `seconds`: what the phase has used.
    """

    phase: int = 0
    round: int = 0
    step: int = 0
    problems: float = 0.0
    first: int = 0
    gradient_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class State:
    """What a run resumes from besides the weights; `measured` is the number of lines of metrics recorded by then."""

    position: Position
    weights: str
    training: dict[str, Any]
    memory: tuple[Experience, ...] = ()
    measured: int = 0


@dataclass(frozen=True)
class _Saved:
    """The content of `position.json`. `remembered`: the number of lines in `memory.jsonl`, to notice lost ones."""

    position: Position
    weights: str
    measured: int
    remembered: int


def save(folder: Path, learner: Learner, usage: Usage, state: State | None = None) -> None:
    """Write a checkpoint atomically: either the whole folder exists, or none of it."""
    partial, old = (folder.with_name(folder.name + end) for end in (".partial", ".old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _write(partial, learner, usage, state)
        with writing(folder):
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _write(folder: Path, learner: Learner, usage: Usage, state: State | None) -> None:
    learner.save(folder)
    write_usage(folder, usage)
    if state is not None:
        inner = folder / "state"
        with writing(inner):
            inner.mkdir()
            # An open file rather than a path, for which torch reports a full disk as an error of its own.
            with (inner / "training.pt").open("wb") as file:
                torch.save(state.training, file)
        write_jsonl(inner / "memory.jsonl", state.memory, Experience)
        saved = _Saved(state.position, state.weights, state.measured, len(state.memory))
        write_json(inner / "position.json", asdict(saved))


def write_usage(folder: Path, usage: Usage) -> None:
    """Record how to use the learner in `folder`."""
    write_json(folder / USAGE, asdict(usage))


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn whatever the readers of a checkpoint's files raise into Damaged, with the reason."""
    try:
        yield
    except (Damaged, torch.OutOfMemoryError):
        raise
    except (
        OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError, ConfigError,
        pickle.UnpicklingError, SafetensorError,
    ) as error:  # fmt: skip
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise Damaged(f"the checkpoint {folder} cannot be read ({reason[:200]})") from error


def read_usage(folder: Path) -> Usage | None:
    """Read how to use the learner in `folder`; None for a model that no run has trained. Raises Damaged."""
    path = folder / USAGE
    if not path.exists():
        return None
    with reading(folder):
        result = adapter(Usage).validate_python(read_json(path))
    assert isinstance(result, Usage)
    return result


def read_state(folder: Path) -> State:
    """Read the state saved in `folder`; raises Damaged."""
    inner = folder / "state"
    with reading(folder):
        saved = adapter(_Saved).validate_python(read_json(inner / "position.json"))
        training = torch.load(inner / "training.pt", weights_only=True, map_location="cpu")
        memory = tuple(read_jsonl(inner / "memory.jsonl", Experience))
        if len(memory) != saved.remembered:
            raise Damaged(
                f"the checkpoint {folder} is incomplete: memory.jsonl has {len(memory)} of {saved.remembered} pieces"
            )
        return State(saved.position, saved.weights, training, memory, saved.measured)


def check_readable(folder: Path) -> None:
    """Raise Damaged if the learner in `folder` is missing or visibly damaged; tensors are not read."""
    with reading(folder):
        names = [name for name in ("config.json", "adapter_config.json") if (folder / name).exists()]
        if not names or read_usage(folder) is None:
            raise Damaged(f"the checkpoint {folder} is incomplete: {USAGE if names else 'config.json'} is missing")
        for path in [folder / name for name in names]:
            if not isinstance(settings := read_json(path), dict) or not settings:
                raise Damaged(f"the checkpoint {folder} cannot be read ({path.name} contains no settings)")
        for path in [*folder.glob("*.safetensors")] or [folder / "model.safetensors"]:
            with safe_open(path, "pt"):
                pass


def restore_interrupted(run: Path) -> None:
    """Restore the checkpoints that a process was replacing when it died."""
    for old in (run / "checkpoints").glob("*.old"):
        if not old.with_suffix("").exists():
            old.rename(old.with_suffix(""))


def resumable(run: Path) -> list[Path]:
    """Return the checkpoints of `run` that have a state, the newest first."""
    folders = [path.parent for path in (run / "checkpoints").glob("*/state") if path.parent.name.isdigit()]
    return sorted(folders, key=lambda path: path.name, reverse=True)


def latest(run: Path) -> Path | None:
    """Return the newest checkpoint that `run` can resume from."""
    return next(iter(resumable(run)), None)


def prune(run: Path, keep: int) -> None:
    """Remove all numbered checkpoints of `run` but the newest `keep`, and all states but the newest two."""
    numbered = sorted(path for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    for path in numbered[:-keep]:
        shutil.rmtree(path)
    for path in numbered[-keep:-STATES]:
        shutil.rmtree(path / "state", ignore_errors=True)

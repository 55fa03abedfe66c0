"""All state of a run, saved and restored; and how a saved learner is to be used.

A checkpoint is a folder in the Hugging Face format with two additions: `sparring.json`, the method and settings by
which the learner answers and where in its run it was taken, and in the newest two `state/`, what a run needs to go on
from it as if it had never stopped. The second is there for the case that the first cannot be read.
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

STATES = 2  # checkpoints that a run can go on from
START_OVER = (
    "remove the folder checkpoints and go on: what was taught is learnt again, and nothing is sampled or paid twice"
)


class Damaged(ConfigError):
    """A checkpoint that cannot be read."""


@dataclass(frozen=True)
class Origin:
    """Where in its run a learner was taken: phase, round and step counted from 1, problems seen, its weights' name."""

    phase: int
    method: str
    round: int
    step: int
    problems: int
    weights: str

    def plain(self) -> dict[str, Any]:
        """The place, without the weights' name, which is another wherever the first learner lies elsewhere."""
        return {"phase": self.phase, "method": self.method, "round": self.round, "step": self.step,
                "problems": self.problems}  # fmt: skip


def where(origin: Mapping[str, Any]) -> str:
    """A place, as `Origin.plain` gives it, in words."""
    return f"phase {origin['phase']} ({origin['method']}), round {origin['round']}, step {origin['step']}"


@dataclass(frozen=True)
class Usage:
    """How a learner is to be used: its method with the settings of `answer`, the layout of its answers, how its own
    thoughts are treated, and in how few bits its adapters knew the weights that they adapt; and where it is from."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "lines"
    thinking: Thoughts = "off"
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    quantization: Quantization | None = None
    origin: Origin | None = None


@dataclass(frozen=True)
class Position:
    """How far a run has come: steps done in a round of a phase (counted from 0), and problems seen in all."""

    phase: int = 0
    round: int = 0
    step: int = 0
    problems: float = 0.0


@dataclass(frozen=True)
class State:
    """What a run goes on from, besides the weights themselves; `measured` lines had been recorded by then."""

    position: Position
    weights: str
    training: dict[str, Any]
    memory: tuple[Experience, ...] = ()
    measured: int = 0


@dataclass(frozen=True)
class _Saved:
    """What `position.json` holds. `remembered`: the number of pieces in `memory.jsonl`, which may lose lines unseen."""

    position: Position
    weights: str
    measured: int
    remembered: int


def save(folder: Path, learner: Learner, usage: Usage, state: State | None = None) -> None:
    """Writes a checkpoint: it is there whole, or not at all."""
    partial, old = (folder.with_name(folder.name + end) for end in (".partial", ".old"))
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        _write(partial, learner, usage, state)
        with writing(folder):
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
    finally:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _write(folder: Path, learner: Learner, usage: Usage, state: State | None) -> None:
    learner.save(folder)
    write_usage(folder, usage)
    if state is not None:
        inner = folder / "state"
        with writing(inner):
            inner.mkdir()
            with (inner / "training.pt").open(
                "wb"
            ) as file:  # given a path, torch tells a full disk as an error of its own
                torch.save(state.training, file)
        write_jsonl(inner / "memory.jsonl", state.memory, Experience)
        saved = _Saved(state.position, state.weights, state.measured, len(state.memory))
        write_json(inner / "position.json", asdict(saved))


def write_usage(folder: Path, usage: Usage) -> None:
    """Writes down how the learner in `folder` is to be used."""
    write_json(folder / USAGE, asdict(usage))


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Damaged, with what is wrong, for whatever the many readers of a checkpoint's files raise."""
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


def usage(folder: Path) -> Usage | None:
    """How the learner in `folder` is to be used; None for a model that no run has trained."""
    path = folder / USAGE
    if not path.exists():
        return None
    with reading(folder):
        found = adapter(Usage).validate_python(read_json(path))
    assert isinstance(found, Usage)
    return found


def saved_state(folder: Path) -> State:
    """The state saved in `folder`; raises Damaged."""
    inner = folder / "state"
    with reading(folder):
        saved = adapter(_Saved).validate_python(read_json(inner / "position.json"))
        training = torch.load(inner / "training.pt", weights_only=True, map_location="cpu")
        memory = tuple(read_jsonl(inner / "memory.jsonl", Experience))
        if len(memory) != saved.remembered:
            raise Damaged(f"the checkpoint {folder} is not whole: memory.jsonl has {len(memory)} of its pieces")
        return State(saved.position, saved.weights, training, memory, saved.measured)


def check_readable(folder: Path) -> None:
    """Damaged if the learner in `folder` is not there or can be seen to be damaged, its tensors unread."""
    with reading(folder):
        names = [name for name in ("config.json", "adapter_config.json") if (folder / name).exists()]
        if not names or usage(folder) is None:
            raise Damaged(f"the checkpoint {folder} is not whole: {USAGE if names else 'config.json'} is missing")
        for path in [folder / name for name in names]:
            if not isinstance(told := read_json(path), dict) or not told:
                raise Damaged(f"the checkpoint {folder} cannot be read ({path.name} holds no settings)")
        for path in [*folder.glob("*.safetensors")] or [folder / "model.safetensors"]:
            with safe_open(path, "pt"):
                pass


def tidy(run: Path) -> None:
    """Mends what a process left that died while it saved: what was about to be replaced is put back."""
    for old in (run / "checkpoints").glob("*.old"):
        if not old.with_suffix("").exists():
            old.rename(old.with_suffix(""))


def resumable(run: Path) -> list[Path]:
    """The checkpoints of `run` that have a state, the newest first."""
    found = [path.parent for path in (run / "checkpoints").glob("*/state") if path.parent.name.isdigit()]
    return sorted(found, key=lambda path: path.name, reverse=True)


def latest(run: Path) -> Path | None:
    """The newest checkpoint of `run` that it can go on from."""
    return next(iter(resumable(run)), None)


def prune(run: Path, keep: int) -> None:
    """Leaves the newest `keep` numbered checkpoints of `run`, and the state of the newest two."""
    numbered = sorted(path for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    for path in numbered[:-keep]:
        shutil.rmtree(path)
    for path in numbered[-keep:-STATES]:
        shutil.rmtree(path / "state", ignore_errors=True)


def of(place: Path) -> Path:
    """The learner meant by `place`: a run's best checkpoint, or the folder itself if it holds a model."""
    for folder in (place / "checkpoints" / "best", place / "checkpoints" / "final", place):
        if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
            return folder
    raise ConfigError(f"{place} holds no model and no run with a finished checkpoint; give one of the two")

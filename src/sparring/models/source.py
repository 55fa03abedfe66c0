"""Which model to load and how, as a recipe sets it. Not here: loading it (`inference.model`), which imports torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval

from sparring.common.errors import ConfigError
from sparring.common.extras import need_bitsandbytes
from sparring.common.files import read_json
from sparring.common.schema import FilePath
from sparring.models import hub

Thoughts = Literal["off", "hidden", "kept"]
Quantization = Literal["nf4"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

ADAPTERS = "adapter_config.json"
USAGE = "sparring.json"  # in the folder of a trained learner: how to use it (`checkpoint.Usage`)
TINY = "0.46 M randomly initialised parameters"
MODELS = "give tiny, a folder in the Hugging Face format or a hub id"

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,2})?", re.ASCII)


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (PEFT): `rank`, `alpha`, `dropout`, and the modules adapted (None: all linear ones)."""

    rank: Annotated[int, Gt(0)] = 16
    alpha: Annotated[float, Gt(0)] = 32.0
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    targets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ModelSettings:
    """A model and how to load it, as a learner and a local partner set it.

    `model`: `tiny`, a folder, or a hub id. `quantization`: load the weights in four bits, frozen. `chat_template`: a
    Jinja template or a file with one, for models without; `chat_template_kwargs` are passed to it. `thinking`, for
    reasoning models: "off", "hidden" (thoughts are removed) or "kept" (the model keeps seeing its own). `dtype` and
    `device`: the number format and place of computation; "auto" suits the machine. `slots`: the most replies decoded at
    once.
    """

    model: FilePath
    quantization: Quantization | None = None
    chat_template: FilePath | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    thinking: Thoughts = "off"
    dtype: Precision = "auto"
    device: str = "auto"
    slots: Annotated[int, Gt(0)] = 128

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(f"unknown device {self.device!r}; give cpu, cuda, cuda:1, mps or auto")
        if self.quantization is not None:
            need_bitsandbytes(f"quantization = {self.quantization!r}")
        if self.model == "tiny" and self.quantization is not None:
            raise ConfigError("quantization does not apply to model = 'tiny'; remove it")


@dataclass(frozen=True)
class ModelSource(ModelSettings):
    """Which model to load and how, with the settings that only a learner has.

    `lora`: train low-rank adapters in place of all weights. `cache_tokens`, `cache_gib`: bounds of the key-value cache.
    """

    model: FilePath = "tiny"
    lora: Lora | None = None
    cache_tokens: Annotated[int, Gt(0)] | None = None
    cache_gib: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model == "tiny" and self.lora is not None:
            raise ConfigError(
                "lora does not apply to model = 'tiny': adapters are saved without their base model, and tiny has no "
                "folder; remove lora, or give a folder or a hub id"
            )


def learner_folder(path: Path) -> Path:
    """Return the folder of the learner at `path`: a run's best checkpoint, or `path` itself if it holds a model."""
    for folder in (path / "checkpoints" / "best", path / "checkpoints" / "final", path):
        if _holds_model(folder):
            return folder
    raise ConfigError(f"{path} holds no model and no run with a finished checkpoint; give one of the two")


def learner_of(model: str) -> str:
    """Return the folder of the best learner if `model` is a run's folder, else `model` itself."""
    is_run = model != "tiny" and os.path.isdir(model) and not _holds_model(Path(model))
    with suppress(ConfigError):  # `check_model` says what is wrong, before the model is loaded
        return str(learner_folder(Path(model))) if is_run else model
    return model


def _holds_model(folder: Path) -> bool:
    return any((folder / file).exists() for file in ("config.json", ADAPTERS))


def check_model(model: str, key: str = "model") -> None:
    """Raise ConfigError, naming `key`, if `model` is a file, a folder without a model, or not available from the hub.

    The base model of adapters is checked, too.
    """
    if model == "tiny":
        return
    path = Path(model)
    if os.path.isfile(path):
        raise ConfigError(f"{key} = {model!r} is a file, not a folder; {MODELS}")
    if os.path.exists(path):
        if (best := learner_of(model)) != model:
            raise ConfigError(f"{key} = {model!r} is a run's folder; give that of its learner, {best}")
        if not _holds_model(path):
            raise ConfigError(f"{key} = {model!r} holds no model: config.json is missing; {MODELS}")
        if is_adapters(path):
            check_model(base_of(path), f"the base of the adapters in {model}")
        return
    try:
        hub.check_reachable(model)
    except ConfigError as error:
        raise ConfigError(f"{key} = {model!r} cannot be loaded: {error}; {MODELS}") from error


def check_learner(path: str) -> None:
    """Raise ConfigError if `path` is neither an existing path nor a model that the hub provides."""
    if not os.path.exists(path):
        check_model(path)


def is_adapters(folder: Path) -> bool:
    """Whether `folder` holds adapters without their base model."""
    return (folder / ADAPTERS).exists() and not (folder / "config.json").exists()


def quantization_of(folder: Path) -> Quantization | None:
    """Return the quantization that the adapters in `folder` were trained under; None without one."""
    if not is_adapters(folder) or not (folder / USAGE).exists():
        return None
    usage = read_json(folder / USAGE)
    return "nf4" if isinstance(usage, Mapping) and usage.get("quantization") == "nf4" else None


def base_of(folder: Path) -> str:
    """Return the base model of the adapters in `folder`; ConfigError if their configuration does not name it."""
    path = folder / ADAPTERS
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        base = None
    if not isinstance(base, str) or not base:
        raise ConfigError(f"{path} does not name the base model of the adapters; copy the folder of adapters again")
    return base

"""Which model, and how it is to be loaded, as a recipe says it. Not here: loading it (`model`), which takes torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval

from sparring.common.errors import ConfigError
from sparring.common.extras import need_bitsandbytes
from sparring.common.files import read_json
from sparring.models import hub

Thoughts = Literal["off", "hidden", "kept"]
Quantization = Literal["nf4"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

ADAPTERS = "adapter_config.json"
USAGE = "sparring.json"  # in the folder of a learner that a run has trained: how it is used (see `checkpoint.Usage`)
TINY = "0.46 M parameters made on the spot, which know nothing yet"
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
class ModelSource:
    """Which model, and how it is to be loaded.

    `model`: `tiny`, a folder, or a hub id. `chat_template`: a file with one, for models without; `chat_template_kwargs`
    go to the template. `thinking`, for models that think by themselves: "off", "hidden" (thoughts are taken off and
    forgotten) or "kept" (the model goes on seeing its own). `dtype`, what is computed in, and `device` suit the machine
    unless given. `quantization`: its weights in four bits, frozen. `slots` replies are decoded at once; `cache_tokens`
    and `cache_gib` bound the key-value cache.
    """

    model: str = "tiny"
    lora: Lora | None = None
    quantization: Quantization | None = None
    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    thinking: Thoughts = "off"
    dtype: Precision = "auto"
    device: str = "auto"
    slots: Annotated[int, Gt(0)] = 128
    cache_tokens: Annotated[int, Gt(0)] | None = None
    cache_gib: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(f"device = {self.device!r} is not a device; give cpu, cuda, cuda:1, mps or auto")
        if self.quantization is not None:
            need_bitsandbytes(f"quantization = {self.quantization!r}")
        if self.model == "tiny" and self.quantization is not None:
            raise ConfigError("quantization with model = 'tiny', which is small enough; leave it out")
        if self.model == "tiny" and self.lora is not None:
            raise ConfigError(
                "lora with model = 'tiny': adapters are saved without their base, and this one is made on the spot; "
                "leave lora out, or give a folder or a hub id"
            )


def check_place(model: str, key: str = "model") -> None:
    """ConfigError where `model` (of which `key` is said) is meant for a folder and is none, or is one without a model;
    or where it can be had neither from here nor from the hub. Adapters need their base, too."""
    if model == "tiny":
        return
    place = Path(model)
    if os.path.isfile(place):
        raise ConfigError(f"{key} = {model!r} is a file, not a folder; {MODELS}")
    if os.path.exists(place):
        if not any((place / file).exists() for file in ("config.json", ADAPTERS)):
            raise ConfigError(f"{key} = {model!r} holds no model: it has no config.json; {MODELS}")
        if is_adapters(place):
            check_place(base_of(place), f"the base of the adapters in {model}")
        return
    try:
        hub.check_reachable(model)
    except ConfigError as error:
        raise ConfigError(f"{key} = {model!r} cannot be loaded: {error}; {MODELS}") from error


def check_learner(place: str) -> None:
    """ConfigError where there is no run, checkpoint or model at `place`, and it can be no hub id that is to be had."""
    if not os.path.exists(place):
        check_place(place)


def is_adapters(folder: Path) -> bool:
    """Whether `folder` holds adapters, and not the model that they adapt."""
    return (folder / ADAPTERS).exists() and not (folder / "config.json").exists()


def quantization_of(folder: Path) -> Quantization | None:
    """The quantization that the adapters in `folder` were trained under."""
    if not is_adapters(folder) or not (folder / USAGE).exists():
        return None
    told = read_json(folder / USAGE)
    return "nf4" if isinstance(told, Mapping) and told.get("quantization") == "nf4" else None


def base_of(folder: Path) -> str:
    """The model that the adapters in `folder` adapt; ConfigError where they do not say."""
    path = folder / ADAPTERS
    try:
        base = json.loads(path.read_text())["base_model_name_or_path"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        base = None
    if not isinstance(base, str) or not base:
        raise ConfigError(f"{path} does not name the model that the adapters adapt; copy the folder of adapters anew")
    return base

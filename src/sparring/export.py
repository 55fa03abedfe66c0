"""What others can read: adapters folded into the weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparring import checkpoint
from sparring.errors import ConfigError
from sparring.files import writing


def merge(place: Path, output: Path) -> None:
    """Writes the model of `place` with its LoRA adapters folded in to the folder `output`."""
    folder = checkpoint.of(place)
    if not (folder / "adapter_config.json").exists():
        raise ConfigError(f"{folder} has no LoRA adapters; it loads with plain transformers as it is")
    if output.exists():
        raise ConfigError(f"{output} exists; choose a folder that does not")
    from peft import PeftModel  # noqa: PLC0415 - a second to import, and no other verb needs it

    told = json.loads((folder / "adapter_config.json").read_text())
    try:
        base = AutoModelForCausalLM.from_pretrained(told["base_model_name_or_path"], dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the adapters' base model {told['base_model_name_or_path']!r} cannot be loaded: "
            f"{str(error).splitlines()[0]}"
        ) from error
    merged = PeftModel.from_pretrained(base, str(folder)).merge_and_unload()
    with writing(output):
        merged.save_pretrained(output)
        AutoTokenizer.from_pretrained(folder).save_pretrained(output)
        if (usage := checkpoint.usage(folder)) is not None:
            checkpoint.note(output, replace(usage, quantization=None))  # the weights written are whole

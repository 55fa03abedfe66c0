"""What others can read: adapters folded into the weights."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from sparring.common.errors import ConfigError
from sparring.common.extras import need_bitsandbytes
from sparring.common.files import writing
from sparring.inference.model import loading
from sparring.models import hub, quantization
from sparring.models.source import base_of, check_place, is_adapters, quantization_of
from sparring.training import checkpoint


def merge(place: Path, output: Path) -> None:
    """Writes the model of `place` with its LoRA adapters folded in to the folder `output`."""
    folder = checkpoint.of(place)
    if not is_adapters(folder):
        raise ConfigError(f"{folder} has no LoRA adapters; it loads with plain transformers as it is")
    if os.path.exists(output):
        raise ConfigError(f"{output} exists; choose a folder that does not")
    check_place(str(folder))
    from peft import PeftModel  # noqa: PLC0415 - a second to import, and no other verb needs it

    with loading(str(folder)):
        merged = PeftModel.from_pretrained(_base(folder), str(folder), local_files_only=True).merge_and_unload()
        tokenizer = AutoTokenizer.from_pretrained(folder, **hub.how(str(folder)))
    with writing(output):
        merged.save_pretrained(output)
        tokenizer.save_pretrained(output)
        if (usage := checkpoint.usage(folder)) is not None:
            checkpoint.write_usage(output, replace(usage, quantization=None))  # the weights written are whole


def _base(folder: Path) -> PreTrainedModel:
    """The model that the adapters in `folder` adapt, in float32. Where they were trained on weights in four bits, these
    are what those weights mean: on the ones before rounding the adapters would be off."""
    base = base_of(folder)
    how, trained_under = hub.how(base), quantization_of(folder)
    if trained_under is None:
        network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **how)
        return network
    need_bitsandbytes(f"{folder}, adapters that were trained with quantization = {trained_under!r},")
    rounded = quantization.nf4(torch.float32)
    quantised = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, quantization_config=rounded, **how)
    whole: PreTrainedModel = quantised.dequantize()
    return whole

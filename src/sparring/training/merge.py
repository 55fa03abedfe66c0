"""Merges LoRA adapters into the weights of their base model, for programs that cannot load adapters."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel

from sparring.common.errors import ConfigError
from sparring.common.extras import need_bitsandbytes
from sparring.common.files import writing
from sparring.inference.model import loading
from sparring.models import hub, quantization
from sparring.models.encoder_decoder import loader
from sparring.models.saving import save_model
from sparring.models.source import base_of, check_model, is_adapters, learner_folder, quantization_of
from sparring.training import checkpoint


def merge(path: Path, output: Path) -> None:
    """Write the learner at `path` to the folder `output`, with its LoRA adapters merged into the weights."""
    folder = learner_folder(path)
    if not is_adapters(folder):
        raise ConfigError(f"{folder} has no LoRA adapters; load it with plain transformers")
    if os.path.exists(output):
        raise ConfigError(f"{output} exists; choose a folder that does not")
    check_model(str(folder))
    from peft import PeftModel  # noqa: PLC0415 - a second to import, and no other verb needs it

    with loading(str(folder)):
        merged = PeftModel.from_pretrained(_base(folder), str(folder), local_files_only=True).merge_and_unload()
        tokenizer = AutoTokenizer.from_pretrained(folder, **hub.how(str(folder)))
    save_model(merged, tokenizer, output)
    with writing(output):
        if (usage := checkpoint.read_usage(folder)) is not None:
            checkpoint.write_usage(output, replace(usage, quantization=None))  # the merged weights are not quantized


def _base(folder: Path) -> PreTrainedModel:
    """Load the base model of the adapters in `folder`, in float32.

    For adapters trained on 4-bit weights, these are quantized and dequantized again: the adapters do not fit the
    weights before rounding.
    """
    base = base_of(folder)
    how, trained_under = hub.how(base), quantization_of(folder)
    kind = loader(base)
    if trained_under is None:
        network: PreTrainedModel = kind.from_pretrained(base, dtype=torch.float32, **how)
        return network
    need_bitsandbytes(f"{folder}, adapters that were trained with quantization = {trained_under!r},")
    settings = quantization.nf4(torch.float32)
    quantized = kind.from_pretrained(base, dtype=torch.float32, quantization_config=settings, **how)
    dequantized: PreTrainedModel = quantized.dequantize()
    return dequantized

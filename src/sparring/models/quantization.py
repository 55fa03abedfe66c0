"""Fewer bits for less memory: copies in bfloat16 and, with bitsandbytes, 4-bit weights and an 8-bit optimiser.

4-bit weights are frozen; adapters beside them are trained (QLoRA, arXiv 2305.14314).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedModel


def in_bfloat16(network: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Copy `network` to `device` with its weights in bfloat16; buffers keep their dtype."""
    # `deepcopy` takes these as copies made already, so no copy in float32 ever exists and tied weights stay tied.
    memo = {id(w): nn.Parameter(w.detach().to(device, torch.bfloat16), False) for w in network.parameters()}
    copied: PreTrainedModel = copy.deepcopy(network, memo).to(device)
    return copied


def nf4(compute: torch.dtype) -> BitsAndBytesConfig:
    """Return the settings that load a model in four bits: NormalFloat with quantized scales, as in QLoRA.

    `compute`: the dtype of its computation.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def tensors(network: PreTrainedModel) -> Iterator[Tensor]:
    """Yield all tensors of `network`: buffers, weights, and the scales of 4-bit weights."""
    yield from network.buffers()
    for weight in network.parameters():
        yield weight
        scales = getattr(weight, "quant_state", None)
        while scales is not None:
            yield from (value for value in vars(scales).values() if isinstance(value, Tensor))
            scales = scales.state2  # the scales of the scales


def keep(network: PreTrainedModel) -> None:
    """Keep 4-bit weights in the format they were loaded in.

    On some CPUs bitsandbytes repacks them at the first evaluation, and no gradient passes through repacked weights; it
    only logs a warning.
    """
    for part in network.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False


def adamw_8bit(module: nn.Module, **settings: Any) -> torch.optim.Optimizer:
    """Return AdamW over the trained weights of `module`, with its state in blocks of eight bits (arXiv 2110.02861).

    The state of embeddings, as in the paper, and of tensors of less than 4096 numbers stays in 32 bits.
    """
    import bitsandbytes  # noqa: PLC0415 - an extra

    trained = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer: Any = bitsandbytes.optim.AdamW8bit(trained, **settings)
    # A table of its own: the package has one for all optimisers, keyed by the addresses of weights.
    overrides = object.__new__(type(optimizer.mng))
    overrides.initialize()
    embeddings = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
    overrides.override_config(embeddings, "optim_bits", 32)
    optimizer.mng = overrides
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer

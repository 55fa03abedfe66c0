"""Less memory by fewer bits: a copy in sixteen; with bitsandbytes, an extra, weights in four and an optimiser in eight.

Weights in four bits are frozen: adapters beside them are what is trained (QLoRA, arXiv 2305.14314).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PreTrainedModel


def in_bfloat16(network: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """A copy of `network` on `device` with its weights in bfloat16, wherever these are; its buffers stay exact."""
    cast = {id(w): nn.Parameter(w.detach().to(device, torch.bfloat16), False) for w in network.parameters()}
    copied: PreTrainedModel = copy.deepcopy(network, cast).to(device)
    return copied


def nf4(compute: torch.dtype) -> BitsAndBytesConfig:
    """How a model is loaded in four bits, computing in `compute`: NormalFloat with quantised scales, as in QLoRA."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def tensors(network: PreTrainedModel) -> Iterator[Tensor]:
    """All that `network` holds: weights, buffers, and the scales beside weights in four bits."""
    yield from network.buffers()
    for weight in network.parameters():
        yield weight
        scales = getattr(weight, "quant_state", None)
        while scales is not None:
            yield from (found for found in vars(scales).values() if isinstance(found, Tensor))
            scales = scales.state2


def keep(network: PreTrainedModel) -> None:
    """Keeps weights in four bits as they were loaded. On some CPUs bitsandbytes packs them anew when they are first
    evaluated, and no gradient passes through these; all that tells is a warning."""
    for part in network.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False


def adamw_8bit(module: nn.Module, **settings: Any) -> torch.optim.Optimizer:
    """AdamW over what is trained of `module`, its state in blocks of eight bits (arXiv 2110.02861); that of embeddings,
    as in the paper, and of tensors of less than 4096 numbers stays in 32."""
    import bitsandbytes  # noqa: PLC0415 - an extra

    trained = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer: Any = bitsandbytes.optim.AdamW8bit(trained, **settings)
    # Exceptions of its own: those of the package are one table for all optimisers, by the addresses of weights.
    exceptions = object.__new__(type(optimizer.mng))
    exceptions.initialize()
    embeddings = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
    exceptions.override_config(embeddings, "optim_bits", 32)
    optimizer.mng = exceptions
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer

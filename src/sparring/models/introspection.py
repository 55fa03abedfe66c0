"""What must be known of the inside of a Hugging Face causal language model: its body, its head, how far it sees back.

Only what the library does not say in one way for all models; an adapter around the model is looked through.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from sparring.common.errors import ConfigError


def inner(model: Any) -> Any:
    """The causal language model itself, where adapters wrap it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def arguments(model: Any) -> Collection[str]:
    """What the forward pass of `model` takes."""
    return inspect.signature(inner(model).forward).parameters


def windows(config: Any) -> list[int | None]:
    """How far back each layer sees; None for all the way."""
    return [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=config).layers]


def obstacle(model: Any) -> str | None:
    """Why rows of different ages cannot share a cache of `model`; None if they can."""
    config = model.config.get_text_config(decoder=True)
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    if getattr(model, "_is_stateful", False) or kinds - {DynamicLayer, DynamicSlidingWindowLayer}:
        return "the model keeps more than keys and values"
    if getattr(config, "attention_chunk_size", None) or len({*windows(config)} - {None}) > 1:
        return "its layers see back over chunks, or over windows of different sizes"
    if getattr(config, "alibi", False) or not {"position_ids", "past_key_values"} <= set(arguments(model)):
        return "the model cannot be told the positions of its tokens"
    if getattr(model, "active_peft_config", None) and model.active_peft_config.is_prompt_learning:
        return "its adapter puts virtual tokens before the prompt"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"{config._attn_implementation!r} attention takes no mask for each row; load the model with 'sdpa'"
    return None


def cache_bytes(model: Any) -> int:
    """The bytes of one token in the key-value cache of `model`; 0 where its state does not grow."""
    with torch.no_grad(), evaluating(model):
        cache = model(input_ids=torch.tensor([[1]], device=model.device), use_cache=True).get("past_key_values")
    kept = [getattr(layer, kind, None) for layer in getattr(cache, "layers", ()) for kind in ("keys", "values")]
    return sum(tensor.nbytes for tensor in kept if tensor is not None)


def free_bytes(device: torch.device) -> int | None:
    """What may still be allocated on a GPU; None for the memory of the CPU, which others share."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def weight_sums(model: Any) -> list[float]:
    """The sum of each of the weights of `model`, which differ once these were moved. As fast as the weights are read.

    The versions that torch counts would be cheaper, but fused optimisers do not count."""
    weights = [weight.detach() for weight in model.parameters() if not weight.is_meta]
    return [float(weight.sum(dtype=torch.promote_types(weight.dtype, torch.float))) for weight in weights]


def hidden(model: Any, ids_BT: Tensor, positions_BT: Tensor | None = None, mask_B1TT: Tensor | None = None) -> Tensor:
    """What the body of `model` makes of `ids_BT`, [B, T, D], every token taken for a true one: what the head reads.
    Given positions and a mask (true where a token sees another), where `forkable`."""
    told: dict[str, Tensor] = {"attention_mask": torch.ones_like(ids_BT)}
    if positions_BT is not None and mask_B1TT is not None:
        told = {"attention_mask": mask_B1TT, "position_ids": positions_BT}
    states: Tensor = inner(model).get_decoder()(input_ids=ids_BT, use_cache=False, **told).last_hidden_state
    return states


def forkable(model: Any) -> bool:
    """Whether tokens of `model` can be told their positions and what they see."""
    config = model.config.get_text_config(decoder=True)
    return obstacle(model) is None and config._attn_implementation == "sdpa" and {*windows(config)} == {None}


def shaping(model: Any) -> tuple[float, float | None]:
    """What the forward pass of `model` does to the numbers that its head gives: it multiplies them by the first, and
    caps them softly at the second."""
    config = model.config.get_text_config(decoder=True)
    scale = float(getattr(config, "logit_scale", None) or 1)  # Cohere
    divisor = float(getattr(config, "logits_scaling", None) or 1)  # Granite
    return scale / divisor, getattr(config, "final_logit_softcapping", None)  # Gemma


def logits(model: Any, hidden_ND: Tensor) -> Tensor:
    """The logits at hidden states, [N, V], scaled and capped as the forward pass of `model` does it."""
    scores: Tensor = inner(model).get_output_embeddings()(hidden_ND)
    scale, cap = shaping(model)
    if scale != 1:
        scores = scores * scale
    return scores if cap is None else cap * (scores / cap).tanh()


def check_causal(model: Any) -> None:
    """Raises ConfigError where the logits at a token depend on the token after it, as an encoder's do."""
    ids = torch.tensor([[1, 2], [1, 3]], device=model.device)
    with torch.no_grad(), evaluating(model):
        one, other = model(input_ids=ids, use_cache=False).logits[:, 0].float()
    tolerance = torch.finfo(model.dtype).eps ** 0.5
    if bool((one - other).abs().max() > tolerance * one.abs().max()):
        kind = type(inner(model)).__name__
        raise ConfigError(f"{kind} is an encoder here: it sees the tokens to come; choose a causal language model")


def check_head(model: Any) -> None:
    """Raises ConfigError where body and head, called one by one, are not what `model` computes as a whole."""
    ids = torch.tensor([[1, 2]], device=model.device)  # not 0, which is often padding and embedded as zeros
    with torch.no_grad(), evaluating(model):
        whole, parts = model(input_ids=ids, use_cache=False).logits, logits(model, hidden(model, ids))
    if whole.shape != parts.shape or bool((whole - parts).abs().max() > 1e-2 * whole.abs().max()):
        kind = type(inner(model)).__name__
        raise ConfigError(f"{kind} changes its logits in a way that is not known here; choose a model of another kind")


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model without dropout, and afterwards as it was."""
    training = [module for module in model.modules() if module.training] if model.training else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True

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

from sparring.errors import ConfigError


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


def hidden(model: Any, ids_BT: Tensor) -> Tensor:
    """What the body of `model` makes of `ids_BT`, [B, T, D], every token taken for a true one: what the head reads."""
    body = inner(model).get_decoder()
    states: Tensor = body(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), use_cache=False).last_hidden_state
    return states


def logits(model: Any, hidden_ND: Tensor) -> Tensor:
    """The logits at hidden states, [N, V], scaled and capped as the forward pass of `model` does it."""
    config = model.config.get_text_config(decoder=True)
    scores: Tensor = inner(model).get_output_embeddings()(hidden_ND)
    if getattr(config, "logits_scaling", None):  # Granite
        scores = scores / config.logits_scaling
    if getattr(config, "logit_scale", None):  # Cohere
        scores = scores * config.logit_scale
    if getattr(config, "final_logit_softcapping", None):  # Gemma
        scores = config.final_logit_softcapping * (scores / config.final_logit_softcapping).tanh()
    return scores


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

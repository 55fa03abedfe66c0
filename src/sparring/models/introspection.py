"""Properties of a Hugging Face language model: its body, its head, its attention windows and its cache.

Only what transformers does not expose in one way for all models. Adapters around the model are unwrapped.
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
from sparring.models.encoder_decoder import decoder_states, divided, has_encoder
from sparring.models.renderer import START


def inner(model: Any) -> Any:
    """Return the language model without the adapters that may wrap it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def arguments(model: Any) -> Collection[str]:
    """Return the names of the arguments of the forward pass of `model`."""
    return inspect.signature(inner(model).forward).parameters


def windows(config: Any) -> list[int | None]:
    """Return the attention window of each layer in tokens; None for unlimited."""
    return [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=config).layers]


def max_length(config: Any) -> int:
    """Return the most tokens in one sequence of the model of `config`.

    LongRoPE (Phi-3 and others) has other frequencies for sequences beyond the original length, and chooses them for a
    batch as a whole. So a row's states would depend on its neighbours; sequences keep to the original length instead.
    """
    text = config.get_text_config(decoder=True)
    longest = int(getattr(text, "max_position_embeddings", 0) or 2**31)
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return longest
    return min(longest, int(rope.get("original_max_position_embeddings") or longest))


def obstacle(model: Any) -> str | None:
    """Return why rows of different lengths cannot share a cache of `model`; None if they can."""
    return "the model has an encoder" if has_encoder(model.config) else _decoder_obstacle(model)


def _decoder_obstacle(model: Any) -> str | None:
    config = model.config.get_text_config(decoder=True)
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    if getattr(model, "_is_stateful", False) or kinds - {DynamicLayer, DynamicSlidingWindowLayer}:
        return "the model keeps more than keys and values"
    if getattr(config, "attention_chunk_size", None) or len({*windows(config)} - {None}) > 1:
        return "its layers attend to chunks, or to windows of different sizes"
    if getattr(config, "alibi", False) or not {"position_ids", "past_key_values"} <= set(arguments(model)):
        return "the model does not accept the positions of its tokens"
    if getattr(model, "active_peft_config", None) and model.active_peft_config.is_prompt_learning:
        return "its adapter puts virtual tokens before the prompt"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"{config._attn_implementation!r} attention takes no mask for each row; load the model with 'sdpa'"
    return None


def cache_bytes(model: Any) -> int:
    """Return the bytes of one token in the key-value cache of `model`; 0 if its state does not grow with the text."""
    with torch.no_grad(), evaluating(model):
        cache = model(**inputs(model, _probe(model, [[1]])), use_cache=True).get("past_key_values")
    layers = getattr(getattr(cache, "self_attention_cache", cache), "layers", ())
    tensors = [getattr(layer, kind, None) for layer in layers for kind in ("keys", "values")]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that can still be allocated on a GPU; None for a CPU, whose memory other programs share."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def weight_sums(model: Any) -> list[float]:
    """Return the sum of each weight tensor of `model`, to detect changes; takes as long as reading the weights.

    PyTorch's version counters would be cheaper, but fused optimisers do not increment them.
    """
    weights = [weight.detach() for weight in model.parameters() if not weight.is_meta]
    return [float(weight.sum(dtype=torch.promote_types(weight.dtype, torch.float))) for weight in weights]


def hidden(model: Any, ids_BT: Tensor, positions_BT: Tensor | None = None, mask_B1TT: Tensor | None = None) -> Tensor:
    """Return the last hidden states of `ids_BT`, [B, T, D]: the input of the head. Padding is treated as tokens.

    Positions and a mask (true where a token attends to another) require a `forkable` model.
    """
    if has_encoder(model.config):
        return decoder_states(inner(model), ids_BT)
    sight: dict[str, Tensor] = {"attention_mask": torch.ones_like(ids_BT)}
    if positions_BT is not None and mask_B1TT is not None:
        sight = {"attention_mask": mask_B1TT, "position_ids": positions_BT}
    states: Tensor = inner(model).get_decoder()(input_ids=ids_BT, use_cache=False, **sight).last_hidden_state
    return states


def inputs(model: Any, ids_BT: Tensor) -> dict[str, Tensor]:
    """Return the arguments with which the forward pass of `model` reads whole rows of ids."""
    return divided(inner(model), ids_BT) if has_encoder(model.config) else {"input_ids": ids_BT}


def forkable(model: Any) -> bool:
    """Whether `model` accepts arbitrary positions and a mask over pairs of tokens, as `prefix_sharing.Fork` needs."""
    config = model.config.get_text_config(decoder=True)
    return obstacle(model) is None and config._attn_implementation == "sdpa" and {*windows(config)} == {None}


def logit_scaling(model: Any) -> tuple[float, float | None]:
    """Return the scale by which `model` multiplies the output of its head, and the soft cap of its logits if any."""
    config = model.config.get_text_config(decoder=True)
    scale = float(getattr(config, "logit_scale", None) or 1)  # Cohere
    divisor = float(getattr(config, "logits_scaling", None) or 1)  # Granite
    if getattr(config, "scale_decoder_outputs", False):  # T5, but not its version 1.1 or Flan-T5
        divisor = config.d_model**0.5
    return scale / divisor, getattr(config, "final_logit_softcapping", None)  # Gemma


def logits(model: Any, hidden_ND: Tensor) -> Tensor:
    """Return the logits at hidden states, [N, V], scaled and capped as in the forward pass of `model`."""
    scores: Tensor = inner(model).get_output_embeddings()(hidden_ND)
    scale, cap = logit_scaling(model)
    if scale != 1:
        scores = scores * scale
    return scores if cap is None else cap * (scores / cap).tanh()


def check_causal(model: Any) -> None:
    """Raise ConfigError if the logits at a token depend on the next token, as an encoder's do."""
    ids = _probe(model, [[1, 2], [1, 3]])
    with torch.no_grad(), evaluating(model):
        one, other = model(**inputs(model, ids), use_cache=False).logits[:, 0].float()
    tolerance = torch.finfo(model.dtype).eps ** 0.5
    if bool((one - other).abs().max() > tolerance * one.abs().max()):
        kind = type(inner(model)).__name__
        raise ConfigError(f"{kind} is an encoder: it sees later tokens; choose a model that writes text")


def check_head(model: Any) -> None:
    """Raise ConfigError if body and head, called one by one, do not give the logits of the whole `model`."""
    ids = _probe(model, [[1, 2]])
    with torch.no_grad(), evaluating(model):
        expected, ours = model(**inputs(model, ids), use_cache=False).logits, logits(model, hidden(model, ids))
    ours = ours[:, -expected.shape[1] :]  # without the encoder's tokens
    if expected.shape != ours.shape or bool((expected - ours).abs().max() > 1e-2 * expected.abs().max()):
        kind = type(inner(model)).__name__
        raise ConfigError(f"{kind} changes its logits in an unsupported way; choose another model")


def _probe(model: Any, rows: list[list[int]]) -> Tensor:
    """Rows of ids to try a model on, without 0, which is often padding and embedded as zeros.

    For an encoder–decoder, START takes the place of the first id, after a token for the encoder.
    """
    rows = [[1, START, *row[1:]] for row in rows] if has_encoder(model.config) else rows
    return torch.tensor(rows, device=model.device)


def switch_off_dropout(model: Any) -> None:
    """Switch dropout off in a `model` that is in training mode.

    Layers that recompute their activations stay in that mode, because they do so in no other.
    """
    for module in model.modules():
        module.training = bool(getattr(module, "gradient_checkpointing", False))


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off inside the block; restore each module's mode afterwards."""
    training = [module for module in model.modules() if module.training] if model.training else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True

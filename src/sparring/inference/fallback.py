"""Decoding by `model.generate`, for models whose rows cannot share a cache (`introspection.obstacle`). It is slower.

Only its forward passes are used: the caller samples the tokens and decides when a row has ended.

Axes: B row, T token, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from sparring.inference.sequence import RunningSequence
from sparring.models.encoder_decoder import divided, has_encoder, start_id
from sparring.models.introspection import inner
from sparring.models.renderer import START


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    pad_id: int,
    take: Callable[[Tensor], tuple[Tensor, Sequence[bool]]],
) -> None:
    """Complete `prompts` until all rows have ended, by `max_tokens` tokens at most.

    `take` receives the logits, [B, V], and returns the sampled tokens, [B], and which rows have ended. The prompts of
    an encoder–decoder are one of the `batches`.
    """
    ended_B: Sequence[bool] = []

    def force_sampled_token(_: Tensor, logits_BV: Tensor) -> Tensor:
        nonlocal ended_B
        ids_B, ended_B = take(logits_BV)
        return torch.full_like(logits_BV, -torch.inf).scatter(1, ids_B[:, None], 0.0)

    def has_ended(ids_BT: Tensor, _: Tensor, **kwargs: Any) -> Tensor:
        return torch.tensor(ended_B, device=ids_BT.device)

    # Without the model's own settings: a repetition penalty would change the logits, and its stop tokens are not ours.
    original, model.generation_config = model.generation_config, GenerationConfig()
    try:
        model.generate(
            **_inputs(model, prompts, pad_id),
            do_sample=False,
            max_new_tokens=max_tokens,
            pad_token_id=pad_id,
            logits_processor=[force_sampled_token],
            stopping_criteria=[has_ended],
        )
    finally:
        model.generation_config = original


def batches(rows: Sequence[RunningSequence]) -> list[list[RunningSequence]]:
    """Divide `rows` into those that `generate` can complete together.

    Decoders beside an encoder begin together: their open turns, which stand after START, are equally long.
    """
    by_length: dict[int, list[RunningSequence]] = {}
    for row in rows:
        by_length.setdefault(_decoder_tokens(row.request.ids), []).append(row)
    return list(by_length.values())


def _decoder_tokens(prompt: Sequence[int]) -> int:
    """The number of tokens from START on; 0 without START."""
    return len(prompt) - prompt.index(START) if START in prompt else 0


def _inputs(model: Any, prompts: Sequence[Sequence[int]], pad_id: int) -> dict[str, Any]:
    """The arguments of `generate` for `prompts`: padded on the left or, for an encoder, on the right."""
    longest = max(len(prompt) for prompt in prompts)
    padding = [[pad_id] * (longest - len(prompt)) for prompt in prompts]
    if not has_encoder(model.config):
        ids_BT = torch.tensor([[*pads, *prompt] for pads, prompt in zip(padding, prompts, strict=True)])
        mask_BT = torch.arange(longest) >= torch.tensor([len(pads) for pads in padding])[:, None]
        return {"input_ids": ids_BT.to(model.device), "attention_mask": mask_BT.long().to(model.device)}
    ids_BT = torch.tensor([[*prompt, *pads] for pads, prompt in zip(padding, prompts, strict=True)])
    arguments = divided(inner(model), ids_BT.to(model.device))
    begun_BL = arguments["decoder_input_ids"][:, : _decoder_tokens(prompts[0])]
    return {**arguments, "decoder_input_ids": begun_BL, "decoder_start_token_id": start_id(inner(model))}

"""Decoding by `model.generate`, for models whose rows cannot share a cache (`introspection.obstacle`). It is slower.

Only its forward passes are used: the caller samples the tokens and decides when a row has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    pad_id: int,
    take: Callable[[Tensor], tuple[Tensor, Sequence[bool]]],
) -> None:
    """Complete `prompts` until all rows have ended, by `max_tokens` tokens at most.

    `take` receives the logits, [B, V], and returns the sampled tokens, [B], and which rows have ended.
    """
    longest = max(len(prompt) for prompt in prompts)
    n_pads = [longest - len(prompt) for prompt in prompts]
    ids_BT = torch.tensor([[pad_id] * n + list(prompt) for n, prompt in zip(n_pads, prompts, strict=True)])
    mask_BT = torch.arange(longest) >= torch.tensor(n_pads)[:, None]
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
            ids_BT.to(model.device),
            attention_mask=mask_BT.long().to(model.device),
            do_sample=False,
            max_new_tokens=max_tokens,
            pad_token_id=pad_id,
            logits_processor=[force_sampled_token],
            stopping_criteria=[has_ended],
        )
    finally:
        model.generation_config = original

"""The slow way: `model.generate`, for models whose rows of different ages cannot share a cache (`anatomy.obstacle`).

Only its forward passes are used. What is drawn from the logits, and when a row has ended, is said by the caller.
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
    limit: int,
    pad_id: int,
    take: Callable[[Tensor], tuple[Tensor, Sequence[bool]]],
) -> None:
    """Goes on with `prompts` until all have ended, by `limit` tokens at most. `take` is given the logits, [B, V], and
    returns the tokens drawn, [B], and which rows have ended."""
    longest = max(len(prompt) for prompt in prompts)
    pads = [longest - len(prompt) for prompt in prompts]
    ids_BT = torch.tensor([[pad_id] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)])
    mask_BT = torch.arange(longest) >= torch.tensor(pads)[:, None]
    ended_B: Sequence[bool] = []

    def forced(_: Tensor, logits_BV: Tensor) -> Tensor:
        nonlocal ended_B
        ids_B, ended_B = take(logits_BV)
        return torch.full_like(logits_BV, -torch.inf).scatter(1, ids_B[:, None], 0.0)

    def ended(ids_BT: Tensor, _: Tensor, **kwargs: Any) -> Tensor:
        return torch.tensor(ended_B, device=ids_BT.device)

    # Without its own settings: a repetition penalty, say, would change the logits, and its stop tokens are not ours.
    settings, model.generation_config = model.generation_config, GenerationConfig()
    try:
        model.generate(
            ids_BT.to(model.device),
            attention_mask=mask_BT.long().to(model.device),
            do_sample=False,
            max_new_tokens=limit,
            pad_token_id=pad_id,
            logits_processor=[forced],
            stopping_criteria=[ended],
        )
    finally:
        model.generation_config = settings

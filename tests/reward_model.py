"""A tiny reward model of random weights, saved where a recipe can name it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from sparring.models.tiny import tiny_tokenizer


def save_reward_model(folder: Path, labels: int = 1, pad: bool = True, template: bool = True, **more: Any) -> str:
    """The folder, with the model in it; `pad`: its config knows a padding token."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=labels,
        pad_token_id=tokenizer.pad_token_id if pad else None,
        **{"max_position_embeddings": 256, **more},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    if not template:
        tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    return str(folder)

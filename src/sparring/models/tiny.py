"""A tiny, randomly initialised Llama that a laptop trains from scratch in a minute.

About 0.4 M parameters, a byte-level tokenizer and a short chat template. Nothing is downloaded. The same code runs as
for any other model.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from sparring.common.seeds import stream

_SPECIAL = ["<pad>", "<bos>", "<end>", "<system>", "<user>", "<assistant>"]
_THOUGHT = ["<think>", "</think>"]  # one token each, decoded like ordinary text

_TEMPLATE = (
    "<bos>{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_model(seed: int, hidden: int = 128, layers: int = 2, length: int = 512) -> PreTrainedModel:
    """Return a Llama with random weights from `seed`; `length` is the longest sequence it accepts."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=length,
        rope_theta=1000.0,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(stream(seed, "tiny"))
        return LlamaForCausalLM(config)


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer with one token per byte, which can encode and decode any text."""
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(_SPECIAL + bytes_)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<end>",
        extra_special_tokens=_SPECIAL[3:],
        clean_up_tokenization_spaces=False,
        chat_template=_TEMPLATE,
    )
    tokenizer.add_tokens(_THOUGHT)
    return tokenizer

"""The models of the races: Llamas of a real shape and random weights, and a tokenizer of as many words as is wanted."""

from __future__ import annotations

import random
from functools import lru_cache

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}{{ '<u> ' if m['role'] == 'user' else '<a> ' }}{{ m['content'] }}{{ ' <e> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<a> ' }}{% endif %}"
)
SPECIAL = ("<pad>", "<u>", "<a>", "<e>")


def llama(hidden: int, layers: int, vocabulary: int, seed: int = 0) -> LlamaForCausalLM:
    """A Llama with four heads and an intermediate layer of 2.7 times its hidden dimension, in float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=-(-hidden * 27 // 160) * 16,
        vocab_size=vocabulary,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=3,
    )
    return LlamaForCausalLM(config)


@lru_cache
def tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` words, one token each, with a chat template."""
    words = [*SPECIAL, *(f"w{number}" for number in range(len(SPECIAL), vocabulary))]
    inner = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = WhitespaceSplit()
    found = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<e>")
    found.chat_template = TEMPLATE
    return found


def words(rng: random.Random, count: int, vocabulary: int) -> str:
    """A text of `count` tokens."""
    return " ".join(f"w{rng.randrange(len(SPECIAL), vocabulary)}" for _ in range(count))


def ids(rng: random.Random, count: int, vocabulary: int) -> tuple[int, ...]:
    """`count` tokens."""
    return tuple(rng.randrange(len(SPECIAL), vocabulary) for _ in range(count))

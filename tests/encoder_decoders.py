"""Small encoder–decoders with random weights, and a tokenizer that loses newlines, as T5's does."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from sparring.models.tiny import tiny_tokenizer

KINDS = (
    "t5",
    "flan",
    "bart",
)  # T5 scales the states before its head; Flan-T5 has a head of its own; BART has positions


def bytewise() -> PreTrainedTokenizerBase:
    """The tokenizer of `tiny` without its chat template and its first token."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.bos_token = None
    return tokenizer


def without_newlines() -> PreTrainedTokenizerBase:
    """A tokenizer with a token per character that reads any white space as one space and writes no newline."""
    characters = "".join(chr(n) for n in range(33, 127))
    vocabulary = {token: n for n, token in enumerate(["<pad>", "</s>", "<unk>", "▁", *characters])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    core.normalizer = normalizers.Replace(Regex(r"\s+"), " ")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def network(kind: str = "flan", size: int = len(tiny_tokenizer()), **more) -> PreTrainedModel:
    """A small model of `kind` for a vocabulary of `size`, without dropout; the same each time."""
    torch.manual_seed(0)
    ids = {"vocab_size": size, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    if kind == "bart":
        shape = {f"{side}_{what}": n for side in ("encoder", "decoder")
                 for what, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip
        config = BartConfig(**{**ids, **shape, "d_model": 32, "dropout": 0.0, "max_position_embeddings": 128,
                               "init_std": 0.3, "bos_token_id": 1, "forced_eos_token_id": None, **more})  # fmt: skip
        return BartForConditionalGeneration(config).eval()
    own = {} if kind == "t5" else {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    return T5ForConditionalGeneration(T5Config(**{**ids, **shape, **own, **more})).eval()


def saved(folder: Path, tokenizer: PreTrainedTokenizerBase | None = None, scale: float = 1.0, **more) -> Path:
    """A folder with a small model, its embeddings multiplied by `scale`, and its tokenizer."""
    tokenizer = tokenizer or bytewise()
    found = network(**{"size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, **more})
    found.get_input_embeddings().weight.data *= scale  # by default they are so large that learning takes long
    found.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

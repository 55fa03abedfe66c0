"""A learner that stands in for a large one: it says an opening, then a digit, and stops, whatever it was asked.

It is a real model that samples and trains, a Llama or an encoder–decoder. Its weights are set by hand, so nothing needs
to be trained first: embeddings are unit vectors, the layers add nothing, and the head holds which token follows which.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, T5Config, T5ForConditionalGeneration

from sparring.models.tiny import tiny_tokenizer

SIZE = 288  # at least the number of tokens, and a multiple of the number of heads
SURE = 12.0  # the logit of a token that may follow; all others have 0


def save_stand_in(folder: Path, opening: str, encodes: bool = False) -> str:
    """Save a Llama, or an encoder–decoder if it `encodes`, that replies `opening` and a digit; return the folder."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([opening])
    if encodes:
        tokenizer.chat_template = tokenizer.bos_token = None
    network = _encoder_decoder() if encodes else _llama()
    words, digits = tokenizer.convert_tokens_to_ids([opening])[0], tokenizer.convert_tokens_to_ids([*"0123456789"])
    after = torch.zeros(SIZE, SIZE)  # [next, last]
    after[tokenizer.eos_token_id] = SURE
    for last in (tokenizer.convert_tokens_to_ids("<assistant>"), tokenizer.convert_tokens_to_ids("Ċ"), 0):
        after[:, last] = torch.nn.functional.one_hot(torch.tensor(words), SIZE) * SURE
    after[:, words] = 0.0
    after[digits, words] = SURE
    with torch.no_grad():
        for name, weight in network.named_parameters(remove_duplicate=False):
            if name.endswith(("o_proj.weight", "down_proj.weight", ".o.weight", ".wo.weight")):
                weight.zero_()  # the layer adds nothing
            elif name.endswith(("shared.weight", "embed_tokens.weight")):
                weight.copy_(torch.eye(SIZE))
        # The last norm multiplies unit vectors by this root; T5 then divides by it.
        network.get_output_embeddings().weight.copy_(after if encodes else after / SIZE**0.5)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _llama() -> PreTrainedModel:
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    shape = {"hidden_size": SIZE, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=SIZE, max_position_embeddings=8192, **shape, **ids))


def _encoder_decoder() -> PreTrainedModel:
    ids = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    shape = {"d_model": SIZE, "d_kv": 8, "d_ff": 8, "num_layers": 1, "num_heads": 4, "dropout_rate": 0.0}
    config = T5Config(vocab_size=SIZE, feed_forward_proj="gated-gelu", **shape, **ids)
    config.tie_word_embeddings = False  # as an argument it is ignored
    return T5ForConditionalGeneration(config)

"""Encoder–decoder models (T5, BART, …), used like decoder-only ones: one sequence of ids holds both sides.

    ids     question, earlier turns, end of sequence │ START │ the learner's own turn, end of sequence
    read by the encoder                              │ the decoder

START stands for the token that the model's decoder begins with. So a prompt is still a prefix of its training row, and
weights, journal, batches and losses need no second sequence. Only this module divides the ids.

Axes: B row, T token of a row, S token of the encoder, L token of the decoder.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, decoders
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from sparring.common.errors import ConfigError
from sparring.common.seeds import stream
from sparring.models import hub
from sparring.models.renderer import START
from sparring.models.source import ModelSource

# Turns as plain text, for models without a chat template. A question alone stays as it is, because instruction-tuned
# encoder–decoders were trained on bare instructions.
PLAIN_TEMPLATE = (
    "{% set talk = messages | selectattr('role', 'ne', 'system') | list %}"
    "{% for message in messages %}{% if not loop.first %}{{ '\n\n' }}{% endif %}"
    "{% if message['role'] != 'system' and talk | length > 1 %}"
    "{{ 'Answer' if message['role'] == 'assistant' else 'Question' if message is sameas talk[0] else 'Reply' }}: "
    "{% endif %}{{ message['content'] }}{% endfor %}"
)


def has_encoder(config: Any) -> bool:
    """Whether a model with this configuration is an encoder–decoder."""
    return bool(getattr(config, "is_encoder_decoder", False))


def loader(model: str) -> Any:
    """Return the class of transformers that loads `model`, a folder or a hub id."""
    config = AutoConfig.from_pretrained(model, **hub.how(model))
    return AutoModelForSeq2SeqLM if has_encoder(config) else AutoModelForCausalLM


def check_source(source: ModelSource) -> None:
    """Raise ConfigError if `source` sets a key that does not apply to an encoder–decoder."""
    for key in ("cache_tokens", "cache_gib"):
        if (bound := getattr(source, key)) is not None:
            raise ConfigError(
                f"{key} does not apply to model = {source.model!r}, an encoder–decoder: its replies share no cache "
                f"(got {bound:g}); remove it, and lower slots to save memory"
            )


def start_id(network: PreTrainedModel) -> int:
    """Return the token that the decoder of `network` begins with; ConfigError without one."""
    settings = (network.config, network.generation_config)
    found = next((found for it in settings if (found := getattr(it, "decoder_start_token_id", None)) is not None), None)
    if found is None:
        where = f"the configuration of {network.name_or_path!r}"
        raise ConfigError(f"{where} names no token to start the decoder; set decoder_start_token_id there")
    return int(found)


def divided(network: PreTrainedModel, ids_BT: Tensor) -> dict[str, Tensor]:
    """Divide rows into the inputs of encoder and decoder: `input_ids` and `attention_mask`, [B, S], and
    `decoder_input_ids`, [B, L]. The decoder's rows are padded on the right with copies of their last token."""
    begins_B1 = _begins(ids_BT)
    columns_1T = torch.arange(ids_BT.shape[1], device=ids_BT.device)[None]
    is_read_BS = (columns_1T < begins_B1)[:, : int(begins_B1.max())]
    source_BS = ids_BT[:, : is_read_BS.shape[1]] * is_read_BS  # token 0 as padding, which the mask hides
    length = ids_BT.shape[1] - int(begins_B1.min())
    decoder_BL = ids_BT.gather(1, (begins_B1 + columns_1T[:, :length]).clamp(max=ids_BT.shape[1] - 1))
    decoder_BL = decoder_BL.masked_fill(decoder_BL == START, start_id(network))
    return {"input_ids": source_BS, "attention_mask": is_read_BS.long(), "decoder_input_ids": decoder_BL}


def decoder_states(network: PreTrainedModel, ids_BT: Tensor) -> Tensor:
    """Return the decoder's last hidden states, [B, T, D], at START and after it; those before it mean nothing."""
    inputs = divided(network, ids_BT)
    mask_BS = inputs["attention_mask"]
    source = network.get_encoder()(input_ids=inputs["input_ids"], attention_mask=mask_BS)
    states_BLD: Tensor = network.get_decoder()(
        input_ids=inputs["decoder_input_ids"],
        encoder_hidden_states=source.last_hidden_state,
        encoder_attention_mask=mask_BS,
        use_cache=False,
    ).last_hidden_state
    columns_1T = torch.arange(ids_BT.shape[1], device=ids_BT.device)[None]
    indices_BT = (columns_1T - _begins(ids_BT)).clamp(min=0)
    return states_BLD.gather(1, indices_BT[:, :, None].expand(-1, -1, states_BLD.shape[2]))


def _begins(ids_BT: Tensor) -> Tensor:
    """The column of START in each row, [B, 1]."""
    return (ids_BT == START).int().argmax(dim=1, keepdim=True)


# ── the tokenizer ───────────────────────────────────────────────────────────────────────────────────────────


def complete(network: PreTrainedModel, tokenizer: Tokenizer, seed: int, *, all_weights_trained: bool) -> None:
    """Give the tokenizer of an encoder–decoder what a chat needs, if it lacks it: a template, and a newline.

    T5's tokenizer writes a newline as a space. If all weights are trained, a new token stands for it, whose embedding
    is trained, too: a spare one, or one drawn with `seed`.
    """
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    if "\n" not in _rewritten(tokenizer) and all_weights_trained:
        tokenizer.add_tokens(AddedToken("\n", normalized=False))
        if len(tokenizer) > network.get_input_embeddings().num_embeddings:
            with torch.random.fork_rng():
                torch.manual_seed(stream(seed, "newline"))
                network.resize_token_embeddings(len(tokenizer))
    if "\n " in _rewritten(tokenizer):  # its decoder writes a space before each word but the first
        core = tokenizer.backend_tokenizer
        core.decoder = decoders.Sequence([core.decoder, decoders.Fuse(), decoders.Replace("\n ", "\n")])


def _rewritten(tokenizer: Tokenizer) -> str:
    """Two lines as the tokenizer encodes and decodes them."""
    return str(tokenizer.decode(tokenizer.encode("a\nb", add_special_tokens=False)))

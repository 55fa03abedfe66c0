from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma3TextConfig,
    Llama4TextConfig,
    Phi3Config,
    Qwen3Config,
)

from sparring.models.introspection import cache_bytes, evaluating, max_length, obstacle, weight_sums, windows

SHAPE = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
    "head_dim": 8,
}


def test_sequences_keep_to_the_length_up_to_which_positions_do_not_depend_on_the_batch():
    assert max_length(Qwen3Config(**SHAPE, max_position_embeddings=512)) == 512
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    shape = {key: value for key, value in SHAPE.items() if key != "head_dim"}
    long = Phi3Config(
        **shape, max_position_embeddings=512, pad_token_id=0, original_max_position_embeddings=128,
        rope_parameters={**rope, "original_max_position_embeddings": 128},
    )  # fmt: skip
    assert max_length(long) == 128


def test_windows_are_those_of_the_layers():
    mixed = Gemma3TextConfig(**SHAPE, sliding_window=7, layer_types=["sliding_attention", "full_attention"])
    assert windows(mixed) == [7, None]
    assert windows(Qwen3Config(**SHAPE, sliding_window=7)) == [None, None]  # it has a window and does not use it
    assert obstacle(AutoModelForCausalLM.from_config(mixed)) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (BloomConfig(vocab_size=20, hidden_size=16, n_layer=1, n_head=2), "positions of its tokens"),
        (
            FalconConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, alibi=True),
            "positions of its tokens",
        ),
        (Llama4TextConfig(**SHAPE, intermediate_size_mlp=16, num_local_experts=1, attention_chunk_size=4), "chunks"),
    ],
)
def test_models_whose_rows_cannot_share_a_cache_say_why(config, reason):
    assert reason in obstacle(AutoModelForCausalLM.from_config(config))


def test_attention_without_a_mask_for_each_row_is_an_obstacle():
    model = AutoModelForCausalLM.from_config(Qwen3Config(**SHAPE))
    assert obstacle(model) is None
    model.config = Qwen3Config(**SHAPE, attn_implementation="flash_attention_2")
    assert "load the model with 'sdpa'" in obstacle(model)


def test_a_token_takes_as_many_bytes_as_its_keys_and_values():
    model = AutoModelForCausalLM.from_config(Qwen3Config(**SHAPE))
    assert cache_bytes(model) == 2 * 2 * 1 * 8 * 4  # layers, keys and values, heads, dimensions, bytes
    assert cache_bytes(model.bfloat16()) == 2 * 2 * 1 * 8 * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_state_of_a_model_tells_whether_any_weight_was_moved(dtype):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Qwen3Config(**SHAPE)).to(dtype)
    before = weight_sums(model)
    assert weight_sums(model) == before
    for weight in model.parameters():
        weight.data[0] *= 1.01
        assert weight_sums(model) != before
        before = weight_sums(model)


def test_a_model_is_afterwards_as_it_was():
    model = AutoModelForCausalLM.from_config(Qwen3Config(**SHAPE)).train()
    model.lm_head.eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [name for name, module in model.named_modules() if not module.training] == ["lm_head"]

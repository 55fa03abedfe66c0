from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from sparring.core.speaker import Sampling
from sparring.inference import packed as module
from sparring.inference.engine import Engine
from sparring.inference.packed import packed
from sparring.inference.packed_layer import PackedLayer
from sparring.inference.packed_linear import MAX_ROWS, PackedLinear
from sparring.inference.sequence import Request
from tests.small_models import GPT2, SHAPE, VOCABULARY

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch has no oneDNN here")


@pytest.fixture(autouse=True)
def _packs_small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_WEIGHTS", 0)


CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama with biases": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**SHAPE, sliding_window=7),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE),
}
OTHERS: dict[str, PretrainedConfig] = {"gemma3": Gemma3TextConfig(**SHAPE), "gpt2": GPT2Config(**GPT2)}
ADAPTERS = {"none": None, "all": "all-linear", "some": ["q_proj", "v_proj", "down_proj"]}


def network(name: str = "llama", adapters: str = "none", dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config({**CONFIGS, **OTHERS}[name])
    for weight in model.parameters():  # norms and biases begin as ones and zeros, which would hide a mistake
        nn.init.normal_(weight, std=0.3) if weight.ndim > 1 else nn.init.uniform_(weight, 0.5, 1.5)
    model = model.to(dtype).eval()
    if (targets := ADAPTERS[adapters]) is None:
        return model
    config = LoraConfig(r=3, lora_alpha=7, target_modules=targets, init_lora_weights=False)
    return get_peft_model(model, config).eval()


def ids(rows: int, columns: int) -> torch.Tensor:
    return torch.randint(1, VOCABULARY, (rows, columns), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("adapters", list(ADAPTERS))
@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (4, 9), (MAX_ROWS + 1, 1)])
@pytest.mark.parametrize("name", [*CONFIGS, "gemma3"])
def test_logits_are_those_of_the_model_in_float32_up_to_rounding(name, shape, adapters):
    model = network(name, adapters)
    with torch.inference_mode():
        expected = model(ids(*shape)).logits
        torch.testing.assert_close(packed(model)(ids(*shape)).logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16")
@pytest.mark.parametrize("adapters", list(ADAPTERS))
@pytest.mark.parametrize("name", list(CONFIGS))
def test_in_bfloat16_logits_are_as_close_to_those_in_float32_as_the_models_own(name, adapters):
    model = network(name, adapters, torch.bfloat16)
    with torch.inference_mode():
        own, ours = model(ids(6, 1)).logits.float(), packed(model)(ids(6, 1)).logits.float()
        exact = model.float()(ids(6, 1)).logits
    assert (ours - exact).square().mean() < 4 * (
        own - exact
    ).square().mean()  # a mistake gives a thousand times as much


@pytest.mark.parametrize("adapters", ["none", "all"])
def test_known_layers_are_packed_whole_and_no_other_tensor_is_copied(adapters):
    model = network(adapters=adapters)
    copied = packed(model)
    assert sum(isinstance(layer, PackedLayer) for layer in copied.modules()) == SHAPE["num_hidden_layers"]
    assert [name for name, layer in copied.named_modules() if isinstance(layer, PackedLinear)][-1].endswith("lm_head")
    assert {id(weight) for weight in copied.parameters()} == {id(weight) for weight in model.parameters()}
    assert not any(isinstance(layer, PackedLayer | PackedLinear) for layer in model.modules())


def test_of_other_models_the_linear_layers_are_packed():
    copied = packed(network("gemma3", "all"))
    assert sum(isinstance(layer, PackedLinear) for layer in copied.modules()) == 7 * SHAPE["num_hidden_layers"] + 1
    assert not any(isinstance(layer, PackedLayer) for layer in copied.modules())


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16")
def test_a_small_update_of_an_adapter_is_not_rounded_away_in_bfloat16():
    model = network("gemma3", "all", torch.bfloat16)
    name = "base_model.model.model.layers.0.mlp.down_proj"
    layer = model.get_submodule(name)
    torch.nn.init.constant_(layer.lora_A["default"].weight, 1e-3)
    torch.nn.init.constant_(layer.lora_B["default"].weight, 1e-2)
    signs = torch.tensor([1.0, -1.0] * (layer.in_features // 2))
    layer.base_layer.weight.data.copy_(signs.expand(layer.out_features, -1))  # adds up to 0 over an input of ones
    with torch.inference_mode():
        output = packed(model).get_submodule(name)(torch.ones(2, layer.in_features, dtype=torch.bfloat16))
    expected = 7 / 3 * 3 * 1e-2 * 1e-3 * layer.in_features  # scale · rank · up · down, added up over the input
    assert output.float().mean().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("adapters", ["none", "some"])
@pytest.mark.parametrize("name", [*CONFIGS, *OTHERS])
def test_replies_are_those_that_the_model_samples_unpacked(name, adapters):
    model = network(name, adapters if name in CONFIGS else "none")
    requests = [
        Request(tuple(row.tolist()), Sampling(temperature=temperature, max_tokens=12), stream)
        for stream, row in enumerate(ids(7, 9))
        for temperature in (0.0, 1.0)
    ]
    assert complete(packed(model), requests) == complete(model, requests)


def complete(model, requests):
    engine, done = Engine(model, (), lambda ids: ""), {}
    for request in requests:
        engine.submit(request)
    while engine.busy:
        done.update(engine.step())
    return {ticket: dataclasses.replace(completion, logprobs=()) for ticket, completion in done.items()}


def test_a_small_model_a_huge_one_and_one_in_float64_stay_as_they_are(monkeypatch):
    double = network().double()
    assert packed(double) is double
    model = network()
    monkeypatch.setattr(module, "MAX_BYTES", 1)
    assert packed(model) is model
    monkeypatch.undo()
    assert packed(model) is model


def test_a_copy_follows_no_later_change_so_it_must_be_made_again():
    model = network()
    copied, before = packed(model), copy.deepcopy(model)
    with torch.inference_mode(), torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(0)
        kept = copied(ids(2, 1)).logits
        torch.testing.assert_close(kept, before(ids(2, 1)).logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(packed(model)(ids(2, 1)).logits, model(ids(2, 1)).logits, atol=1e-5, rtol=1e-5)

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from sparring.core.speaker import Sampling
from sparring.inference import packed as module
from sparring.inference.engine import Engine
from sparring.inference.packed import PackedLinear, packed
from sparring.inference.sequence import Request
from tests.small_models import SHAPE, VOCABULARY

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch has no oneDNN here")


@pytest.fixture(autouse=True)
def _packs_small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_WEIGHTS", 0)


def network(dtype: torch.dtype = torch.float32, adapted: bool = False):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True, tie_word_embeddings=True)).to(dtype).eval()
    config = LoraConfig(r=3, lora_alpha=7, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(model, config).eval() if adapted else model


def ids(rows: int, columns: int) -> torch.Tensor:
    return torch.randint(1, VOCABULARY, (rows, columns), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("rows", [1, 5, module.MAX_ROWS + 1])
def test_logits_are_those_of_the_model_in_float32_up_to_rounding(adapted, rows):
    model = network(adapted=adapted)
    with torch.inference_mode():
        torch.testing.assert_close(packed(model)(ids(rows, 1)).logits, model(ids(rows, 1)).logits, atol=1e-5, rtol=1e-5)


def test_all_linear_layers_are_packed_and_no_other_tensor_is_copied():
    model = network(adapted=True)
    copied = packed(model)
    assert sum(isinstance(layer, PackedLinear) for layer in copied.modules()) == 7 * SHAPE["num_hidden_layers"] + 1
    assert {id(weight) for weight in copied.parameters()} == {id(weight) for weight in model.parameters()}
    assert not any(isinstance(layer, PackedLinear) for layer in model.modules())


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16")
def test_a_small_update_of_an_adapter_is_not_rounded_away_in_bfloat16():
    model = network(torch.bfloat16, adapted=True)
    layer = model.base_model.model.model.layers[0].mlp.down_proj
    torch.nn.init.constant_(layer.lora_A["default"].weight, 1e-3)
    torch.nn.init.constant_(layer.lora_B["default"].weight, 1e-2)
    signs = torch.tensor([1.0, -1.0] * (layer.in_features // 2))
    layer.base_layer.weight.data.copy_(signs.expand(layer.out_features, -1))  # adds up to 0 over an input of ones
    with torch.inference_mode():
        packed_layer = packed(model).get_submodule("base_model.model.model.layers.0.mlp.down_proj")
        output = packed_layer(torch.ones(2, layer.in_features, dtype=torch.bfloat16))
    expected = 7 / 3 * 3 * 1e-2 * 1e-3 * layer.in_features  # scale · rank · up · down, added up over the input
    assert output.float().mean().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("adapted", [False, True])
def test_replies_are_those_that_the_model_samples_unpacked(adapted):
    model = network(adapted=adapted)
    requests = [
        Request(tuple(row.tolist()), Sampling(temperature=temperature, max_tokens=12), stream)
        for stream, row in enumerate(ids(4, 9))
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

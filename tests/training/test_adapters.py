from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from sparring.training import adapters
from tests.small_models import SHAPE, VOCABULARY

IDS = torch.randint(1, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(0))


def adapted(dtype: torch.dtype = torch.float64, **settings):
    torch.manual_seed(0)
    network = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True))
    for weight in network.parameters():
        weight.data = weight.data.to(dtype)
    config = LoraConfig(r=3, lora_alpha=7, target_modules="all-linear", init_lora_weights=False, **settings)
    network = get_peft_model(network, config)
    return network.double() if dtype is torch.float64 else network


def loss_and_gradients(network) -> tuple[float, dict[str, torch.Tensor]]:
    loss = network(IDS, labels=IDS).loss
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in network.named_parameters() if weight.requires_grad}


def test_loss_and_gradients_are_those_of_peft():
    original = adapted()
    hastened = copy.deepcopy(original)
    adapters.hasten(hastened)
    (loss, gradients), (expected_loss, expected) = loss_and_gradients(hastened), loss_and_gradients(original)
    assert loss == pytest.approx(expected_loss, abs=1e-12)
    assert len(gradients) == 2 * 7 * SHAPE["num_hidden_layers"]
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-12, rtol=1e-9)
        assert gradient.abs().max() > 0


def test_in_bfloat16_the_adapters_stay_in_float32_and_agree_with_peft():
    original = adapted(torch.bfloat16)
    hastened = copy.deepcopy(original)
    adapters.hasten(hastened)
    with torch.autocast("cpu", torch.bfloat16):
        (loss, gradients), (expected_loss, expected) = loss_and_gradients(hastened), loss_and_gradients(original)
    assert loss == pytest.approx(expected_loss, rel=0.01)
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        assert (gradient - expected[name]).norm() < 0.1 * expected[name].norm()


def test_only_one_product_as_large_as_the_output_is_computed_and_the_input_is_kept_once():
    network = adapted()
    adapters.hasten(network)
    layer = network.base_model.model.model.layers[0].mlp.down_proj
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layer(torch.randn(5, layer.in_features, dtype=torch.double))
    shapes = [tuple(tensor.shape) for tensor in kept if not isinstance(tensor, nn.Parameter)]
    assert shapes == [(5, layer.in_features), (5, 3)]


def test_adapters_switched_off_or_merged_are_as_before():
    network = adapted()
    adapters.hasten(network)
    with torch.no_grad():
        with_adapters = network(IDS).logits
        with network.disable_adapter():
            without = network(IDS).logits
        assert not torch.allclose(without, with_adapters)
        torch.testing.assert_close(network.merge_and_unload()(IDS).logits, with_adapters)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_dropout": 0.1}])
def test_other_adapters_keep_their_own_forward_pass(settings):
    network = adapted(**settings)
    adapters.hasten(network)
    assert not any("forward" in vars(layer) for layer in network.modules())


def test_a_copy_of_a_hastened_model_computes_with_its_own_weights():
    network = adapted()
    adapters.hasten(network)
    copied = copy.deepcopy(network)
    with torch.no_grad():
        before = network(IDS).logits
        for weight in copied.parameters():
            weight.mul_(2)
        assert torch.equal(network(IDS).logits, before)
        assert not torch.equal(copied(IDS).logits, before)

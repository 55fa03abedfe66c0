"""Gradient checkpointing: the same gradients for less memory."""

from __future__ import annotations

import pytest
import torch

from sparring.common.errors import ConfigError
from sparring.models.source import Lora, ModelSource
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer
from tests.offload.learners import (
    gradient,
    greedy,
    learner,
    taught,
)


@pytest.mark.parametrize("lora", [None, Lora(rank=2), Lora(rank=2, dropout=0.3)])
def test_gradients_are_the_same_when_activations_are_computed_again(folder, lora):
    def made() -> Learner:
        found = learner(ModelSource(model=str(folder), lora=lora), torch.float64)
        torch.manual_seed(1)
        for name, p in found.model.network.named_parameters():
            if "lora_B" in name:  # zero at first, and with it the gradient of the other half
                torch.nn.init.normal_(p, std=0.1)
        return found

    kept, again = gradient(made()), gradient(made(), gradient_checkpointing=True)
    assert float(kept.norm()) > 0
    assert float((kept - again).norm() / kept.norm()) < 1e-6


def test_far_less_is_saved_for_the_backward_pass():
    def saved(**settings) -> int:
        trainer = Trainer(learner(layers=6), TrainerSettings(**settings))
        trainer.module.train()
        own, held = {p.data_ptr() for p in trainer.module.parameters()}, {}

        def note(tensor):
            if tensor.data_ptr() not in own:
                held[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        ids = torch.randint(8, 200, (4, 64))
        trained = torch.ones_like(ids, dtype=torch.bool)
        trained[:, 0] = False
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            trainer.module(ids, torch.ones_like(ids), trained)
        return sum(held.values())

    assert saved(gradient_checkpointing=True) < saved() / 3


def test_replies_are_sampled_as_ever_and_the_setting_is_the_phases():
    found = learner()
    before = greedy(found)
    trainer = taught(found, steps=0, gradient_checkpointing=True)
    trainer.module.train()  # as in the midst of a round
    layer = found.model.network.model.layers[0]
    assert (layer.gradient_checkpointing, greedy(found)) == (True, before)
    trainer.begin(1.0, TrainerSettings())
    assert not layer.gradient_checkpointing


def test_a_model_that_cannot_recompute_is_told():
    found = learner()
    found.model.network.supports_gradient_checkpointing = False
    with pytest.raises(ConfigError, match="LlamaForCausalLM does not support gradient_checkpointing"):
        taught(found, steps=0, gradient_checkpointing=True)

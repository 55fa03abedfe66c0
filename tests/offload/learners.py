"""Small learners, what they are taught, and what became of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import torch

from sparring.core.chat import LEARNER, message, question
from sparring.core.experience import Demonstration, Preference
from sparring.core.objective import DPO
from sparring.core.speaker import Sampling
from sparring.inference.model import LanguageModel
from sparring.models.source import ModelSource
from sparring.models.tiny import tiny_model, tiny_tokenizer
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer

ASKED = question("2+2=")
PREFERENCES = [
    Preference(f"p{n}", question(f"{n}+0="), message(LEARNER, f"{n}"), message(LEARNER, f"no, {n}" * (n % 3 + 1)))
    for n in range(12)
]
DEMONSTRATIONS = [
    Demonstration(f"p{n}", question(f"{n}=").then(message(LEARNER, f"{n}" * 3, weight=1.0))) for n in range(8)
]


def learner(source=None, dtype=None, **shape):
    if source is not None:
        found = Learner.load(source).model
        return Learner(
            found if dtype is None else LanguageModel(found.network.to(dtype), found.renderer.tokenizer, source)
        )
    return Learner(LanguageModel(tiny_model(0, **{"hidden": 64, **shape}), tiny_tokenizer(), ModelSource()))


def taught(found: Learner, steps=1, experience=PREFERENCES, objective=None, **settings) -> Trainer:
    """A trainer that has taken that many steps over all of `experience`."""
    trainer = Trainer(found, TrainerSettings(**{"learning_rate": 1e-2, "batch_size": 12, **settings}))
    for number in range(steps):
        training_set = trainer.training_set(experience, objective or DPO(nll_weight=0.5), 12, 1, (number,))
        list(trainer.learn(replace(training_set, reference=trainer.reference(training_set))))
    return trainer


def weights(found: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in found.model.network.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def greedy(found: Learner, count=24) -> str:
    return asyncio.run(found.speaker(0).reply(ASKED, Sampling(temperature=0, max_tokens=count))).text


def gradient(found: Learner, **settings) -> torch.Tensor:
    trainer, kept = Trainer(found, TrainerSettings(batch_size=12, max_grad_norm=1e9, **settings)), []
    training_set = trainer.training_set(PREFERENCES, DPO(nll_weight=0.5), 12, 1, (0,))
    trained = [p for p in trainer.module.parameters() if p.requires_grad]
    trainer.optimizer.step = lambda: kept.append(torch.cat([p.grad.flatten() for p in trained]))
    list(trainer.learn(replace(training_set, reference=trainer.reference(training_set))))
    return kept[0]

"""Models that take turns on one device; and everything at once in one recipe."""

from __future__ import annotations

import asyncio
import gc
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from sparring.common.concurrency import bounded_gather
from sparring.common.errors import RunStopped
from sparring.config.recipe import Recipe
from sparring.core.chat import LEARNER, message, question
from sparring.core.experience import Demonstration
from sparring.core.objective import DPO, Likelihood
from sparring.core.speaker import Sampling
from sparring.inference.engine import Engine
from sparring.models import offload
from sparring.models.source import ModelSource
from sparring.runs.display import Display
from sparring.runs.run import train
from sparring.speakers import local
from sparring.speakers.local import Local
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer
from tests.offload.learners import (
    ASKED,
    PREFERENCES,
    greedy,
    learner,
    same,
    taught,
    weights,
)


def discussed(found: Learner, partner: Local, count=64):
    """The chats of as many discussions at once, of three turns each."""

    async def one(number):
        chat = question(f"{number}+{number}=")
        for _ in range(3):
            reply = await found.speaker(0, number).reply(chat, Sampling(max_tokens=4 + number % 5))
            chat = chat.then(reply.by(LEARNER))
            chat = chat.say("discussant", (await partner.reply(chat, Sampling(max_tokens=6))).text)
        return chat

    return asyncio.run(bounded_gather(one, range(count), count))


def test_learner_and_partner_are_never_on_the_device_together(folder, apart, monkeypatch):
    together_ = discussed(learner(), Local(str(folder)))
    assert apart == []  # both stayed
    found, partner = learner(), Local(str(folder), offload=True)
    mine, other, steps = found.model, partner.language_model, []
    step = Engine.step

    def watched(self):
        steps.append((self is mine.engine, mine.resident.present, other.resident.present))
        return step(self)

    monkeypatch.setattr(Engine, "step", watched)
    apart_ = discussed(found, partner)
    assert set(steps) == {(True, True, False), (False, False, True)}
    assert apart_ == together_
    assert other.turns.handovers <= 6  # three turns of each, of 64 × 6 replies


def test_training_has_the_device_to_itself_and_moves_change_nothing(folder, apart):
    def rounds(offload: bool) -> Trainer:
        found, partner = learner(), Local(str(folder), offload=offload)
        trainer = Trainer(found, TrainerSettings(learning_rate=1e-2, batch_size=4))
        for number in range(2):
            discussed(found, partner, count=4)
            if offload:
                assert not (found.model.resident.present and partner.language_model.resident.present)
                assert not trainer.moments.present
            training_set = trainer.training_set(PREFERENCES, DPO(), 12, 1, (number,))
            list(trainer.learn(replace(training_set, reference=trainer.reference(training_set))))
            if offload:
                assert found.model.resident.present
                assert trainer.moments.present
                assert not partner.language_model.resident.present
        return trainer

    moved = rounds(offload=True)
    assert len(apart) > 0
    stayed = rounds(offload=False)
    assert same(weights(moved.learner), weights(stayed.learner))


def test_what_does_not_change_is_carried_away_once(apart):
    frozen, trained = torch.nn.Parameter(torch.ones(3), requires_grad=False), torch.nn.Parameter(torch.ones(5))
    found = offload.Resident(lambda: [frozen, trained], torch.device("cpu"))
    found.leave()
    assert sorted(apart) == [3, 5]
    away = trained.data_ptr()
    found.arrive()
    assert trained.data_ptr() != away
    with torch.no_grad():
        trained.add_(1)
        frozen.add_(1)  # nobody does: it shows that this is not carried away once more
    found.leave()
    assert trained.data_ptr() == away
    found.arrive()
    assert (frozen.tolist(), trained.tolist()) == ([1.0] * 3, [2.0] * 5)


def test_a_float32_learner_speaks_while_its_own_weights_are_away(folder, apart):
    found = learner(ModelSource(model=str(folder), dtype="bfloat16"))
    partner = Local(str(folder), offload=True)
    alone = greedy(found)
    found.model.forget_copy()
    asyncio.run(partner.reply(ASKED, Sampling(max_tokens=4)))
    assert (greedy(found), found.model.resident.present, found.model.sampling_weights.present) == (alone, False, True)
    asyncio.run(partner.reply(ASKED, Sampling(max_tokens=4)))
    assert (found.model.resident.present, found.model.sampling_weights.present) == (False, False)
    assert greedy(found) == alone
    assert found.model.sampling_weights.present
    taught(found)
    assert (found.model.resident.present, found.model.sampling_weights) == (True, None)


def test_nobody_waits_for_one_that_failed_or_is_gone(folder, apart, monkeypatch):
    found, partner = learner(), Local(str(folder), offload=True)
    other = partner.language_model
    with monkeypatch.context() as broken:
        broken.setattr(Engine, "step", lambda self: 1 / 0)
        for asked in (found.speaker(0), partner):
            with pytest.raises(ZeroDivisionError):
                asyncio.run(asked.reply(ASKED, Sampling(max_tokens=4)))
    assert len(greedy(found)) > 0
    assert asyncio.run(partner.reply(ASKED, Sampling(max_tokens=4))).completion_tokens > 0
    del partner, other, asked
    local.LOADED.clear()
    gc.collect()
    moves = len(apart)
    greedy(found)
    taught(found)
    assert len(apart) - moves <= len(weights(found)) + 3


def test_what_was_interrupted_is_forgotten(folder, apart):
    found = learner(ModelSource(model=str(folder), dtype="bfloat16"))
    expected = greedy(found)

    async def interrupted():
        asked = [asyncio.create_task(found.speaker(n).reply(ASKED, Sampling(max_tokens=400))) for n in range(2)]
        while not found.model.engine.busy:
            await asyncio.sleep(0)
        for task in asked:
            task.cancel()

    async def again():
        reply = await found.speaker(0).reply(ASKED, Sampling(temperature=0, max_tokens=24))
        for _ in range(9):
            await asyncio.sleep(0)
        return reply.text, found.model.turns.acquire("another", offload.Resident(list, torch.device("cpu"), alone=True))

    asyncio.run(interrupted())
    found.model.forget_copy()
    assert asyncio.run(again()) == (expected, True)  # and the turn is given to whoever waits for it


def test_keys_and_values_are_let_go_before_weights_move():
    found = learner()
    greedy(found)
    assert found.model.engine.stats().cache_bytes
    taught(found)
    assert not found.model.engine.stats().cache_bytes


# ── all in one recipe ───────────────────────────────────────────────────────────────────────────────────────


def test_one_recipe_has_it_all_and_ends_as_if_it_had_never_stopped(nf4, folder, tmp_path, apart):
    asked = MultistepArithmetic(range="easy", train=64).problems("train")
    short = [Demonstration(p.id, p.chat.then(message(LEARNER, f"{p.gold}", weight=1.0))) for p in asked]
    taught(learner(), steps=10, experience=short, objective=Likelihood(), batch_size=8).learner.save(folder)
    table = {
        "learner": {"model": str(folder), "quantization": "nf4", "lora": {"rank": 8}, "dtype": "bfloat16"},
        "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 16, "development": 8, "test": 8},
        "phase": [
            {"method": "saie", "rounds": 2, "problems": 8, "max_tokens": 16,
             "discussant": {"by": "local", "model": str(folder), "quantization": "nf4", "offload": True,
                            "max_tokens": 16}},
        ],
        "trainer": {"batch_size": 4, "optimizer": "adamw_8bit", "gradient_checkpointing": True, "learning_rate": 1e-2},
        "run": {"save_every": 4, "threads": 1, "max_partner_failures": 1.0, "keep": 9},
    }  # fmt: skip
    recipe = Recipe.of(table)
    assert Recipe.of(recipe.table()).table() == recipe.table()
    assert recipe.table()["phase"][0]["discussant"]["offload"] is True
    quiet = Display(quiet=True)

    class Stopping(Display):
        """Stops while the second round is trained, after its checkpoint."""

        def step(self, problems, loss):
            if problems > 13:
                raise RunStopped("enough")

    train(recipe, tmp_path / "whole", display=quiet)
    assert apart  # learner and partner took turns
    assert '"discussant"' in (tmp_path / "whole/rounds/1-saie/0001/episodes.jsonl").read_text()
    final = tmp_path / "whole" / "checkpoints" / "final"
    told = json.loads((final / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == str(folder)
    states = sorted((tmp_path / "whole" / "checkpoints").glob("*/state/training.pt"))
    assert torch.load(states[-1], weights_only=True)["optimizer"]["state"]
    AutoTokenizer.from_pretrained(final)
    with pytest.raises(RunStopped, match="enough"):
        train(recipe, tmp_path / "stopped", display=Stopping(quiet=True))
    train(recipe, tmp_path / "stopped", display=quiet, resume=True)
    assert same(
        *(load_file(tmp_path / run / "checkpoints/final/adapter_model.safetensors") for run in ("whole", "stopped"))
    )

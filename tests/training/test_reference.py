"""The reference of a preference loss: computed, or taken from the sampler that the same weights spoke through."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from sparring.core.chat import LEARNER, Message, question
from sparring.core.experience import Memory, Preference
from sparring.core.objective import DPO
from sparring.core.partner import Scores
from sparring.core.speaker import Sampling
from sparring.core.task import Problem
from sparring.inference.model import LanguageModel
from sparring.models.source import ModelSource
from sparring.models.tiny import tiny_model, tiny_tokenizer
from sparring.parsing.thought import Answer
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import PROBE, Trainer

PIECES = 40


@dataclass(frozen=True)
class Longest:
    """A judge that likes many words."""

    name: ClassVar[str] = "longest"

    async def score(self, problem: Problem, answers: Sequence[Answer], rng: random.Random) -> Scores:
        return Scores(tuple(float(len(answer.text)) for answer in answers))


def trainer() -> Trainer:
    learner = Learner(LanguageModel(tiny_model(0, hidden=32), tiny_tokenizer(), ModelSource()))
    return Trainer(learner, TrainerSettings(learning_rate=1e-2, batch_size=16))


def sampled(found: Trainer, count: int = PIECES, logprobs: bool = True) -> list[Preference]:
    """Pairs of replies that the learner said, all of which end by themselves."""
    voice = found.learner.speaker(0, logprobs=logprobs)

    async def pair(number: int) -> Preference:
        chat = question(f"{number}+1=")
        said: list[Message] = []
        for sample in range(400):
            reply = await voice.reply(chat, Sampling(max_tokens=60), sample)
            if reply.finish == "stop":
                said.append(reply.by(LEARNER))
            if len(said) == 2:
                return Preference(f"p{number}", chat, *said)
        raise AssertionError("no two replies ended")

    async def all_() -> list[Preference]:
        return await asyncio.gather(*(pair(number) for number in range(count)))

    return asyncio.run(all_())


def reference(found: Trainer, experience: list[Preference]):
    return found.reference(found.training_set(experience, DPO(), len(experience), 1, (0,)))


def passes(found: Trainer, monkeypatch) -> list[int]:
    """Grows by the number of rows of each forward pass."""
    rows: list[int] = []
    forward = found.module.forward

    def counted(ids, *rest):
        rows.append(len(ids))
        return forward(ids, *rest)

    monkeypatch.setattr(found.module, "forward", counted)
    return rows


def test_what_the_same_weights_sampled_is_not_computed_again(monkeypatch):
    found = trainer()
    pieces = sampled(found)
    computed = reference(found, [replace(p, chosen=bare(p.chosen), rejected=bare(p.rejected)) for p in pieces])
    rows = passes(found, monkeypatch)
    taken = reference(found, pieces)
    assert sum(rows) <= 2 * PROBE
    assert taken.sampled == 1.0
    assert taken.gap < 1e-4
    assert (computed.sampled, computed.gap) == (0.0, None)
    torch.testing.assert_close(torch.tensor(taken.sums), torch.tensor(computed.sums), atol=1e-4, rtol=0)


def bare(said: Message) -> Message:
    return replace(said, parts=tuple(replace(part, logprobs=None) for part in said.parts))


def test_a_sampler_that_disagrees_is_not_believed(monkeypatch):
    found = trainer()
    pieces = sampled(found)
    before = reference(found, pieces)
    list(found.learn(replace(found.training_set(pieces, DPO(), PIECES, 1, (0,)), reference=before)))
    rows = passes(found, monkeypatch)
    after = reference(found, pieces)  # as if they had just been sampled; but the weights have moved
    assert after.sampled == 0.0
    assert after.gap > 1e-2
    assert sum(rows) == 2 * PIECES


def test_a_reply_that_was_written_or_mended_is_computed(monkeypatch):
    found = trainer()
    pieces = sampled(found)
    mended = [replace(pieces[0], chosen=bare(pieces[0].chosen)), *pieces[1:]]
    rows = passes(found, monkeypatch)
    taken = reference(found, mended)
    assert taken.sampled == (PIECES - 1) / PIECES
    assert sum(rows) <= 2 * (PROBE + 1)
    assert taken.sums[0][0] == pytest.approx(reference(found, pieces).sums[0][0], abs=1e-4)


def test_what_is_replayed_forgets_what_it_was_sampled_with():
    found = trainer()
    pieces = sampled(found, 4)
    memory = Memory(10)
    assert memory.replay(pieces) == pieces
    memory.remember(pieces)
    fresh, old = memory.replay(pieces)[:4], memory.replay([])[:4]
    assert fresh == pieces
    assert all(part.logprobs is None for p in old for side in (p.chosen, p.rejected) for part in side.parts)
    assert all(row.sampled is None for rows in found.training_set(old, DPO(), 4, 1, (0,)).pieces for row in rows)


def test_a_reply_cut_at_its_limit_is_trained_as_it_was_sampled_without_a_stop_token():
    found = trainer()
    voice = found.learner.speaker(0, logprobs=True)
    [whole] = sampled(found, 1)
    cut = asyncio.run(voice.reply(whole.prompt, Sampling(max_tokens=2)))
    assert cut.finish == "length"
    assert [len(part.logprobs) for part in cut.parts] == [2]
    piece = replace(whole, rejected=cut.by(LEARNER))
    [[chosen, rejected]] = found.training_set([piece], DPO(), 1, 1, (0,)).pieces
    assert chosen.ids[-1] == found.learner.model.renderer.stop_id
    assert rejected.ids[-2:] == cut.parts[0].ids
    assert sum(rejected.weights) == 2
    assert rejected.sampled == pytest.approx(sum(cut.logprobs), abs=1e-5)
    taken = reference(found, [piece])
    assert taken.gap < 1e-4


def test_a_run_takes_its_reference_from_the_sampler_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import sparring
    from sparring.runs.display import Display

    recipe = sparring.Recipe.read(
        {
            "task": {"kind": "multistep_arithmetic", "range": "easy"},
            "phase": [
                {"method": "response_preference", "problems": 48, "samples": 4, "max_tokens": 24,
                 "judge": {"by": "test_reference.Longest"}}
            ],
            "run": {"evaluate_problems": 0, "test_problems": 0, "max_learner_failures": 1.0, "threads": 1},
        }
    )  # fmt: skip
    sparring.train(recipe, tmp_path / "run", display=Display(live=False))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    [round_] = [line for line in lines if line["kind"] == "round"]
    [kept] = (tmp_path / "run").rglob("reference.json")
    assert round_["reference_sampled"] == json.loads(kept.read_text())["sampled"] > 0.2  # the rest was cut
    assert "reference log-probabilities: the sampler's for" in " ".join("".join(capsys.readouterr()).split())

"""Less memory by fewer bits: weights in four, an optimiser in eight, numbers in sixteen."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from sparring.common import extras
from sparring.common.errors import ConfigError
from sparring.config.recipe import Recipe
from sparring.core.chat import LEARNER
from sparring.core.objective import Likelihood
from sparring.core.speaker import Sampling
from sparring.inference.model import load_model
from sparring.inference.model_speaker import ModelSpeaker
from sparring.models import quantization
from sparring.models.source import Lora, ModelSource
from sparring.models.tiny import tiny_tokenizer
from sparring.runs.display import Display
from sparring.runs.load import load_learner
from sparring.runs.run import train
from sparring.speakers.local import Local
from sparring.training import checkpoint, merge
from sparring.training.checkpoint import Position, State, Usage
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer
from tests.encoder_decoders import saved
from tests.offload.learners import (
    ASKED,
    DEMONSTRATIONS,
    gradient,
    greedy,
    learner,
    same,
    taught,
    weights,
)

# ── weights in four bits ────────────────────────────────────────────────────────────────────────────────────


def test_four_bit_weights_are_small_speak_and_stay_while_their_adapters_learn(nf4, tmp_path):
    found = learner(nf4)
    whole = learner(replace(nf4, quantization=None))
    size, of_whole = (
        sum(t.numel() * t.element_size() for t in quantization.tensors(x.model.network)) for x in (found, whole)
    )
    assert size < 0.6 * of_whole  # embeddings and norms are as they were
    assert len(greedy(found)) > 0
    before = weights(found)
    taught(found, gradient_checkpointing=True)
    moved = {name for name, p in weights(found).items() if not torch.equal(p, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)

    found.save(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").glob("*.safetensors")} == {"adapter_model.safetensors"}
    again = learner(nf4)
    again.restore(tmp_path / "saved", "w")
    assert same(weights(again), weights(found))
    assert greedy(again) == greedy(found)


def test_models_in_four_bits_share_nothing_that_could_move_with_one_of_them(nf4):
    one, other = (list(quantization.tensors(learner(nf4).model.network)) for _ in range(2))
    assert not {id(tensor) for tensor in one} & {id(tensor) for tensor in other}


def test_gradients_pass_through_four_bit_weights_that_have_spoken(nf4):
    from bitsandbytes.functional import dequantize_4bit

    found, whole = learner(nf4), learner(replace(nf4, quantization=None))
    greedy(found)
    parts = dict(whole.model.network.named_modules())
    with torch.no_grad():
        for name, part in found.model.network.named_modules():
            if hasattr(getattr(part, "weight", None), "quant_state"):
                parts[name].weight.copy_(dequantize_4bit(part.weight.data, part.weight.quant_state))
        for network in (found.model.network, whole.model.network):
            torch.manual_seed(1)
            for name, p in network.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(p, std=0.1)
    expected = gradient(whole)
    assert float((gradient(found) - expected).norm()) < 1e-4 * float(expected.norm())


def test_adapters_of_four_bit_weights_are_folded_into_whole_ones(nf4, tmp_path):
    found = learner(nf4)
    taught(found, steps=3)
    checkpoint.save(tmp_path / "trained", found, Usage("sft", quantization="nf4"))
    merge.merge(tmp_path / "trained", tmp_path / "merged")
    assert load_learner(tmp_path / "merged").model.network.model.layers[0].mlp.up_proj.weight.dtype is torch.float32
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert getattr(merged, "hf_quantizer", None) is None
    ids = torch.tensor([[1, 20, 30, 40]])
    with torch.no_grad():
        expected, base = (
            x(ids).logits for x in (found.model.network.eval(), load_model(replace(nf4, lora=None)).network)
        )
        difference = float((merged(ids).logits - expected).abs().max())
    assert difference < 1e-4 * float((base - expected).abs().max())


def test_an_encoder_decoder_in_four_bits_learns_and_is_folded_into_a_whole_one(nf4, tmp_path):
    folder = saved(tmp_path / "t5", scale=0.3, d_model=64, d_kv=16, d_ff=128)
    found = learner(replace(nf4, model=str(folder)))
    before = weights(found)
    taught(found, steps=2, gradient_checkpointing=True)
    moved = {name for name, weight in weights(found).items() if not torch.equal(weight, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    checkpoint.save(tmp_path / "trained", found, Usage("sft", quantization="nf4"))
    merge.merge(tmp_path / "trained", tmp_path / "merged")
    assert greedy(Learner(load_learner(tmp_path / "merged").model)) == greedy(found)


def test_adapters_are_used_on_what_they_were_trained_on(nf4, tmp_path):
    recipe = Recipe.of(
        {
            "learner": {"model": nf4.model, "quantization": "nf4", "lora": {"rank": 2}},
            "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 8},
            "phase": [{"method": "sft", "problems": 8}],
            "run": {"evaluate_problems": 0, "test_problems": 0},
        }
    )
    best = train(recipe, tmp_path / "run", display=Display(live=False)).best
    used, trained = load_learner(best).model, learner(nf4)
    trained.restore(best, "w")
    adapted = used.network.get_submodule("model.layers.0.mlp.up_proj")
    assert adapted.base_layer.weight.dtype == torch.uint8
    ask = Sampling(temperature=0, max_tokens=24)
    said = [asyncio.run(ModelSpeaker(model, LEARNER, ("x",)).reply(ASKED, ask)) for model in (used, trained.model)]
    assert said[0] == said[1]


def test_a_partner_in_four_bits(nf4, folder, apart):
    partner = Local(str(folder), quantization="nf4", offload=True)
    first = asyncio.run(partner.reply(ASKED, Sampling(temperature=0, max_tokens=24)))
    frozen = partner.language_model
    assert frozen.network.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    assert not any(p.requires_grad for p in frozen.network.parameters())
    frozen.resident.leave()
    assert asyncio.run(partner.reply(ASKED, Sampling(temperature=0, max_tokens=24))) == first
    asked = [Local(str(folder), quantization=kind).request(ASKED, Sampling()) for kind in (None, "nf4")]
    assert asked[0] != asked[1]  # two calls on the ledger


def test_frozen_weights_are_not_trained(nf4, folder, tmp_path):
    with pytest.raises(ConfigError, match=r"quantization = 'nf4' freezes the weights; add a table lora"):
        Learner.load(replace(nf4, lora=None))
    with pytest.raises(ConfigError, match="quantization does not apply to model = 'tiny'; remove it"):
        ModelSource(quantization="nf4")
    load_model(replace(nf4, lora=None)).network.save_pretrained(tmp_path / "quantised")
    tiny_tokenizer().save_pretrained(tmp_path / "quantised")
    published = ModelSource(model=str(tmp_path / "quantised"))
    with pytest.raises(ConfigError, match="quantised' is quantized, so its weights are frozen; add a table lora"):
        Learner.load(published)
    taught(learner(replace(published, lora=Lora(rank=2))))


def test_without_the_extra_the_remedy_is_named(monkeypatch, folder):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    remedy = r"needs bitsandbytes, which is not installed: pip install 'sparring\[gpu\]'"
    with pytest.raises(ConfigError, match=f"quantization = 'nf4' {remedy}"):
        ModelSource(model=str(folder), quantization="nf4", lora=Lora())
    with pytest.raises(ConfigError, match=f"quantization = 'nf4' {remedy}"):
        Local(str(folder), quantization="nf4")
    with pytest.raises(ConfigError, match=f"optimizer = 'adamw_8bit' {remedy}"):
        TrainerSettings(optimizer="adamw_8bit")
    TrainerSettings()


# ── an optimiser with a state in eight bits ─────────────────────────────────────────────────────────────────


def test_the_optimisers_state_takes_eight_bits_but_for_embeddings_and_small_tensors():
    pytest.importorskip("bitsandbytes", reason="an extra that is not installed here")
    found = learner(hidden=128)
    trainer = taught(found, optimizer="adamw_8bit")
    kinds = {name: trainer.optimizer.state[p]["state1"].dtype for name, p in trainer.module.model.named_parameters()}
    assert kinds["model.layers.0.mlp.up_proj.weight"] == torch.uint8
    assert kinds["model.embed_tokens.weight"] == kinds["model.norm.weight"] == torch.float32
    plain = taught(learner(hidden=128))
    assert type(plain.optimizer.optimizer) is torch.optim.AdamW
    for name, p in weights(found).items():  # the same steps, to what eight bits can tell
        start = weights(learner(hidden=128))[name]
        step, expected = p - start, weights(plain.learner)[name] - start
        assert float((step - expected).norm()) < 0.1 * float(expected.norm()), name


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_a_checkpoint_goes_on_bit_for_bit(optimizer, folder, tmp_path):
    if optimizer == "adamw_8bit":
        pytest.importorskip("bitsandbytes", reason="an extra that is not installed here")
    source = ModelSource(model=str(folder), dtype="bfloat16")

    def go_on(trainer: Trainer) -> dict[str, torch.Tensor]:
        training_set = trainer.training_set(DEMONSTRATIONS, Likelihood(), 8, 2, (7,))
        list(trainer.learn(training_set))
        return weights(trainer.learner)

    whole = taught(learner(source), steps=2, optimizer=optimizer)
    checkpoint.save(tmp_path / "c", whole.learner, Usage("sft"), State(Position(), "w", whole.state()))
    resumed = Trainer(learner(source), whole.settings)
    resumed.learner.restore(tmp_path / "c", "w")
    resumed.restore(checkpoint.read_state(tmp_path / "c").training, whole.settings)
    assert same(go_on(whole), go_on(resumed))


# ── bfloat16 ────────────────────────────────────────────────────────────────────────────────────────────────


def test_small_steps_are_not_rounded_away(folder):
    found = learner(ModelSource(model=str(folder), dtype="bfloat16"))
    before = weights(found)
    trainer = taught(found, learning_rate=1e-6)
    changed = [torch.ne(p, before[name]).float().mean() for name, p in weights(found).items() if "embed" not in name]
    assert min(map(float, changed)) > 0.9
    stalled = copy.deepcopy(before["model.layers.0.mlp.up_proj.weight"]).bfloat16()
    assert float(torch.ne(stalled, stalled - 1e-6).float().mean()) < 0.05  # what steps in bfloat16 would have done
    assert trainer.optimizer.state[next(iter(trainer.optimizer.state))]["exp_avg"].dtype == torch.float32


def test_full_weights_compute_and_speak_in_bfloat16(folder, monkeypatch):
    found, copies = learner(ModelSource(model=str(folder), dtype="bfloat16")), []
    copied = quantization.in_bfloat16
    monkeypatch.setattr(quantization, "in_bfloat16", lambda *args: copies.append(copied(*args)) or copies[-1])
    voiced = asyncio.run(found.speaker(0).reply(ASKED, Sampling(max_tokens=24)))
    [spoken] = copies
    assert {p.dtype for p in spoken.parameters()} == {torch.bfloat16}
    assert spoken.model.rotary_emb.inv_freq.dtype == torch.float32
    assert spoken.lm_head.weight is spoken.model.embed_tokens.weight  # tied as in the original
    [part] = voiced.parts
    prompt = found.model.renderer.prompt(ASKED, LEARNER)
    ids = torch.tensor([[*prompt, *part.ids]])
    trained = torch.arange(ids.shape[1])[None] >= len(prompt)
    dtypes = set()
    found.model.network.model.layers[0].mlp.up_proj.register_forward_hook(lambda m, i, o: dtypes.add(o.dtype))
    logprobs = found.log_probs(ids, torch.ones_like(ids), trained)[0, len(prompt) :]
    assert dtypes == {torch.bfloat16}
    assert logprobs.dtype == torch.float32
    assert list(voiced.logprobs[: len(part.ids)]) == pytest.approx(logprobs.tolist(), abs=0.05)


def test_gradients_in_bfloat16_are_those_of_float32_to_its_precision(folder):
    exact, found = (gradient(learner(ModelSource(model=str(folder), dtype=kind))) for kind in ("float32", "bfloat16"))
    assert found.dtype == torch.float32
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.02


def test_what_speaks_follows_what_was_trained(folder):
    found = learner(ModelSource(model=str(folder), dtype="bfloat16"))
    before = greedy(found)
    taught(found, steps=4, experience=DEMONSTRATIONS, objective=Likelihood())
    assert "engine" not in vars(found.model)  # the copy takes no memory while weights are trained
    after = greedy(found)
    assert after != before
    fresh = load_model(ModelSource(model=str(folder), dtype="bfloat16"))
    with torch.no_grad():
        for p, trained in zip(fresh.network.parameters(), found.model.network.parameters(), strict=True):
            p.copy_(trained)
    assert greedy(Learner(fresh)) == after
    found.restore(folder, "w")
    assert greedy(found) == before


def test_adapters_are_in_float32_whatever_they_adapt_and_positions_are_exact(folder):
    found = learner(ModelSource(model=str(folder), dtype="bfloat16", lora=Lora(rank=2)))
    assert {p.dtype for p in found.model.network.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in found.model.network.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert not found.model.mixed
    taught(found)
    for source in (ModelSource(dtype="bfloat16"), ModelSource(model=str(folder), dtype="bfloat16")):
        network = load_model(source).network
        assert (network.dtype, network.model.rotary_emb.inv_freq.dtype) == (torch.bfloat16, torch.float32)


def test_formats_do_what_they_say(folder):
    plain = learner(ModelSource(model=str(folder), dtype="float32"))
    assert not torch.is_autocast_enabled("cpu")
    assert "forward" not in vars(plain.log_probs)
    with pytest.raises(ConfigError, match="'float16' loses small gradients when all weights are trained; use bfloat16"):
        Learner.load(ModelSource(model=str(folder), dtype="float16"))

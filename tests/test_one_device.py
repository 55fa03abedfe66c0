"""What makes large models fit one device: recomputing, four-bit weights, an eight-bit optimiser, bfloat16, turns."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparring import bits, checkpoint, export, turns
from sparring.chat import LEARNER, message, question
from sparring.checkpoint import Position, State, Usage
from sparring.display import Display
from sparring.errors import ConfigError, RunStopped
from sparring.experience import Demonstration, Preference
from sparring.learner import Learner
from sparring.model import LanguageModel, Lora, ModelSource, load
from sparring.objective import DPO, Likelihood
from sparring.recipe import Recipe
from sparring.run import train
from sparring.sampler import Sampler
from sparring.speaker import Sampling
from sparring.speakers import local
from sparring.speakers.local import Local
from sparring.tasks.multistep_arithmetic import MultistepArithmetic
from sparring.tiny import tiny_model, tiny_tokenizer
from sparring.together import together
from sparring.trainer import Trainer, TrainerSettings

ASKED = question("2+2=")
PREFERENCES = [
    Preference(f"p{n}", question(f"{n}+0="), message(LEARNER, f"{n}"), message(LEARNER, f"no, {n}" * (n % 3 + 1)))
    for n in range(12)
]
DEMONSTRATIONS = [
    Demonstration(f"p{n}", question(f"{n}=").then(message(LEARNER, f"{n}" * 3, weight=1.0))) for n in range(8)
]


@pytest.fixture
def folder(tmp_path):
    """A model in the Hugging Face format, as anybody's; rows of its weights fill blocks of four bits."""
    tiny_model(3, hidden=64).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def nf4(folder):
    """The settings of a learner in four bits."""
    pytest.importorskip("bitsandbytes", reason="an extra that is not installed here")
    return ModelSource(model=str(folder), quantization="nf4", lora=Lora(rank=2))


@pytest.fixture
def apart(monkeypatch):
    """Nobody else's turns; and moves between the memory of the CPU and a device that is the CPU are true copies."""
    moved = []
    monkeypatch.setattr(turns, "_TURNS", {})
    monkeypatch.setattr(local, "_LOADED", {})
    monkeypatch.setattr(turns, "across", lambda tensor, device: moved.append(tensor.numel()) or tensor.clone())
    return moved


def learner(source=None, dtype=None, **shape):
    if source is not None:
        found = Learner.load(source).model
        return Learner(
            found if dtype is None else LanguageModel(found.network.to(dtype), found.dialect.tokenizer, source)
        )
    return Learner(LanguageModel(tiny_model(0, **{"hidden": 64, **shape}), tiny_tokenizer(), ModelSource()))


def taught(found: Learner, steps=1, experience=PREFERENCES, objective=None, **settings) -> Trainer:
    """A trainer that has taken that many steps over all of `experience`."""
    trainer = Trainer(found, TrainerSettings(**{"learning_rate": 1e-2, "batch": 12, **settings}))
    for number in range(steps):
        lesson = trainer.lesson(experience, objective or DPO(nll_weight=0.5), 12, 1, (number,))
        list(trainer.learn(replace(lesson, reference=trainer.reference(lesson))))
    return trainer


def weights(found: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in found.model.network.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def greedy(found: Learner, count=24) -> str:
    return asyncio.run(found.voice(0).reply(ASKED, Sampling(temperature=0, max_tokens=count))).text


# ── recomputing activations ─────────────────────────────────────────────────────────────────────────────────


def gradient(found: Learner, **settings) -> torch.Tensor:
    trainer, kept = Trainer(found, TrainerSettings(batch=12, max_grad_norm=1e9, **settings)), []
    lesson = trainer.lesson(PREFERENCES, DPO(nll_weight=0.5), 12, 1, (0,))
    trained = [p for p in trainer.module.parameters() if p.requires_grad]
    trainer.optimizer.step = lambda: kept.append(torch.cat([p.grad.flatten() for p in trained]))
    list(trainer.learn(replace(lesson, reference=trainer.reference(lesson))))
    return kept[0]


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
    with pytest.raises(ConfigError, match="gradient_checkpointing: LlamaForCausalLM knows none"):
        taught(found, steps=0, gradient_checkpointing=True)


# ── weights in four bits ────────────────────────────────────────────────────────────────────────────────────


def test_four_bit_weights_are_small_speak_and_stay_while_their_adapters_learn(nf4, tmp_path):
    found = learner(nf4)
    whole = learner(replace(nf4, quantization=None))
    size, of_whole = (sum(t.numel() * t.element_size() for t in bits.tensors(x.model.network)) for x in (found, whole))
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
    one, other = (list(bits.tensors(learner(nf4).model.network)) for _ in range(2))
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
    checkpoint.save(tmp_path / "trained", found, Usage("sft"))
    export.merge(tmp_path / "trained", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert getattr(merged, "hf_quantizer", None) is None
    ids = torch.tensor([[1, 20, 30, 40]])
    with torch.no_grad():
        expected, base = (x(ids).logits for x in (found.model.network.eval(), load(replace(nf4, lora=None)).network))
        difference = float((merged(ids).logits - expected).abs().max())
    assert difference < 0.15 * float((base - expected).abs().max())  # what rounding to four bits took


def test_a_partner_in_four_bits(nf4, folder, apart):
    partner = Local(str(folder), quantization="nf4", offload=True)
    first = asyncio.run(partner.reply(ASKED, Sampling(temperature=0, max_tokens=24)))
    frozen = partner._voice.model
    assert frozen.network.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    assert not any(p.requires_grad for p in frozen.network.parameters())
    frozen.resident.leave()
    assert asyncio.run(partner.reply(ASKED, Sampling(temperature=0, max_tokens=24))) == first
    asked = [Local(str(folder), quantization=kind).request(ASKED, Sampling()) for kind in (None, "nf4")]
    assert asked[0] != asked[1]  # two calls on the ledger


def test_frozen_weights_are_not_trained(nf4, folder, tmp_path):
    with pytest.raises(ConfigError, match=r"quantization = 'nf4': weights in four bits are frozen; add a table lora"):
        Learner.load(replace(nf4, lora=None))
    with pytest.raises(ConfigError, match="quantization with model = 'tiny', which is small enough"):
        ModelSource(quantization="nf4")
    load(replace(nf4, lora=None)).network.save_pretrained(tmp_path / "quantised")
    tiny_tokenizer().save_pretrained(tmp_path / "quantised")
    published = ModelSource(model=str(tmp_path / "quantised"))
    with pytest.raises(ConfigError, match="quantised' is quantised, and such weights are frozen; add a table lora"):
        Learner.load(published)
    taught(learner(replace(published, lora=Lora(rank=2))))


def test_without_the_extra_the_remedy_is_named(monkeypatch, folder):
    monkeypatch.setattr(bits, "find_spec", lambda name: None)
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
        lesson = trainer.lesson(DEMONSTRATIONS, Likelihood(), 8, 2, (7,))
        list(trainer.learn(lesson))
        return weights(trainer.learner)

    whole = taught(learner(source), steps=2, optimizer=optimizer)
    checkpoint.save(tmp_path / "c", whole.learner, Usage("sft"), State(Position(), "w", whole.state()))
    resumed = Trainer(learner(source), whole.settings)
    resumed.learner.restore(tmp_path / "c", "w")
    resumed.restore(checkpoint.state(tmp_path / "c").training, whole.settings)
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


def test_full_weights_compute_and_speak_in_bfloat16(folder):
    found = learner(ModelSource(model=str(folder), dtype="bfloat16"))
    voiced = asyncio.run(found.voice(0).reply(ASKED, Sampling(max_tokens=24)))
    spoken = found.model.sampler._model
    assert {p.dtype for p in spoken.parameters()} == {torch.bfloat16}
    assert spoken.model.rotary_emb.inv_freq.dtype == torch.float32
    assert spoken.lm_head.weight is spoken.model.embed_tokens.weight  # tied as in the original
    [part] = voiced.parts
    prompt = found.model.dialect.prompt(ASKED, LEARNER)
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
    assert "sampler" not in vars(found.model)  # the copy takes no memory while weights are trained
    after = greedy(found)
    assert after != before
    fresh = load(ModelSource(model=str(folder), dtype="bfloat16"))
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
        network = load(source).network
        assert (network.dtype, network.model.rotary_emb.inv_freq.dtype) == (torch.bfloat16, torch.float32)


def test_formats_do_what_they_say(folder):
    plain = learner(ModelSource(model=str(folder), dtype="float32"))
    assert not torch.is_autocast_enabled("cpu")
    assert "forward" not in vars(plain.log_probs)
    with pytest.raises(ConfigError, match="'float16' loses small gradients of all weights; use bfloat16 or float32"):
        Learner.load(ModelSource(model=str(folder), dtype="float16"))


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────────


def discussed(found: Learner, partner: Local, count=64):
    """The chats of as many discussions at once, of three turns each."""

    async def one(number):
        chat = question(f"{number}+{number}=")
        for _ in range(3):
            reply = await found.voice(0, number).reply(chat, Sampling(max_tokens=4 + number % 5))
            chat = chat.then(reply.by(LEARNER))
            chat = chat.say("discussant", (await partner.reply(chat, Sampling(max_tokens=6))).text)
        return chat

    return asyncio.run(together(one, range(count), count))


def test_learner_and_partner_are_never_on_the_device_together(folder, apart, monkeypatch):
    together_ = discussed(learner(), Local(str(folder)))
    assert apart == []  # both stayed
    found, partner = learner(), Local(str(folder), offload=True)
    mine, other, steps = found.model, partner._voice.model, []
    step = Sampler.step

    def watched(self):
        steps.append((self is mine.sampler, mine.resident.present, other.resident.present))
        return step(self)

    monkeypatch.setattr(Sampler, "step", watched)
    apart_ = discussed(found, partner)
    assert set(steps) == {(True, True, False), (False, False, True)}
    assert apart_ == together_
    assert other.turns.handovers <= 6  # three turns of each, of 64 × 6 replies


def test_training_has_the_device_to_itself_and_moves_change_nothing(folder, apart):
    def rounds(offload: bool) -> Trainer:
        found, partner = learner(), Local(str(folder), offload=offload)
        trainer = Trainer(found, TrainerSettings(learning_rate=1e-2, batch=4))
        for number in range(2):
            discussed(found, partner, count=4)
            if offload:
                assert not (found.model.resident.present and partner._voice.model.resident.present)
                assert not trainer.moments.present
            lesson = trainer.lesson(PREFERENCES, DPO(), 12, 1, (number,))
            list(trainer.learn(replace(lesson, reference=trainer.reference(lesson))))
            if offload:
                assert found.model.resident.present
                assert trainer.moments.present
                assert not partner._voice.model.resident.present
        return trainer

    moved = rounds(offload=True)
    assert len(apart) > 0
    stayed = rounds(offload=False)
    assert same(weights(moved.learner), weights(stayed.learner))


def test_what_does_not_change_is_carried_away_once(apart):
    frozen, trained = torch.nn.Parameter(torch.ones(3), requires_grad=False), torch.nn.Parameter(torch.ones(5))
    found = turns.Resident(lambda: [frozen, trained], torch.device("cpu"))
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
    assert (greedy(found), found.model.resident.present, found.model._speaking.present) == (alone, False, True)
    asyncio.run(partner.reply(ASKED, Sampling(max_tokens=4)))
    assert (found.model.resident.present, found.model._speaking.present) == (False, False)
    assert greedy(found) == alone
    assert found.model._speaking.present
    taught(found)
    assert (found.model.resident.present, found.model._speaking) == (True, None)


def test_nobody_waits_for_one_that_failed_or_is_gone(folder, apart, monkeypatch):
    found, partner = learner(), Local(str(folder), offload=True)
    other = partner._voice.model
    with monkeypatch.context() as broken:
        broken.setattr(Sampler, "step", lambda self: 1 / 0)
        for asked in (found.voice(0), partner):
            with pytest.raises(ZeroDivisionError):
                asyncio.run(asked.reply(ASKED, Sampling(max_tokens=4)))
    assert len(greedy(found)) > 0
    assert asyncio.run(partner.reply(ASKED, Sampling(max_tokens=4))).completion_tokens > 0
    del partner, other, asked
    local._LOADED.clear()
    gc.collect()
    moves = len(apart)
    greedy(found)
    taught(found)
    assert len(apart) - moves <= len(weights(found)) + 3


def test_what_was_interrupted_is_forgotten(folder):
    found = learner(ModelSource(model=str(folder), dtype="bfloat16"))
    expected = greedy(found)

    async def interrupted():
        asked = [asyncio.create_task(found.voice(n).reply(ASKED, Sampling(max_tokens=400))) for n in range(2)]
        while not found.model._waiting:
            await asyncio.sleep(0)
        for task in asked:
            task.cancel()

    async def again():
        reply = await found.voice(0).reply(ASKED, Sampling(temperature=0, max_tokens=24))
        for _ in range(9):
            await asyncio.sleep(0)
        return reply.text, found.model._decoding.done()

    asyncio.run(interrupted())
    found.model.forget_copy()
    assert asyncio.run(again()) == (expected, True)  # and the turn is given to whoever waits for it


# ── all in one recipe ───────────────────────────────────────────────────────────────────────────────────────


def test_one_recipe_has_it_all_and_ends_as_if_it_had_never_stopped(nf4, folder, tmp_path, apart):
    asked = MultistepArithmetic(range="easy", train=64).problems("train")
    short = [Demonstration(p.id, p.chat.then(message(LEARNER, f"{p.gold}", weight=1.0))) for p in asked]
    taught(learner(), steps=10, experience=short, objective=Likelihood(), batch=8).learner.save(folder)
    table = {
        "learner": {"model": str(folder), "quantization": "nf4", "lora": {"rank": 8}, "dtype": "bfloat16"},
        "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 16, "development": 8, "test": 8},
        "phase": [
            {"method": "saie", "rounds": 2, "problems": 8, "max_tokens": 16,
             "discussant": {"by": "local", "model": str(folder), "quantization": "nf4", "offload": True,
                            "max_tokens": 16}},
        ],
        "trainer": {"batch": 4, "optimizer": "adamw_8bit", "gradient_checkpointing": True, "learning_rate": 1e-2},
        "run": {"save_every": 4, "threads": 1, "max_partner_failures": 1.0, "keep": 9},
    }  # fmt: skip
    recipe = Recipe.of(table)
    assert Recipe.of(recipe.table()).table() == recipe.table()
    assert recipe.table()["phase"][0]["discussant"]["offload"] is True
    quiet = Display(quiet=True)

    class Stopping(Display):
        """Stops in the second round's lesson, after its checkpoint."""

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

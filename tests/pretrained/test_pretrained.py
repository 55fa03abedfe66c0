"""What a real pretrained model must do: SmolLM2-135M-Instruct in the folder that SPARRING_PRETRAINED names."""

from __future__ import annotations

import asyncio
import copy
import os
from pathlib import Path

import pytest
import torch

from sparring.common.errors import RunStopped
from sparring.config.recipe import Recipe
from sparring.core.chat import LEARNER, SYSTEM, USER, Chat, Message, Part, question
from sparring.core.experience import Demonstration
from sparring.core.objective import Likelihood
from sparring.core.speaker import Sampling
from sparring.inference.model import LanguageModel, load_model
from sparring.inference.model_speaker import ModelSpeaker
from sparring.inference.packed_linear import PackedLinear
from sparring.models.source import Lora, ModelSource, learner_folder
from sparring.runs.display import Display
from sparring.runs.metrics import Metrics
from sparring.runs.run import train
from sparring.training.learner import Learner
from sparring.training.merge import merge
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer
from tests.cli.program import sparring_

pytestmark = [
    pytest.mark.pretrained,
    pytest.mark.skipif("SPARRING_PRETRAINED" not in os.environ, reason="SPARRING_PRETRAINED names no folder"),
]
FOLDER = os.environ.get("SPARRING_PRETRAINED", "")
ROWS = [
    ("Tom has 3 apples and buys 4 more. How many apples does he have?", "3 + 4 = 7\nThe answer is 7."),
    ("What is the capital of France?", "Paris."),
]
ROLES = {SYSTEM: "system", USER: "user", LEARNER: "assistant"}


def source(**settings) -> ModelSource:
    return ModelSource(FOLDER, device="cpu", **settings)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_model(source())


def reply(model: LanguageModel, chat: Chat, max_tokens: int):
    return asyncio.run(ModelSpeaker(model, LEARNER, ("test",)).reply(chat, Sampling(0.0, max_tokens=max_tokens)))


# ── chat template ───────────────────────────────────────────────────────────────────────────────────────────

CHATS = {
    "one turn": question("2 + 2 ="),
    "system prompt": question("Why?  Say it in one line.\n", system="You are terse."),
    "many turns": Chat().say(USER, "Name a colour.").say(LEARNER, "Red, über-red – 红 🙂").say(USER, " Another one? "),
    "many turns after a system prompt": question("a", system="Be kind.").say(LEARNER, "b").say(USER, "c"),
}


def templated(model: LanguageModel, chat: Chat, **kwargs) -> list[int]:
    messages = [{"role": ROLES[turn.author], "content": turn.text} for turn in chat.messages]
    return list(model.renderer.tokenizer.apply_chat_template(messages, return_dict=False, **kwargs))


@pytest.mark.parametrize("name", CHATS)
def test_prompts_and_training_rows_are_the_tokens_of_the_chat_template(model, name):
    chat = CHATS[name]
    assert list(model.renderer.prompt(chat, LEARNER)) == templated(model, chat, add_generation_prompt=True)
    answered = chat.then(Message(LEARNER, (Part("Forty-two.", LEARNER, weight=1.0),)))
    (row,) = model.renderer.rows(answered, LEARNER)
    whole = templated(model, answered)
    assert list(row.ids) == whole[: len(row.ids)]
    assert model.renderer.decode(whole[len(row.ids) :]) == "\n"  # what the template puts after the end of a turn
    trained = [token for token, weight in zip(row.ids, row.weights, strict=True) if weight]
    assert model.renderer.tokenizer.decode(trained) == "Forty-two.<|im_end|>"


@pytest.mark.parametrize("thinking", ["hidden", "kept"])
def test_earlier_thoughts_are_in_the_prompt_if_they_are_kept(thinking):
    model = load_model(source(thinking=thinking))
    thought = Part("<think>Two and two.</think>", LEARNER, thought=True)
    chat = question("2 + 2 =").then(Message(LEARNER, (thought, Part("4", LEARNER)))).say(USER, "And 3 + 3?")
    seen = question("2 + 2 =").say(LEARNER, "<think>Two and two.</think>4" if thinking == "kept" else "4")
    expected = templated(model, seen.say(USER, "And 3 + 3?"), add_generation_prompt=True)
    assert list(model.renderer.prompt(chat, LEARNER)) == expected


def test_a_reply_after_an_opening_marker_is_a_thought_until_it_is_closed(model):
    opened = str(model.renderer.tokenizer.chat_template).replace("assistant\n'", "assistant\n<think>'")
    thinker = load_model(source(thinking="hidden", chat_template=opened))
    said = reply(thinker, question("2 + 2 ="), 6)
    assert [part.thought for part in said.parts[:2]] == [True, True]
    assert (said.text, len(said.parts[1].ids)) == ("", 6)
    assert said.by(LEARNER).full_text.startswith("<think>")


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────


def test_greedy_replies_are_those_of_generate_though_decoded_together(model):
    chats = [question(text) for text, _ in ROWS] + [question(ROWS[0][0], system="Answer in French.")]

    async def sample():
        speaker = ModelSpeaker(model, LEARNER, ("test",))
        return await asyncio.gather(*(speaker.reply(chat, Sampling(0.0, max_tokens=24)) for chat in chats))

    replies = asyncio.run(sample())
    assert any(isinstance(layer, PackedLinear) for layer in model.engine.model.modules())
    for chat, said in zip(chats, replies, strict=True):
        prompt = torch.tensor([model.renderer.prompt(chat, LEARNER)])
        with torch.inference_mode():
            whole = model.network.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24
            )
        expected = [token for token in whole[0, prompt.shape[1] :].tolist() if token not in model.renderer.stop_ids]
        assert list(said.parts[0].ids) == expected


def test_talk_answers():
    said = sparring_("talk", FOLDER, stdin=f"{ROWS[1][0]}\n\n")
    assert said.code == 0, said
    assert "Paris" in said.out


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────


def trl_loss(network, renderer, folder):
    """The loss of TRL's trainer on ROWS as one batch."""
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    settings = trl.SFTConfig(
        output_dir=str(folder), per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, completion_only_loss=True, max_length=None,
    )  # fmt: skip
    rows = [
        {"prompt": [{"role": "user", "content": text}], "completion": [{"role": "assistant", "content": answer}]}
        for text, answer in ROWS
    ]
    other = trl.SFTTrainer(
        model=network, args=settings, train_dataset=datasets.Dataset.from_list(rows),
        processing_class=renderer.tokenizer,
    )  # fmt: skip
    batch = next(iter(other.get_train_dataloader()))
    # TRL also trains the newline that the template puts after a turn; ours ends with the stop token.
    newline, stop = batch["labels"] == renderer.tokenizer.encode("\n")[0], renderer.stop_id
    batch["labels"][newline & (batch["input_ids"].roll(1, dims=1) == stop)] = -100
    return other.compute_loss(other.model, batch)


@pytest.mark.parametrize("lora", [Lora(rank=4), None])
def test_a_step_is_that_of_trl(lora, tmp_path):
    model = load_model(source(lora=lora), trained=True)
    if lora:  # adapters start with a zero factor, and half of all gradients would be zero
        for name, weight in model.network.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.01, generator=torch.Generator().manual_seed(0))
    theirs = copy.deepcopy(model.network)

    trainer = Trainer(Learner(model), TrainerSettings(batch_size=2, learning_rate=1e-3, max_grad_norm=1e9))
    pieces = [
        Demonstration(text, question(text).then(Message(LEARNER, (Part(answer, LEARNER, weight=1.0),))))
        for text, answer in ROWS
    ]
    loss, measures, _ = trainer._accumulate_gradient(
        training_set := trainer.training_set(pieces, Likelihood(), 2, 1, ("test",)), range(2)
    )
    assert measures == {}
    ours = {name: weight.grad for name, weight in model.network.named_parameters() if weight.requires_grad}

    expected = trl_loss(theirs, model.renderer, tmp_path)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    gradients = {name: weight.grad for name, weight in theirs.named_parameters() if weight.requires_grad}
    assert gradients.keys() == ours.keys()
    for name, gradient in gradients.items():
        assert (ours[name] - gradient).norm() < 1e-3 * gradient.norm() + 1e-7, name
    if lora:  # and the step itself: AdamW moves each weight by the learning rate, against its gradient
        before = {name: weight.detach().clone() for name, weight in model.network.named_parameters() if name in ours}
        for _ in trainer.learn(training_set):
            pass
        weights = dict(model.network.named_parameters())
        moved = torch.cat([(weights[name] - before[name]).flatten() for name in before])
        sign = torch.cat([gradients[name].flatten().sign() for name in before])
        assert ((moved + 1e-3 * sign).abs() < 1e-5).float().mean() > 0.99


RECIPE = {
    "learner": {"model": FOLDER, "device": "cpu", "lora": {"rank": 4}},
    "task": {"kind": "word_sorting", "train": 6, "development": 2, "test": 2},
    "phase": [{"method": "sft", "epochs": 1, "max_tokens": 8}],
    "trainer": {"learning_rate": 1e-3, "batch_size": 2},
    "run": {"save_every": 2, "evaluate_problems": 0, "test_problems": 0, "threads": 1, "max_learner_failures": 1.0},
}


def adapters_of(run: Path) -> bytes:
    return (learner_folder(run) / "adapter_model.safetensors").read_bytes()


def test_a_resumed_run_ends_with_the_same_bits_and_its_merged_weights_with_the_same_logits(tmp_path, monkeypatch):
    quiet, recipe = Display(quiet=True), Recipe.of(RECIPE)
    train(recipe, tmp_path / "whole", display=quiet)
    original, stops = Metrics.record, [("step", 1, 1, 2)]

    def record(self, key, values):
        line = original(self, key, values)
        if stops and key == stops[0]:
            raise RunStopped(f"stopped at {stops.pop()}")
        return line

    monkeypatch.setattr(Metrics, "record", record)
    with pytest.raises(RunStopped):
        train(recipe, tmp_path / "stopped", display=quiet)
    train(recipe, tmp_path / "stopped", resume=True, display=quiet)
    assert stops == []
    assert adapters_of(tmp_path / "stopped") == adapters_of(tmp_path / "whole")

    folder = learner_folder(tmp_path / "whole")
    merge(tmp_path / "whole", tmp_path / "merged")
    ids = torch.tensor([load_model(source()).renderer.prompt(question(ROWS[0][0]), LEARNER)])
    with torch.inference_mode():
        adapted, merged, base = (
            load_model(ModelSource(str(place), device="cpu")).network.eval()(ids).logits
            for place in (folder, tmp_path / "merged", FOLDER)
        )
    torch.testing.assert_close(merged, adapted, atol=2e-3, rtol=1e-3)
    assert (merged - base).abs().max() > 0.1

"""Loading models, their voices, and what is in their replies."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import weakref
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from transformers import AutoModelForCausalLM

from sparring.common.errors import ConfigError, RunStopped, TooLong
from sparring.core.chat import LEARNER, Part, question
from sparring.core.speaker import Sampling, prefill
from sparring.inference.journal import Journal
from sparring.inference.model import LanguageModel, load_model
from sparring.inference.model_speaker import ModelSpeaker
from sparring.inference.sequence import Completion
from sparring.models.source import Lora, ModelSource
from sparring.models.tiny import tiny_model, tiny_tokenizer
from sparring.speakers.local import Local
from sparring.training.learner import Learner

ASKED = question("2+2=")


@pytest.fixture
def folder(tmp_path):
    """A model in the Hugging Face format, as anybody's."""
    tiny_model(3, hidden=32).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def reply(voice, chat=ASKED, **settings):
    return asyncio.run(voice.reply(chat, Sampling(**{"max_tokens": 12, **settings})))


def test_the_tiny_model_is_tiny_and_reads_every_character():
    model, tokenizer = tiny_model(0), tiny_tokenizer()
    assert 300_000 < sum(p.numel() for p in model.parameters()) < 500_000
    for text in ("3+4=7\n", "naïve – 漢字 🙂", "<think>hm</think>4", " two  spaces "):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(tokenizer.encode("<think>", add_special_tokens=False)) == 1
    assert all(torch.equal(a, b) for a, b in zip(tiny_model(0).parameters(), model.parameters(), strict=True))
    assert not torch.equal(next(tiny_model(1).parameters()), next(model.parameters()))


def test_a_reply_carries_its_tokens_and_their_log_probabilities(folder):
    model = load_model(ModelSource(model=str(folder)))
    ours = reply(ModelSpeaker(model, LEARNER, (0,)), max_tokens=24)
    [part] = ours.parts
    assert model.renderer.decode(part.ids) == ours.text
    assert ours.completion_tokens == len(ours.logprobs) == len(part.ids) + (ours.finish == "stop")
    prompt = model.renderer.prompt(ASKED, LEARNER)
    ids = torch.tensor([[*prompt, *part.ids]])
    with torch.no_grad():
        expected = model.network(ids).logits.log_softmax(-1)
    recomputed = [float(expected[0, len(prompt) + at - 1, token]) for at, token in enumerate(part.ids)]
    assert list(ours.logprobs[: len(part.ids)]) == pytest.approx(recomputed, abs=1e-4)


def test_a_reply_has_the_room_that_is_left_and_a_chat_without_room_is_told(folder):
    voice = ModelSpeaker(load_model(ModelSource(model=str(folder))), LEARNER, (0,))
    used = len(voice.model.renderer.prompt(question(""), LEARNER))
    nearly = reply(voice, question("x" * (512 - used - 3)), max_tokens=100)
    assert nearly.completion_tokens <= 3
    with pytest.raises(TooLong, match="a chat of 512 tokens leaves no room for a reply in a model of 512"):
        reply(voice, question("x" * (512 - used)))


def test_samples_differ_and_are_the_same_each_time(folder):
    voice = ModelSpeaker(load_model(ModelSource(model=str(folder))), LEARNER, (0, "p1"))

    async def ask(*samples):
        return [
            r.text for r in await asyncio.gather(*(voice.reply(ASKED, Sampling(max_tokens=12), n) for n in samples))
        ]

    together = asyncio.run(ask(0, 1, 2, 3))
    assert len(set(together)) == 4
    assert asyncio.run(ask(2)) == [together[2]]
    other = ModelSpeaker(voice.model, LEARNER, (0, "p2"))
    assert reply(other).text != together[0]


def test_an_open_turn_is_gone_on_with(folder):
    model = load_model(ModelSource(model=str(folder)))
    opened_chat = prefill(ASKED, LEARNER, (Part("2+2", LEARNER),))
    assert model.renderer.decode(model.renderer.prompt(opened_chat, LEARNER)).endswith("<assistant>2+2")
    assert reply(ModelSpeaker(model, LEARNER, (0,)), opened_chat, temperature=0).prompt_tokens > 0


def test_what_was_sampled_is_remembered(folder, tmp_path):
    model = load_model(ModelSource(model=str(folder)))

    def journalled(weights: str):
        with Journal(tmp_path / "journal.jsonl") as journal:
            return reply(ModelSpeaker(model, LEARNER, (0,), weights, journal))

    first = journalled("w")
    sampled = model.tokens_sampled
    assert (journalled("w"), model.tokens_sampled) == (first, sampled)
    journalled("other weights")
    assert model.tokens_sampled > sampled


def test_a_journal_keeps_its_replies_on_the_disk(tmp_path):
    replies = []
    with Journal(tmp_path / "j") as journal:
        for number in range(100):
            sampled = Completion((number,) * 1000, (-0.1 * number,) * 1000, "stop")
            journal.put(str(number), sampled)
            replies.append(weakref.ref(sampled))
            assert journal.get(str(number // 2)).ids[0] == number // 2  # reading in between moves no writing
        del sampled
        assert not any(reply() for reply in replies)
        assert journal.get("99") == Completion((99,) * 1000, (-0.1 * 99,) * 1000, "stop")
        assert journal.get("100") is None


def test_a_journal_whose_write_failed_goes_on_at_its_end(tmp_path, monkeypatch):
    replies, is_full = [Completion((n,), (-1.0,), "stop") for n in range(3)], []
    open_file = Path.open

    def opened(path, mode):
        file = open_file(path, mode)

        def write(line):
            file.write(line)
            if is_full:
                raise OSError(28, "full")

        return Mock(wraps=file, write=write)

    monkeypatch.setattr(Path, "open", opened)
    with Journal(tmp_path / "j") as journal:
        journal.put("0", replies[0])
        is_full.append(True)
        with pytest.raises(RunStopped, match="cannot write"):
            journal.put("1", replies[1])
        is_full.clear()
        journal.put("2", replies[2])
        assert [journal.get(name) for name in "012"] == [replies[0], None, replies[2]]


def test_a_journal_cut_in_mid_line_keeps_what_is_whole(tmp_path):
    with Journal(tmp_path / "j") as journal:
        for name in "ab":
            journal.put(name, Completion((1, 2), (-0.5, -1.5), "stop"))
    text = (tmp_path / "j").read_text()
    (tmp_path / "j").write_text(text[:-10])
    with Journal(tmp_path / "j") as again:
        assert again.get("a") == Completion((1, 2), (-0.5, -1.5), "stop")
        assert again.get("b") is None
        again.put("c", Completion((3,), (-1.0,), "length"))
    with Journal(tmp_path / "j") as last:
        assert last.get("c") == Completion((3,), (-1.0,), "length")


# ── thoughts ────────────────────────────────────────────────────────────────────────────────────────────────


class Fixed(LanguageModel):
    """Always samples the same words."""

    words = ""

    async def sample(self, request):
        ids = tuple(self.renderer.tokenizer.encode(self.words, add_special_tokens=False))
        return Completion((*ids, self.renderer.stop_id), (0.0,) * (len(ids) + 1), "stop")


def thinker(words, thinking, prefilled=False):
    tokenizer = tiny_tokenizer()
    if prefilled:
        tokenizer.chat_template += "{% if add_generation_prompt %}<think>{% endif %}"
    model = Fixed(tiny_model(0, hidden=32), tokenizer, ModelSource(thinking=thinking))
    model.words = words
    return ModelSpeaker(model, LEARNER, (0,))


@pytest.mark.parametrize("thinking", ["hidden", "kept"])
@pytest.mark.parametrize(("words", "prefilled"), [("<think>hm</think>4", False), ("hm</think>4", True)])
def test_an_own_thought_is_told_from_the_words(thinking, words, prefilled):
    ours = reply(thinker(words, thinking, prefilled))
    assert ours.text == "4"
    assert ours.by(LEARNER).full_text == "<think>hm</think>4"
    voice = thinker(words, thinking, prefilled)
    ids = tuple(token for part in ours.parts for token in voice.model.renderer.ids(part))
    assert voice.model.renderer.decode(ids) == words  # what the prompt held already is not trained twice
    chat = ASKED.then(ours.by(LEARNER)).say("discussant", "sure?")
    shown = voice.model.renderer.decode(voice.model.renderer.prompt(chat, LEARNER))
    assert ("hm" in shown) == (thinking == "kept")
    assert all("hm" not in turn.text for turn in chat.seen_by("discussant"))


def test_a_thought_without_an_end_leaves_no_words():
    assert reply(thinker("<think>hm hm", "hidden")).text == ""
    assert reply(thinker("4", "hidden")).text == "4"


def test_with_thinking_off_the_text_is_as_it_is_and_a_prefilled_marker_is_part_of_it():
    assert reply(thinker("<think>hm</think>4", "off")).text == "<think>hm</think>4"
    assert reply(thinker("hm</think>4", "off", prefilled=True)).text == "<think>hm</think>4"


def test_the_templates_switch_follows_the_setting():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template += "{% if enable_thinking %}(thinking){% endif %}"
    for thinking, expected in (("off", False), ("hidden", True)):
        model = LanguageModel(tiny_model(0, hidden=32), tokenizer, ModelSource(thinking=thinking))
        assert ("(thinking)" in model.renderer.decode(model.renderer.prompt(ASKED, LEARNER))) == expected


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_loaded_is_told_in_a_line(tmp_path, folder):
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere; give tiny, a folder"):
        load_model(ModelSource(model=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"lora does not apply to model = 'tiny': .* give a folder or a hub id"):
        ModelSource(lora=Lora())
    with pytest.raises(ConfigError, match="unknown device 'gpu'; give cpu, cuda"):
        load_model(ModelSource(device="gpu"))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template; give one with chat_template"):
        load_model(ModelSource(model=str(folder)))
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    from_file = load_model(ModelSource(model=str(folder), chat_template=str(template))).renderer.prompt(ASKED, LEARNER)
    written = load_model(ModelSource(model=str(folder), chat_template=template.read_text())).renderer
    assert written.prompt(ASKED, LEARNER) == from_file


def test_dtype_can_be_chosen(folder):
    assert load_model(ModelSource(model=str(folder), dtype="bfloat16")).network.dtype == torch.bfloat16
    assert load_model(ModelSource(model=str(folder))).network.dtype == torch.float32  # on a CPU


def test_a_lora_learner_saves_its_adapters_and_is_restored(folder, tmp_path):
    source = ModelSource(model=str(folder), lora=Lora(rank=2))
    learner = Learner.load(source)
    with torch.no_grad():
        for parameter in learner.model.network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    expected = learner.model.network(torch.tensor([[1, 2, 3]])).logits
    learner.save(tmp_path / "saved")
    again = Learner.load(source)
    assert not torch.equal(again.model.network(torch.tensor([[1, 2, 3]])).logits, expected)
    again.restore(tmp_path / "saved", "w")
    assert torch.equal(again.model.network(torch.tensor([[1, 2, 3]])).logits, expected)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.allclose(plain(torch.tensor([[1, 2, 3]])).logits, expected, atol=1e-5)


def test_local_partners_of_one_model_share_its_weights(folder):
    first, second = Local(str(folder)), Local(str(folder), seed=1)
    assert first.language_model is second.language_model
    assert not any(p.requires_grad for p in first.language_model.network.parameters())
    assert asyncio.run(first.reply(ASKED, Sampling(max_tokens=5))).completion_tokens <= 5
    with pytest.raises(ConfigError, match="untrained"):
        Local("tiny")


def test_a_library_that_adapters_import_does_not_complain_of_a_kernel_that_nobody_needs():
    pytest.importorskip("bitsandbytes")
    program = "import sparring.inference.model, bitsandbytes"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from sparring.common.errors import ConfigError
from sparring.core.chat import LEARNER, Chat, Message, Part, message, question
from sparring.core.experience import Demonstration, Preference
from sparring.core.objective import DPO, Likelihood
from sparring.core.speaker import Sampling, prefill
from sparring.inference.model import LanguageModel, load_model
from sparring.models.encoder_decoder import PLAIN_TEMPLATE, complete, divided, start_id
from sparring.models.introspection import cache_bytes, check_head, hidden, logits
from sparring.models.renderer import START, Renderer
from sparring.models.source import Lora, ModelSource
from sparring.training.learner import Learner
from sparring.training.settings import TrainerSettings
from sparring.training.trainer import Trainer
from tests.encoder_decoders import KINDS, bytewise, network, saved, without_newlines

TALK = question("1+1=").say(LEARNER, "3").say("partner", "Sure?")
CHATS = [
    question("2+2?"),
    question("How many apples are left?", "Be brief."),
    TALK,
    prefill(question("1+2="), LEARNER, [Part("12", LEARNER)]),
    prefill(TALK, LEARNER, [Part("no, ", LEARNER), Part("ab", LEARNER)]),
]
LORA = Lora(rank=4)


def model(kind: str = "flan", dtype: torch.dtype = torch.float32, **more) -> LanguageModel:
    tokenizer = bytewise()
    tokenizer.chat_template = PLAIN_TEMPLATE
    return LanguageModel(network(kind, **more).to(dtype), tokenizer, ModelSource())


@cache
def renderer() -> Renderer:
    return model().renderer


def sampled(found: Learner, sampling: Sampling, chats=CHATS, sample: int = 0):
    async def all_replies():
        speaker = found.speaker("x", logprobs=True)
        return await asyncio.gather(*(speaker.reply(chat, sampling, sample) for chat in chats))

    return asyncio.run(all_replies())


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_question_alone_is_the_encoders_text_and_later_turns_bear_their_part_in_the_talk():
    shown = [renderer().decode(renderer().prompt(chat, LEARNER)) for chat in CHATS]
    assert shown == [
        "2+2?<end>",
        "Be brief.\n\nHow many apples are left?<end>",
        "Question: 1+1=\n\nAnswer: 3\n\nReply: Sure?<end>",
        "1+2=<end>12",
        "Question: 1+1=\n\nAnswer: 3\n\nReply: Sure?<end>no, ab",
    ]


words = st.text("a1\n<>é ", max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=4), st.lists(st.integers(6, 200), max_size=5), words)
def test_a_prompt_is_a_prefix_of_its_row_with_one_start_and_sampled_ids_stay(turns, ids, begun):
    chat = Chat()
    for index, text in enumerate(turns[:-1] if len(turns) % 2 == 0 else turns):
        chat = chat.say(LEARNER if index % 2 else "partner", text)
    parts = (Part(begun, "task", weight=0.0), Part("as sampled", LEARNER, tuple(ids), weight=2.0))
    prompt = renderer().prompt(prefill(chat, LEARNER, parts[:1]), LEARNER)
    (row,) = renderer().rows(chat.then(Message(LEARNER, parts)), LEARNER)
    assert row.ids[: len(prompt)] == prompt
    assert row.ids.count(START) == 1
    assert row.ids[len(prompt) :] == (*ids, renderer().stop_id)
    assert row.weights == (0.0,) * len(prompt) + (2.0,) * (len(ids) + 1)  # the stop token is trained


def test_each_trained_turn_has_a_row_of_its_own_with_the_turns_before_it_in_the_encoder():
    both = Chat(tuple(turn.with_weight(float(turn.author == LEARNER)) for turn in TALK.messages))
    rows = renderer().rows(both.then(message(LEARNER, "2", weight=1.0)), LEARNER)
    assert [renderer().decode(row.ids) for row in rows] == [
        "1+1=<end>3<end>",
        "Question: 1+1=\n\nAnswer: 3\n\nReply: Sure?<end>2<end>",
    ]


def test_a_chat_template_of_the_models_own_is_kept():
    tokenizer = bytewise()
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    complete(network(), tokenizer, 0, all_weights_trained=True)
    found = Renderer(tokenizer, encoded=True)
    assert found.decode(found.prompt(TALK, LEARNER)) == "[user]1+1=[assistant]3[user]Sure?<end>"


# ── networks ────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_are_divided_at_start_whatever_their_lengths():
    rows = torch.tensor([[5, 6, 7, START, 8], [5, START, 6, 7, 0], [START, 9, 0, 0, 0]])
    inputs = divided(network(decoder_start_token_id=4), rows)
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [5, 0, 0], [0, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    first = [ids[:n] for ids, n in zip(inputs["decoder_input_ids"].tolist(), (2, 3, 2), strict=True)]
    assert first == [[4, 8], [4, 6, 7], [4, 9]]


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_head_give_the_logits_of_the_whole_model_row_by_row(kind):
    found = network(kind).double()
    check_head(found)
    rows = [[9, 8, 7, START, 10, 11, 12], [9, START, 10], [5, 6, 7, 8, 9, START, 10, 11]]
    padded = torch.tensor([row + [0] * (8 - len(row)) for row in rows])
    ours = logits(found, hidden(found, padded))
    for index, row in enumerate(rows):
        begin = row.index(START)
        decoder = torch.tensor([[start_id(found), *row[begin + 1 :]]])
        expected = found(input_ids=torch.tensor([row[:begin]]), decoder_input_ids=decoder).logits[0]
        torch.testing.assert_close(ours[index, begin : len(row)], expected, rtol=1e-6, atol=1e-6)


def test_a_token_takes_its_keys_and_values_in_every_layer_of_the_decoder():
    assert cache_bytes(network()) == 2 * 2 * 32 * 4  # layers, keys and values, numbers, bytes


def test_a_model_without_a_start_and_a_bound_of_a_cache_it_has_not_are_refused_by_name(tmp_path):
    folder = saved(tmp_path / "t5")
    with pytest.raises(ConfigError, match=r"cache_tokens does not apply to model = .* \(got 512\); remove it"):
        load_model(ModelSource(str(folder), cache_tokens=512))
    nameless = saved(tmp_path / "nameless", decoder_start_token_id=None)
    with pytest.raises(ConfigError, match=r"nameless' names no token to start the decoder; set decoder_start_token_id"):
        load_model(ModelSource(str(nameless)))


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_replies_are_those_of_plain_transformers_also_where_a_turn_is_open(kind):
    learner = Learner(model(kind))
    network_, chats = learner.model.network, CHATS
    for chat, reply in zip(chats, sampled(learner, Sampling(temperature=0, max_tokens=12), chats), strict=True):
        prompt = learner.model.renderer.prompt(chat, LEARNER)
        begin = prompt.index(START)
        plain = network_.generate(
            torch.tensor([prompt[:begin]]),
            decoder_input_ids=torch.tensor([[start_id(network_), *prompt[begin + 1 :]]]),
            do_sample=False, num_beams=1, max_new_tokens=12,
        )[0, len(prompt) - begin :].tolist()  # fmt: skip
        ids = [token for part in reply.parts for token in part.ids]
        assert plain[: len(ids)] == ids
        assert len(ids) == 12 or plain[len(ids)] == learner.model.renderer.stop_id


def test_a_request_draws_the_same_alone_in_a_crowd_and_in_another_order():
    learner, sampling = Learner(model()), Sampling(max_tokens=8, top_p=0.9)
    crowd = [reply.text for reply in sampled(learner, sampling)]
    assert [reply.text for reply in sampled(learner, sampling, CHATS[::-1])][::-1] == crowd
    assert [sampled(learner, sampling, [chat])[0].text for chat in CHATS] == crowd


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("kind", KINDS)
def test_sampled_log_probabilities_are_those_that_training_computes(kind, lora, tmp_path):
    learner = Learner.load(ModelSource(str(saved(tmp_path / kind, kind=kind)), lora=lora))
    perturb(learner)
    chosen, rejected = (sampled(learner, Sampling(max_tokens=10, top_k=20), sample=n) for n in (0, 1))
    pairs = [
        Preference(str(number), chat, one.by(LEARNER), other.by(LEARNER))
        for number, (chat, one, other) in enumerate(zip(CHATS[:3], chosen, rejected, strict=False))
    ]
    trainer = Trainer(learner, TrainerSettings())
    training_set = trainer.training_set(pairs, DPO(), 3, 1, (0,))
    said = [[row.sampled for row in rows] for rows in training_set.pieces]
    reference = trainer.reference(training_set)
    assert reference.gap < 1e-4
    for sums, of_engine in zip(reference.sums, said, strict=True):
        assert sums == pytest.approx(of_engine, abs=1e-4)
        assert max(sums) < 0
    assert len({*reference.sums}) == 3


def perturb(learner: Learner) -> None:
    """Make adapters do something: half of them are zero at first."""
    torch.manual_seed(1)
    for name, weight in learner.model.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────

DEMONSTRATIONS = [
    Demonstration(
        f"p{n}", question("+".join("1" * (n % 5 + 1))).then(message(LEARNER, str(n) * (n % 3 + 1), weight=1.0))
    )
    for n in range(8)
]
PREFERENCES = [
    Preference(f"p{n}", CHATS[n % 3], message(LEARNER, f"{n}"), message(LEARNER, f"no, {n}" * (n % 3 + 1)))
    for n in range(8)
]


def gradient(experience, objective, kind="flan", **settings) -> torch.Tensor:
    """The gradient of one step over all of `experience`, before clipping."""
    trainer = Trainer(
        Learner(model(kind, torch.float64)), TrainerSettings(batch_size=99, max_grad_norm=1e9, **settings)
    )
    training_set = trainer.training_set(experience, objective, len(experience), 1, (0,))
    training_set = replace(training_set, reference=trainer.reference(training_set))
    kept = []
    trainer.optimizer.step = lambda: kept.append(torch.cat([p.grad.flatten() for p in trainer.module.parameters()]))
    list(trainer.learn(training_set))
    return kept[0]


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).norm() / one.norm()) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("experience", [DEMONSTRATIONS, PREFERENCES])
def test_how_a_step_is_split_padded_and_ordered_changes_nothing(kind, experience):
    objective = Likelihood() if experience is DEMONSTRATIONS else DPO(nll_weight=0.5)
    whole = gradient(experience, objective, kind)
    assert float(whole.norm()) > 0
    assert close(whole, gradient(experience, objective, kind, batch_tokens=20))
    assert close(whole, gradient(experience[::-1], objective, kind))
    assert close(whole, gradient(experience, objective, kind, gradient_checkpointing=True))


def test_the_gradient_is_that_of_the_models_own_loss():
    trained = DEMONSTRATIONS[4]
    found = network().double()
    row = renderer().rows(trained.chat, LEARNER)[0]
    begin = row.ids.index(START)
    labels = torch.tensor([row.ids[begin + 1 :]])
    found(input_ids=torch.tensor([row.ids[:begin]]), labels=labels).loss.backward()
    expected = torch.cat([p.grad.flatten() for p in found.parameters()])
    assert close(expected, gradient([trained], Likelihood()))


def test_weight_0_gives_no_gradient():
    first = DEMONSTRATIONS[0]
    silent = replace(first, chat=first.chat.say("partner", "hm").then(message(LEARNER, "xyz", weight=0.0)))
    both = Chat((*TALK.messages, Message(LEARNER, (Part("said", LEARNER, weight=0.0), Part("2", LEARNER, weight=1.0)))))
    alone = prefill(TALK, LEARNER, [Part("said", LEARNER, weight=0.0)])
    assert close(gradient([first], Likelihood()), gradient([silent], Likelihood()))
    found = renderer().rows(both, LEARNER)[0]
    assert sum(found.weights) == 2.0  # "2" and the stop token
    assert renderer().rows(alone, LEARNER) == []


def test_it_learns_to_answer_each_question_as_it_was_shown(tmp_path):
    learner = Learner.load(ModelSource(str(saved(tmp_path / "t5", scale=0.1))))
    answers = {"a": "12", "b": "345", "c": "6"}
    shown = [
        Demonstration(asked, question(asked).then(message(LEARNER, answer, weight=1.0)))
        for asked, answer in answers.items()
    ]
    trainer = Trainer(learner, TrainerSettings(learning_rate=1e-2))
    list(trainer.learn(trainer.training_set(shown, Likelihood(), 3, 60, (0,))))
    replies = sampled(learner, Sampling(temperature=0, max_tokens=8), [question(asked) for asked in answers])
    assert [(reply.text, reply.finish) for reply in replies] == [(answer, "stop") for answer in answers.values()]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dpo_at_the_reference_is_ln_2_and_then_falls_with_dropout_too(dropout):
    trainer = Trainer(Learner(model(dropout_rate=dropout)), TrainerSettings(learning_rate=1e-2, batch_size=8))
    training_set = trainer.training_set(PREFERENCES, DPO(), 8, 4, (0,))
    training_set = replace(training_set, reference=trainer.reference(training_set))
    losses = [step.loss for step in trainer.learn(training_set)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses[-1] < 0.6


# ── newlines ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spare", [0, 8])
def test_a_tokenizer_that_loses_newlines_gets_a_token_for_them_when_all_weights_are_trained(tmp_path, spare):
    tokenizer = without_newlines()
    size = len(tokenizer) + spare
    folder = saved(tmp_path / "t5", tokenizer, size=size)
    found = Learner.load(ModelSource(str(folder)))
    ids = found.model.renderer.tokenizer.encode("7*3=21\n4-21=-17\n\n-17", add_special_tokens=False)
    assert found.model.renderer.decode(ids) == "7*3=21\n4-21=-17\n\n-17"
    assert found.model.network.get_input_embeddings().num_embeddings == max(size, len(tokenizer) + 1)
    assert sampled(found, Sampling(max_tokens=4), CHATS[:1])
    found.save(tmp_path / "saved")
    for source in (ModelSource(str(tmp_path / "saved")), ModelSource(str(tmp_path / "saved"), lora=LORA)):
        assert load_model(source).renderer.decode(ids) == "7*3=21\n4-21=-17\n\n-17"
    plain = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert plain.encode("a\nb", add_special_tokens=False).count(len(tokenizer)) == 1
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved").config.vocab_size == max(size, len(tokenizer) + 1)
    torch.manual_seed(7)  # the new embedding comes from the run's seed alone
    again = Learner.load(ModelSource(str(folder)))
    for one, other in zip(found.model.network.parameters(), again.model.network.parameters(), strict=True):
        assert torch.equal(one, other)
    again.model.network.get_input_embeddings().weight.data += 1.0
    again.restore(tmp_path / "saved", "name")
    assert torch.equal(again.model.network.lm_head.weight, found.model.network.lm_head.weight)


def test_what_is_not_trained_as_a_whole_writes_newlines_as_its_tokenizer_does(tmp_path):
    folder = saved(tmp_path / "t5", without_newlines())
    for found in (load_model(ModelSource(str(folder))), Learner.load(ModelSource(str(folder), lora=LORA)).model):
        ids = found.renderer.tokenizer.encode("1\n2", add_special_tokens=False)
        assert found.renderer.decode(ids) == "1 2"

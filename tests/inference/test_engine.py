"""What the engine samples: the same as transformers, in any company, on models of many kinds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    MambaConfig,
)

from sparring.common.errors import ConfigError, RunStopped
from sparring.core.speaker import Sampling
from sparring.inference import engine as module
from sparring.inference import kv_cache
from sparring.inference.engine import Engine
from sparring.inference.sequence import Completion, Request
from sparring.models.introspection import cache_bytes, forkable
from tests.inference.decoding import CONFIGS, STOP, exact, letters, network, prompts, recomputed, replies
from tests.small_models import VOCABULARY


@pytest.mark.parametrize("slots", [1, 3, 64])
@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_replies_are_those_of_generate(name, slots):
    model = network(name)
    requests = [
        Request(ids, Sampling(temperature=0, max_tokens=5 + 3 * (i % 5)), i) for i, ids in enumerate(prompts(12))
    ]
    for request, sampled in zip(requests, replies(model, requests, slots=slots), strict=True):
        limit = request.sampling.max_tokens
        ids = torch.tensor([request.ids])
        mask = torch.ones_like(ids)
        whole = model.generate(
            ids, attention_mask=mask, do_sample=False, max_new_tokens=limit, eos_token_id=STOP, pad_token_id=0
        )
        assert sampled.ids == tuple(whole[0, len(request.ids) :].tolist())
        assert sampled.finish == ("stop" if sampled.ids[-1] == STOP else "length")


@pytest.mark.parametrize("name", CONFIGS)
def test_log_probabilities_are_those_of_a_plain_forward_pass(name):
    model = network(name)
    sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=20)
    requests = [Request(ids, sampling, i) for i, ids in enumerate(prompts(20))]
    for request, sampled in zip(requests, replies(model, requests, slots=6), strict=True):
        expected = recomputed(model, request, sampled)
        torch.testing.assert_close(torch.tensor(sampled.logprobs), expected, atol=1e-4, rtol=0)


def test_first_tokens_are_distributed_as_the_softmax_says():
    model, prompt, count = network(), (5, 6, 7), 8000
    sampling = Sampling(temperature=2.0, max_tokens=1)
    counts = torch.zeros(VOCABULARY)
    for sampled in replies(model, [Request(prompt, sampling, i) for i in range(count)], slots=2000):
        counts[sampled.ids[0]] += 1
    with torch.no_grad():
        expected = (model(torch.tensor([prompt])).logits[0, -1] / 2).softmax(-1) * count
    often = expected >= 5
    chi2 = ((counts - expected)[often] ** 2 / expected[often]).sum()
    assert chi2 < often.sum() + 4 * math.sqrt(2 * often.sum())


def test_a_request_draws_the_same_alone_in_a_crowd_and_in_another_order():
    model = exact()
    kinds = [{}, {"temperature": 0.5, "top_k": 5}, {"temperature": 0}, {"top_p": 0.6}]
    requests = [Request(ids, Sampling(**kinds[i % 4], max_tokens=30), i // 2) for i, ids in enumerate(prompts(20))]
    crowd = replies(model, requests)
    assert [sampled.ids for request in requests for sampled in replies(model, [request])] == [s.ids for s in crowd]
    assert [s.ids for s in reversed(replies(model, requests[::-1], slots=5))] == [s.ids for s in crowd]


def test_the_same_submissions_give_the_same_bits():
    model = network()
    requests = [Request(ids, Sampling(max_tokens=20), i) for i, ids in enumerate(prompts(20))]
    assert replies(model, requests, slots=7) == replies(model, requests, slots=7)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_every_request_is_answered_once_whenever_it_comes(data):
    model = exact()
    engine = Engine(
        model,
        [STOP],
        letters,
        slots=data.draw(st.integers(1, 8), "slots"),
        cache_tokens=data.draw(st.none() | st.integers(20, 200), "cache_tokens"),
    )
    pool = prompts(4, longest=20)
    waves = data.draw(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=5), max_size=6))
    requests: dict[int, Request] = {}
    ended: list[tuple[int, Completion]] = []
    for wave in [*waves, []]:
        for prompt, limit in wave:
            request = Request(pool[prompt], Sampling(max_tokens=limit), len(requests))
            requests[engine.submit(request)] = request
        steps = data.draw(st.integers(0, 8), "steps") if wave else 10**6
        while engine.busy and steps:
            ended += engine.step()
            steps -= 1
    assert sorted(ticket for ticket, _ in ended) == sorted(requests)
    for ticket, sampled in ended:
        assert sampled.ids == replies(model, [requests[ticket]])[0].ids


def test_stats_count_rows_requests_and_what_was_computed():
    engine = Engine(network(), [], letters, slots=2)
    for i in range(3):
        engine.submit(Request((5,) * 11, Sampling(max_tokens=4), i))
    assert (engine.stats().rows, engine.stats().waiting, engine.stats().cache_bytes) == (0, 3, 0)
    engine.step()
    stats = engine.stats()
    assert (stats.rows, stats.waiting, stats.decode_steps) == (2, 1, 1)
    assert stats.prefill_tokens == 10  # both rows have the same prompt; its last token goes through the step
    assert stats.cache_bytes == stats.cache_rows * stats.cache_columns * cache_bytes(network())
    while engine.busy:
        engine.step()
    assert (engine.stats().waiting, engine.stats().decode_steps) == (0, 8)


def test_late_requests_join_rows_under_way():
    model = network()
    engine = Engine(model, [], letters)
    early = [engine.submit(Request(ids, Sampling(max_tokens=40), i)) for i, ids in enumerate(prompts(5))]
    ended = [pair for _ in range(5) for pair in engine.step()]
    assert not ended
    late = engine.submit(Request((3, 4), Sampling(max_tokens=3), 99))
    while engine.busy:
        ended += engine.step()
    assert ended[0][0] == late
    assert {ticket for ticket, _ in ended} == {*early, late}


def test_one_late_request_does_not_wait_for_a_crowd():
    engine = Engine(network(), [], letters)
    for i, ids in enumerate(prompts(20)):
        engine.submit(Request(ids, Sampling(max_tokens=100), i))
    engine.step()
    late = engine.submit(Request((3, 4), Sampling(max_tokens=1), 99))
    assert late in [ticket for _ in range(module.MAX_PREFILL_WAIT + 1) for ticket, _ in engine.step()]


def test_no_logits_of_a_prompt_are_computed():
    model, shapes = network(), []
    model.lm_head.register_forward_hook(lambda _, args, output: shapes.append(tuple(output.shape[:2])))
    replies(model, [Request(ids, Sampling(max_tokens=1), 0) for ids in prompts(20)])
    assert {tokens for _, tokens in shapes} == {1}


def test_requests_with_one_prompt_are_prefilled_once():
    model, counted = network(), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: counted.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    prompt = prompts(30)[29]
    first = [Request(prompt, Sampling(max_tokens=4), i) for i in range(6)]
    replies(model, first, stop_ids=(), slots=4)  # the last two find the prompt in the rows under way or start afresh
    assert counted[0] == len(prompt) - 1
    assert counted[1:5] == [4, 4, 4, 4]


def test_what_does_not_fit_the_model_is_refused_at_once():
    engine = Engine(network(), [], letters)
    with pytest.raises(
        ConfigError, match=r"prompt of 100 tokens and a reply of up to 201 exceed the model's 300 positions"
    ):
        engine.submit(Request((3,) * 100, Sampling(max_tokens=201), 0))
    with pytest.raises(ConfigError, match="the prompt is empty"):
        engine.submit(Request((), Sampling(), 0))
    engine.submit(Request((3,) * 100, Sampling(max_tokens=200), 0))


def test_a_model_in_training_samples_without_dropout_and_trains_on():
    model = network("gpt2")  # with dropout of 0.1
    requests = [Request(ids, Sampling(max_tokens=20), i) for i, ids in enumerate(prompts(6))]
    expected = replies(model, requests)
    model.train()
    model.lm_head.eval()
    assert replies(model, requests) == expected
    assert model.training
    assert model.transformer.drop.training
    assert not model.lm_head.training
    model(torch.tensor([[3, 4]])).logits.sum().backward()
    assert forkable(model)  # which it is with its own attention only


def test_logits_that_are_not_numbers_stop_the_run():
    model = network()
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    for temperature in (0, 1):
        with pytest.raises(RunStopped, match="logits contain NaN"):
            replies(model, [Request((3,), Sampling(temperature=temperature), 0)])


def test_the_fallback_draws_what_the_engine_draws(monkeypatch):
    model = exact()
    kinds = [Sampling(max_tokens=12), Sampling(temperature=0, max_tokens=9), Sampling(stop=("d",), max_tokens=20)]
    requests = [Request(ids, kinds[i % 3], i) for i, ids in enumerate(prompts(10))]
    expected = replies(model, requests)
    model.generation_config.repetition_penalty = 3.0
    monkeypatch.setattr(module, "obstacle", lambda _: "a reason")
    ours = replies(model, requests, slots=4)
    assert [(s.ids, s.finish, s.retokenised) for s in ours] == [(s.ids, s.finish, s.retokenised) for s in expected]
    assert model.generation_config.repetition_penalty == 3.0


def test_a_state_space_model_falls_back_and_says_why_once_in_one_line(caplog):
    module.warn_slow.cache_clear()
    torch.manual_seed(0)
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    model = AutoModelForCausalLM.from_config(MambaConfig(**shape, eos_token_id=None, pad_token_id=0)).eval()
    requests = [Request(ids, Sampling(max_tokens=8), i) for i, ids in enumerate(prompts(5))]
    ours = replies(model, requests)
    assert replies(model, requests, cache_gib=1.0) == ours
    assert cache_bytes(model) == 0
    assert [record.getMessage() for record in caplog.records if record.name == "sparring.inference.engine"] == [
        "replies are sampled by model.generate, which is slower: the model keeps more than keys and values"
    ]
    for request, sampled in zip(requests, ours, strict=True):
        torch.testing.assert_close(
            torch.tensor(sampled.logprobs), recomputed(model, request, sampled), atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("compute", [kv_cache.by_products, kv_cache.fused])
@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral"])
def test_attention_by_span_or_of_all_rows_at_once_is_the_same(name, compute, monkeypatch):
    model = exact(name)
    requests = [Request(ids, Sampling(max_tokens=3 * i), i) for i, ids in enumerate(prompts(40), start=1)]
    monkeypatch.setattr(kv_cache, "fused", compute)  # what float64 takes
    by_span = replies(model, requests, stop_ids=())
    monkeypatch.setattr(module, "SPAN_ATTENTION", None)
    assert [s.ids for s in by_span] == [s.ids for s in replies(model, requests, stop_ids=())]


def test_adapters_change_the_replies():
    plain, requests = network(), [Request(ids, Sampling(max_tokens=10), i) for i, ids in enumerate(prompts(6))]
    without = replies(plain, requests)
    model = get_peft_model(plain, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    for request, sampled in zip(requests, replies(model, requests), strict=True):
        torch.testing.assert_close(
            torch.tensor(sampled.logprobs), recomputed(model, request, sampled), atol=1e-4, rtol=0
        )
    assert [s.ids for s in replies(model, requests)] != [s.ids for s in without]


def test_a_model_in_half_precision_gives_log_probabilities_in_single():
    model = network().bfloat16()
    for ids in prompts(4):
        request = Request(ids, Sampling(max_tokens=8), 0)
        (sampled,) = replies(model, [request])
        assert torch.tensor(sampled.logprobs).sub(recomputed(model.float(), request, sampled)).abs().max() < 0.5
        model.bfloat16()

"""A conversation's next turn reuses the keys and values of the one before; replies stay the same."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import DynamicCache

from sparring.core.speaker import Sampling
from sparring.inference import engine as module
from sparring.inference.engine import Engine
from sparring.inference.kv_cache import KeyValueCache
from sparring.inference.sequence import Completion, Request
from tests.inference.decoding import CONFIGS, exact, letters, network, prompts, replies

PROMPTS = [(3, *ids, *ids, *range(2, 30)) for ids in prompts(9)]
REMARK = (7, 8, 9, 10, 11)


def computed(model) -> list[int]:
    """How many tokens each prefill of `model` will have taken in."""
    counted: list[int] = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: (
            counted.append(kwargs["input_ids"].numel()) if kwargs["input_ids"].shape[1] > 1 else None
        ),
        with_kwargs=True,
    )
    return counted


def conversations(model, sampling: Sampling, turns: int = 3, watch=lambda _: None, stop_ids=(), **settings):
    """A conversation from each prompt: a reply, a remark, the next reply, requested at once."""
    engine = Engine(model, stop_ids, letters, **settings)
    answered: dict[tuple[int, int], tuple[Request, Completion]] = {}
    open_requests: dict[int, tuple[int, int, Request]] = {}

    def ask(prompt: int, number: int, ids: tuple[int, ...]) -> None:
        request = Request(ids, sampling, 10 * prompt + number)
        open_requests[engine.submit(request)] = prompt, number, request

    for prompt, ids in enumerate(PROMPTS):
        ask(prompt, 0, ids)
    while engine.busy:
        for ticket, sampled in engine.step():
            prompt, number, request = open_requests.pop(ticket)
            answered[prompt, number] = request, sampled
            if number + 1 < turns:
                ask(prompt, number + 1, request.ids + sampled.ids + REMARK)
        watch(engine)
    return [answered[name] for name in sorted(answered)]


@pytest.mark.parametrize("slots", [3, 32])
@pytest.mark.parametrize("name", CONFIGS)
def test_replies_are_the_same_with_and_without_reuse(name, slots, monkeypatch):
    model = exact(name)
    for sampling in (Sampling(temperature=0, max_tokens=9), Sampling(max_tokens=12)):
        reused = conversations(model, sampling, slots=slots)
        monkeypatch.setattr(module, "MIN_SHARED_TOKENS", 10**9)
        recomputed = conversations(model, sampling, slots=slots)
        monkeypatch.undo()
        for (request, ours), (_, theirs) in zip(reused, recomputed, strict=True):
            assert ours.ids == theirs.ids, request
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-6)


@pytest.mark.parametrize("slots", [2, 32])
def test_only_what_is_new_in_a_next_turn_is_computed(slots):
    model = network()
    counted = computed(model)
    conversations(model, Sampling(max_tokens=12), turns=1, slots=slots)
    first = sum(counted)
    counted.clear()
    conversations(model, Sampling(max_tokens=12), turns=3, slots=slots)
    new = 2 * len(PROMPTS) * (len(REMARK) + 1)  # the last tokens of replies and remarks; the others are as many
    assert sum(counted) <= first + new + 6 * module.MAX_PADDING


@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_the_ids_of_the_cache_are_those_whose_keys_it_holds(name, monkeypatch):
    monkeypatch.setattr(module, "COMPACTION_SHARE", 1)  # rows that ended stay for some steps
    model, caches, seen = exact(name), [], set()
    monkeypatch.setattr(module, "KeyValueCache", lambda: caches.append(KeyValueCache()) or caches[-1])

    def watch(engine: Engine) -> None:
        for row, columns in enumerate(caches[-1].ids_BC):
            ids = columns[columns >= 0].tolist()
            if len(ids) and (row, tuple(ids)) not in seen:
                seen.add((row, tuple(ids)))
                with torch.no_grad():
                    layers = model(torch.tensor([ids]), past_key_values=DynamicCache()).past_key_values.layers
                for layer, (keys, _) in zip(layers, caches[-1].tensors.values(), strict=True):
                    torch.testing.assert_close(keys[row, :, : len(ids)], layer.keys[0])

    conversations(model, Sampling(max_tokens=15), watch=watch, stop_ids=range(2, 7), slots=6, cache_tokens=900)
    lengths = {len(ids) for _, ids in seen}
    assert len(lengths) > 60


def test_a_row_that_ended_at_the_last_column_is_in_nobodys_way(monkeypatch):
    monkeypatch.setattr(module, "COMPACTION_SHARE", 1)
    model = network()
    for limit in range(10, 50):
        engine = Engine(model, (), letters)
        for i in range(8):
            engine.submit(Request((3 + i,), Sampling(max_tokens=70), i))
        engine.submit(Request(PROMPTS[4][:10], Sampling(max_tokens=limit), 99))
        for _ in range(limit + 8):
            engine.step()


def test_next_turns_of_any_length_are_computed_up_to_the_last_position_of_the_model():
    model = network("gpt2")  # of 300 positions
    engine = Engine(model, (), letters)
    long, short = (5, 6, 7) * 90, (8, 9) * 60
    for ids in ((long, short), (long + (3,) * 29, short + (3,) * 36)):
        tickets = [engine.submit(Request(prompt, Sampling(max_tokens=1), 0)) for prompt in ids]
        ended: dict[int, Completion] = {}
        while engine.busy:
            ended |= dict(engine.step())
    (alone,) = replies(model, [Request(long + (3,) * 29, Sampling(max_tokens=1), 0)], stop_ids=())
    assert ended[tickets[0]].logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_greedy_text_is_the_same_in_single_precision_and_log_probabilities_nearly():
    model = network()
    for request, sampled in conversations(model, Sampling(temperature=0, max_tokens=10)):
        (alone,) = replies(model, [request], stop_ids=())
        assert sampled.ids == alone.ids
        assert sampled.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def turn(engine: Engine, ids: tuple[int, ...], tokens: int = 12):
    engine.submit(Request(ids, Sampling(temperature=0, max_tokens=tokens), 0))
    while engine.busy:
        ended = engine.step()
    return ended[0][1]


def stepped(**settings):
    def move(model):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **settings)
        model(input_ids=torch.tensor([[3]])).logits.logsumexp(-1).sum().backward()
        optimizer.step()

    return move


def loaded(model):
    torch.manual_seed(5)
    model.load_state_dict({name: torch.randn_like(weight) / 5 for name, weight in model.state_dict().items()})


def exchanged(model):
    for weight in model.parameters():
        weight.data = weight.data * 1.5


@pytest.mark.parametrize(
    "move",
    [stepped(), stepped(foreach=True), stepped(fused=True), loaded, exchanged],
    ids=["loop", "foreach", "fused", "loaded", "exchanged"],
)
def test_nothing_computed_by_earlier_weights_is_used(move):
    model = exact()
    engine = Engine(model, (), letters)
    ids = PROMPTS[4]
    first = turn(engine, ids)
    before = engine.stats()
    turn(engine, ids + first.ids + REMARK)
    after = engine.stats()
    assert after.reused_tokens - before.reused_tokens >= len(ids) + len(first.ids) - 2  # while the weights stay
    assert after.prefill_tokens - before.prefill_tokens <= len(REMARK) + 2
    move(model)
    assert turn(engine, ids + first.ids + REMARK) == turn(
        Engine(copy.deepcopy(model), (), letters), ids + first.ids + REMARK
    )


def test_ended_replies_can_be_forgotten():
    engine = Engine(network(), (), letters)
    turn(engine, PROMPTS[0])
    assert engine.stats().cache_bytes
    engine.forget()
    assert not engine.stats().cache_bytes
    turn(engine, PROMPTS[0])


def test_a_next_turn_is_admitted_before_new_prompts():
    engine = Engine(network(), (), letters, slots=1)
    tickets = [engine.submit(Request(ids, Sampling(max_tokens=5), i)) for i, ids in enumerate(PROMPTS[3:6])]
    while not (ended := engine.step()):
        pass
    assert ended[0][0] == tickets[0]
    next_turn = engine.submit(Request(PROMPTS[3] + ended[0][1].ids + REMARK, Sampling(max_tokens=5), 9))
    order = []
    while engine.busy:
        order += [ticket for ticket, _ in engine.step()]
    assert order == [next_turn, *tickets[1:]]


def test_ended_replies_count_towards_the_bound_of_the_cache():
    largest = 0

    def watch(engine: Engine) -> None:
        nonlocal largest
        largest = max(largest, engine.stats().cache_rows * engine.stats().cache_columns)

    answered = conversations(network(), Sampling(max_tokens=12), watch=watch, cache_tokens=700)
    assert len(answered) == 3 * len(PROMPTS)
    assert 300 < largest <= 700

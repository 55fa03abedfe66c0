"""The sampler against `transformers.generate`: greedy text, and the distribution of what is drawn."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from sparring.core.speaker import Sampling
from sparring.inference.sequence import Request
from tests.inference.decoding import CONFIGS, STOP, network, prompts, recomputed, replies

TIE = 1e-4  # logits that are closer than this may be ordered either way by rounding


def generated(model, ids: list[tuple[int, ...]], **settings) -> list[tuple[int, ...]]:
    """The replies of `model.generate` to one batch of prompts, padded on the left."""
    longest = max(len(prompt) for prompt in ids)
    batch = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in ids])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in ids])
    whole = model.generate(batch, attention_mask=mask, pad_token_id=0, eos_token_id=STOP, **settings)
    return [tuple(row[longest:].tolist()) for row in whole]


def up_to_stop(ids: tuple[int, ...]) -> tuple[int, ...]:
    return ids[: ids.index(STOP) + 1] if STOP in ids else ids


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_replies_are_those_of_generate_in_a_batch_of_many_but_for_ties(name):
    model, batch = network(name), prompts(80, seed=3)
    theirs = [up_to_stop(ids) for ids in generated(model, batch, do_sample=False, max_new_tokens=25)]
    requests = [Request(ids, Sampling(temperature=0, max_tokens=25), i) for i, ids in enumerate(batch)]
    ties = 0
    for request, sampled, expected in zip(requests, replies(model, requests, slots=24), theirs, strict=True):
        if sampled.ids != expected:
            same = next(i for i, (a, b) in enumerate(zip(sampled.ids, expected, strict=False)) if a != b)
            ids = torch.tensor([[*request.ids, *expected[:same]]])
            with torch.no_grad():
                best = model(ids).logits[0, -1].topk(2).values
            assert best[0] - best[1] < TIE
            ties += 1
    assert ties <= 2


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 1.5, "top_k": 6},
        {"temperature": 2.0, "top_p": 0.8},
        {"temperature": 3.0, "top_k": 12, "top_p": 0.9},
    ],
    ids=str,
)
def test_replies_are_distributed_as_those_of_generate(settings):
    """Two samples of two-token replies, chi-square: too far apart by chance once in some 30,000 times."""
    model, prompt, count = network(), (5, 6, 7), 6000
    requests = [Request(prompt, Sampling(**settings, max_tokens=2), i) for i in range(count)]
    torch.manual_seed(0)
    theirs = Counter(
        generated(model, [prompt] * count, do_sample=True, max_new_tokens=2, **{"top_k": 0, "top_p": 1.0, **settings})
    )
    ours = Counter((*sampled.ids, 0)[:2] for sampled in replies(model, requests, slots=2000))
    often = [ids for ids in ours.keys() | theirs.keys() if ours[ids] + theirs[ids] >= 20]
    rest = [sum(n for ids, n in counts.items() if ids not in often) for counts in (ours, theirs)]
    pairs = [(ours[ids], theirs[ids]) for ids in often] + ([(rest[0], rest[1])] if sum(rest) >= 20 else [])
    chi2 = sum((a - b) ** 2 / (a + b) for a, b in pairs)
    freedom = len(pairs) - 1
    assert freedom >= 3
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom)


def test_log_probabilities_of_many_replies_are_recomputed_within_a_ten_thousandth():
    model = network()
    requests = [Request(ids, Sampling(max_tokens=60), i) for i, ids in enumerate(prompts(60))]
    furthest = max(
        float((torch.tensor(sampled.logprobs) - recomputed(model, request, sampled)).abs().max())
        for request, sampled in zip(requests, replies(model, requests), strict=True)
    )
    assert furthest < 1e-4

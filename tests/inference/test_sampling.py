from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.core.speaker import Sampling
from sparring.inference import sampling as module
from sparring.inference.sampling import TokenSampler, score_threshold, uniform

CPU = torch.device("cpu")


def drawn(logits: torch.Tensor, sampling: Sampling, times: int) -> Counter[int]:
    """How often each token is drawn, each time from another stream."""
    rng = TokenSampler([sampling] * times, range(times), [0] * times, CPU)
    return Counter(rng(logits.expand(times, -1))[0].tolist())


def kept_by_hand(logits: list[float], sampling: Sampling) -> dict[int, float]:
    """The filtered distribution, token by token: temperature, then top-k, then top-p."""
    heated = [math.exp((x - max(logits)) / sampling.temperature) for x in logits]
    best = sorted(range(len(logits)), key=lambda i: -heated[i])[: sampling.top_k or len(logits)]
    kept: list[int] = []
    whole, held = sum(heated[i] for i in best), 0.0
    for i in best:
        if held < sampling.top_p * whole or not kept:
            kept.append(i)
        held += heated[i]
    return {i: heated[i] / sum(heated[j] for j in kept) for i in kept}


def test_splitmix64_gives_the_published_numbers():
    # The first outputs for the seed 1234567, as printed with the reference code of the generator.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    ours = uniform(np.full(3, 1234567, np.uint64), np.arange(3, dtype=np.uint64))
    assert ours.tolist() == [(x >> 40) / 2**24 for x in published]


def test_uniform_numbers_are_uniform_and_never_one():
    numbers = uniform(np.repeat(np.arange(100, dtype=np.uint64), 1000), np.tile(np.arange(1000, dtype=np.uint64), 100))
    counts = np.histogram(numbers, bins=100, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 5 * math.sqrt(2 * 99)
    assert uniform(np.zeros(1, np.uint64), np.zeros(1, np.uint64)).dtype == np.float32
    assert numbers.max() < 1


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.5),
        Sampling(temperature=2.0, top_k=5),
        Sampling(top_p=0.7),
        Sampling(temperature=1.5, top_k=9, top_p=0.8),
    ],
)
def test_frequencies_are_those_of_the_filtered_distribution(sampling):
    logits = torch.randn(1, 20, generator=torch.Generator().manual_seed(0)) * 2
    expected = kept_by_hand(logits[0].tolist(), sampling)
    counts = drawn(logits, sampling, 20_000)
    assert counts.keys() <= expected.keys()
    chi2 = sum((counts[i] - 20_000 * p) ** 2 / (20_000 * p) for i, p in expected.items())
    freedom = len(expected) - 1
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6000), st.integers(0, 400), st.sampled_from([0.1, 0.5, 0.9, 0.999, 1.0]))
def test_filters_keep_what_a_simple_implementation_keeps(seed, size, top_k, top_p):
    logits = torch.randn(1, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = kept_by_hand(logits[0].tolist(), Sampling(top_k=top_k, top_p=top_p))
    limits = torch.tensor([[top_k or 2**24]]), torch.tensor([[top_p]])
    kept = (logits >= score_threshold(logits, *limits))[0].nonzero()[:, 0].tolist()
    assert set(kept) == set(expected)


def test_a_flat_distribution_keeps_its_ties():
    assert set(drawn(torch.zeros(1, 4), Sampling(top_k=2), 200)) == {0, 1, 2, 3}


def test_rows_of_mixed_settings_draw_as_they_do_alone():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    mixed = [Sampling(temperature=0), Sampling(), Sampling(temperature=0.3, top_k=3), Sampling(top_p=0.5)]
    together = TokenSampler(mixed, [7, 8, 9, 10], [0, 3, 5, 1], CPU)
    alone = [TokenSampler([s], [7 + i], [c], CPU) for i, (s, c) in enumerate(zip(mixed, [0, 3, 5, 1], strict=True))]
    for _ in range(20):
        ids, logprobs = together(logits)
        assert ids.tolist() == [rng(logits[i : i + 1])[0].item() for i, rng in enumerate(alone)]
        torch.testing.assert_close(logprobs, logits.log_softmax(-1).gather(1, ids[:, None])[:, 0])
        assert ids[0] == logits[0].argmax()


def test_the_ends_of_the_unit_interval_draw_tokens_with_mass(monkeypatch):
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]])
    for u, token in ((0, 1), (1 - 2**-24, 2)):
        monkeypatch.setattr(module, "uniform", lambda *_, u=u: np.full(1, u, np.float32))
        assert drawn(logits, Sampling(), 1).keys() == {token}


def test_a_token_without_mass_is_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert drawn(logits, Sampling(), 5000).keys() == {1, 3}

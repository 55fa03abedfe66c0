"""How much memory the key-value cache takes: bounded, and freed when there is nothing to do."""

from __future__ import annotations

import pytest

from sparring.core.speaker import Sampling
from sparring.inference import engine as module
from sparring.inference.engine import Engine
from sparring.inference.sequence import Request
from sparring.models.introspection import cache_bytes
from tests.inference.decoding import exact, letters, network, prompts, replies


def test_the_cache_keeps_to_its_bound_and_one_request_is_always_served():
    engine = Engine(network(), [], letters, slots=16, cache_tokens=200)
    limits = [10, 20, 30, 60, 10, 90, 5] * 4
    for i, (ids, limit) in enumerate(zip(prompts(28), limits, strict=True)):
        engine.submit(Request(ids, Sampling(max_tokens=limit), i))
    largest, most = 0, 0
    ended = []
    while engine.busy:
        ended += engine.step()
        stats = engine.stats()
        largest, most = max(largest, stats.cache_rows * stats.cache_columns), max(most, stats.cache_rows)
    assert len(ended) == 28
    assert most >= 4
    assert largest <= 200


def test_a_bound_in_gib_is_kept_to_the_byte_by_admitting_fewer():
    model, token = network(), 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, dimensions, bytes
    assert cache_bytes(model) == token
    for bound in ({"cache_gib": 150 * token / 2**30}, {"cache_gib": 1.0, "cache_tokens": 150}):
        engine = Engine(model, [], letters, **bound)
        for i, ids in enumerate(prompts(12)):
            engine.submit(Request(ids, Sampling(max_tokens=20), i))
        held, together, ended = 0, 0, []
        while engine.busy:
            ended += engine.step()
            held, together = max(held, engine.stats().cache_bytes), max(together, engine.stats().rows)
        assert len(ended) == 12
        assert held <= 150 * token
        assert 3 <= together <= 7


def test_without_a_bound_the_cache_leaves_room_to_grow_on_what_the_device_has_free(monkeypatch):
    token = 2 * 2 * 2 * 8 * 4

    most = []
    for tokens in (None, 400, 200):
        engine, grown = Engine(network(), [], letters), []
        monkeypatch.setattr(
            module, "free_bytes", lambda device, s=engine, all_=tokens: all_ and all_ * token - s.stats().cache_bytes
        )
        for i, ids in enumerate(prompts(12)):
            engine.submit(Request(ids, Sampling(max_tokens=20), i))
        before, ended = 0, []
        while engine.busy:
            ended += engine.step()
            if (now := engine.stats().cache_bytes) != before:
                grown.append((before + now) // token)  # both exist while one is copied into the other
                before = now
        assert len(ended) == 12
        most.append((max(grown), before // token))
    assert most[0][1] > 200
    assert most[1][0] <= 400
    assert most[2][0] <= 200
    assert most[1][1] > most[2][1] >= 60


def test_with_a_bound_the_free_memory_of_the_device_is_not_read(monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda device: pytest.fail("read"))
    replies(network(), [Request(ids, Sampling(max_tokens=5), i) for i, ids in enumerate(prompts(4))], cache_tokens=100)


def test_a_request_larger_than_the_bound_is_served_alone_and_the_others_after_it():
    model = exact()
    requests = [Request(ids, Sampling(max_tokens=20), i) for i, ids in enumerate([(3,) * 30, (4, 5), (6, 7, 8)])]
    expected = [sampled.ids for sampled in replies(model, requests, stop_ids=())]
    for bound in ({"cache_tokens": 10}, {"cache_gib": 1e-9}):
        engine, ended, together = Engine(model, [], letters, **bound), {}, set()
        for request in requests:
            engine.submit(request)
        while engine.busy:
            ended |= dict(engine.step())
            together.add(engine.stats().rows)
        assert [ended[i].ids for i in range(3)] == expected
        assert max(together) == 1


def test_nothing_large_is_held_when_there_is_nothing_to_do(monkeypatch):
    engine = Engine(network(), [], letters)
    for idle, held in ((module.MAX_IDLE_TOKENS, True), (5, False)):
        monkeypatch.setattr(module, "MAX_IDLE_TOKENS", idle)
        engine.submit(Request((3, 4), Sampling(max_tokens=9), 0))
        while engine.busy:
            engine.step()
        assert (engine.stats().cache_bytes > 0) == held
        assert engine.step() == []

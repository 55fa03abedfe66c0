from __future__ import annotations

import mmap
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from sparring.inference.kv_cache import BAND, KeyValueCache, Move, attend, span_starts


def filled(rows: int, width: int) -> KeyValueCache:
    """A cache of one layer whose row b holds 100 b + t in column t."""
    cache = KeyValueCache()
    cache.move([], (rows, width))
    cache.select(torch.arange(rows), None, width)
    new = (100.0 * torch.arange(rows)[:, None] + torch.arange(width))[:, None, :, None]
    cache.update(new, -new, 0)
    return cache


def columns(cache: KeyValueCache) -> list[list[float]]:
    keys, values = cache.tensors[0]
    assert torch.equal(keys, -values)
    return keys[:, 0, :, 0].tolist()


def test_rows_change_places_all_at_the_same_time():
    cache = filled(3, 4)
    cache.move([Move(0, 1, 4), Move(1, 2, 2), Move(2, 0, 3)])
    assert [row[:width] for row, width in zip(columns(cache), (3, 4, 2), strict=True)] == [
        [200, 201, 202],
        [0, 1, 2, 3],
        [100, 101],
    ]


@given(st.permutations(range(50)))
def test_any_permutation_is_carried_out(order):
    cache = filled(50, 3)
    cache.move([Move(source, target, 1 + source % 3) for target, source in enumerate(order)], (60, 5))
    for target, source in enumerate(order):
        width = 1 + source % 3
        assert columns(cache)[target][:width] == [100 * source + t for t in range(width)]
    assert cache.size == (60, 5)


def test_a_step_writes_one_column_of_each_row_and_sees_those_before():
    cache = filled(3, 4)
    cache.select(torch.arange(2), torch.tensor([2, 0]), 3)
    new = torch.tensor([7.0, 8.0])[:, None, None, None]
    seen, _ = cache.update(new, -new, 0)
    assert seen[:, 0, :, 0].tolist() == [[0, 1, 7], [8, 101, 102]]
    assert columns(cache)[2] == [200, 201, 202, 203]


def resident_pages() -> int:
    """Of this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_cache_holds_zeros_and_takes_memory_only_where_it_is_written(dtype):
    cache, before = KeyValueCache(), resident_pages()
    cache.move([], (2**10, 2**9))  # keys of 128 MiB or more
    cache.select(torch.tensor([0]), torch.tensor([2]), 3)
    new = torch.ones(1, 1, 1, 128, dtype=dtype)
    seen, _ = cache.update(new, new, 0)
    assert (resident_pages() - before) * mmap.PAGESIZE < 2**25  # the record of ids among it
    assert seen[0, 0, :, 0].tolist() == [0, 0, 1]
    assert seen.dtype is dtype


@given(st.lists(st.integers(0, 400), min_size=1, max_size=100))
def test_spans_begin_at_bands_and_cover_all_rows(ages):
    found = span_starts(np.array(sorted(ages, reverse=True)))
    assert found[0] == 0
    assert all(a < b for a, b in pairwise(found))
    assert all(start % BAND == 0 and start < len(ages) for start in found)


def test_attention_by_span_is_attention():
    torch.manual_seed(0)
    positions = torch.tensor([30, 25, 27, 9, 4, 8, 2])
    query, key, value = torch.randn(7, 6, 1, 8), torch.randn(7, 2, 40, 8), torch.randn(7, 2, 40, 5)
    mask = torch.where(torch.arange(40) <= positions[:, None], 0.0, -torch.inf)[:, None, None]
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    spans = [(0, 3, 31), (3, 6, 10), (6, 7, 3)]
    for scaling in (None, 8**-0.5):
        ours, _ = attend(None, query, key, value, mask, scaling=scaling, spans=spans)
        torch.testing.assert_close(ours, expected.transpose(1, 2))


@given(st.data())
def test_what_a_place_is_said_to_hold_it_holds(data):
    """Rows come, move, end and make way, in caches of any size; a token's key tells which token it is, and where."""
    cache = filled(6, 8)
    code = {place: tuple(range(100 * place, 100 * place + 8)) for place in range(6)}
    for place, ids in code.items():
        cache.record(place, ids[: data.draw(st.integers(0, 8))])
    for _ in range(data.draw(st.integers(1, 5))):
        places = data.draw(st.permutations(range(cache.size[0])))
        rows = data.draw(st.integers(1, cache.size[0]))
        size = data.draw(st.none() | st.tuples(st.integers(rows, 9), st.integers(4, 12)))
        width = min(cache.size[1], (size or cache.size)[1])
        live = data.draw(st.integers(0, rows))
        filled_now = cache.lengths_B
        staying = [Move(place, at, min(int(filled_now[place]), width)) for at, place in enumerate(places[:live])]
        before = {tuple(ids[ids >= 0].tolist()) for ids in cache.ids_BC}
        cache.rearrange(rows, staying, [], size)
        for place in range(cache.size[0]):
            ids = cache.ids_BC[place][cache.ids_BC[place] >= 0].tolist()
            assert columns(cache)[place][: len(ids)] == ids
            assert any(tuple(ids) == known[: len(ids)] for known in before)


def test_what_was_in_the_way_is_kept_the_newest_first():
    cache = filled(5, 4)
    for place in range(3):
        cache.record(place, range(100 * place, 100 * place + 4))
    cache.last_used_B[:3] = [2, 3, 1]
    cache.rearrange(3, [], [Move(1, 0, 2)], None)  # of three that ended, there is room for two
    for place in range(3):
        cache.record(place, ())
    assert cache.longest_prefix((0, 1, 2, 3), 2) == (4, 4)
    assert cache.longest_prefix((100, 101, 102, 103, 104), 2) == (3, 4)
    assert columns(cache)[0][:2] == [100, 101]


def test_a_place_that_a_row_left_is_free():
    cache = filled(6, 4)
    for place in (0, 2, 4, 5):
        cache.record(place, range(100 * place, 100 * place + 4))
    cache.last_used_B[2] = 1
    cache.rearrange(2, [Move(4, 0, 4), Move(5, 1, 4)], [], None)  # 0 and 2 had ended
    assert cache.lengths_B.tolist() == [4, 4, 4, 4, 0, 0]
    assert [cache.longest_prefix((at, at + 1, at + 2), 2)[0] for at in (0, 200, 400, 500)] == [3, 2, 0, 1]


def test_the_longest_beginning_is_found():
    cache = filled(3, 6)
    for place, ids in enumerate([(5, 6, 7), (5, 6, 7, 8, 9), (5, 6, 1)]):
        cache.record(place, ids)
    assert cache.longest_prefix((5, 6, 7, 8, 2, 2, 2, 2), 2) == (1, 4)
    assert cache.longest_prefix((5, 6, 7, 8, 2), 5) == (0, 0)
    assert cache.longest_prefix((5, 6, 7, 8, 9), 5) == (1, 5)
    assert cache.longest_prefix((5,), 2) == cache.longest_prefix((9, 9, 9), 2) == (0, 0)


def test_several_tokens_of_several_rows_are_written_where_each_goes_on():
    cache = filled(3, 6)
    cache.select(torch.tensor([2, 0]), torch.tensor([[1, 2], [3, 4]]), 5)
    new = torch.tensor([[7.0, 8.0], [5.0, 6.0]])[:, None, :, None]
    seen, _ = cache.update(new, -new, 0)
    assert seen[:, 0, :, 0].tolist() == [[200, 7, 8, 203, 204], [0, 1, 2, 5, 6]]

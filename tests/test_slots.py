from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from sparring.slots import BAND, Move, Slots, attend, starts


def filled(rows: int, width: int) -> Slots:
    """A cache of one layer whose row b holds 100 b + t in column t."""
    slots = Slots()
    slots.size = (rows, width)
    slots.aim(torch.arange(rows), None, width)
    new = (100.0 * torch.arange(rows)[:, None] + torch.arange(width))[:, None, :, None]
    slots.update(new, -new, 0)
    return slots


def columns(slots: Slots) -> list[list[float]]:
    keys, values = slots.kept[0]
    assert torch.equal(keys, -values)
    return keys[:, 0, :, 0].tolist()


def test_rows_change_places_all_at_the_same_time():
    slots = filled(3, 4)
    slots.move([Move(0, 1, 4), Move(1, 2, 2), Move(2, 0, 3)])
    assert [row[:width] for row, width in zip(columns(slots), (3, 4, 2), strict=True)] == [
        [200, 201, 202],
        [0, 1, 2, 3],
        [100, 101],
    ]


@given(st.permutations(range(50)))
def test_any_permutation_is_carried_out(order):
    slots = filled(50, 3)
    slots.move([Move(source, target, 1 + source % 3) for target, source in enumerate(order)], (60, 5))
    for target, source in enumerate(order):
        width = 1 + source % 3
        assert columns(slots)[target][:width] == [100 * source + t for t in range(width)]
    assert slots.size == (60, 5)


def test_a_step_writes_one_column_of_each_row_and_sees_those_before():
    slots = filled(3, 4)
    slots.aim(torch.arange(2), torch.tensor([2, 0]), 3)
    new = torch.tensor([7.0, 8.0])[:, None, None, None]
    seen, _ = slots.update(new, -new, 0)
    assert seen[:, 0, :, 0].tolist() == [[0, 1, 7], [8, 101, 102]]
    assert columns(slots)[2] == [200, 201, 202, 203]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=100))
def test_spans_begin_at_bands_and_cover_all_rows(ages):
    found = starts(np.array(sorted(ages, reverse=True)))
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

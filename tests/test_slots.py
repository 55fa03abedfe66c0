from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from sparring.inference.kv_cache import BAND, Move, Slots, attend, starts


def filled(rows: int, width: int) -> Slots:
    """A cache of one layer whose row b holds 100 b + t in column t."""
    slots = Slots()
    slots.move([], (rows, width))
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


@given(st.data())
def test_what_a_place_is_said_to_hold_it_holds(data):
    """Rows come, move, end and make way, in caches of any size; a token's key tells which token it is, and where."""
    slots = filled(6, 8)
    code = {place: tuple(range(100 * place, 100 * place + 8)) for place in range(6)}
    for place, ids in code.items():
        slots.hold(place, ids[: data.draw(st.integers(0, 8))])
    for _ in range(data.draw(st.integers(1, 5))):
        places = data.draw(st.permutations(range(slots.size[0])))
        rows = data.draw(st.integers(1, slots.size[0]))
        size = data.draw(st.none() | st.tuples(st.integers(rows, 9), st.integers(4, 12)))
        width = min(slots.size[1], (size or slots.size)[1])
        live = data.draw(st.integers(0, rows))
        filled_now = slots.filled_B
        staying = [Move(place, at, min(int(filled_now[place]), width)) for at, place in enumerate(places[:live])]
        before = {tuple(ids[ids >= 0].tolist()) for ids in slots.ids_BC}
        slots.arrange(rows, staying, [], size)
        for place in range(slots.size[0]):
            ids = slots.ids_BC[place][slots.ids_BC[place] >= 0].tolist()
            assert columns(slots)[place][: len(ids)] == ids
            assert any(tuple(ids) == known[: len(ids)] for known in before)


def test_what_was_in_the_way_is_kept_the_newest_first():
    slots = filled(5, 4)
    for place in range(3):
        slots.hold(place, range(100 * place, 100 * place + 4))
    slots.used_B[:3] = [2, 3, 1]
    slots.arrange(3, [], [Move(1, 0, 2)], None)  # of three that ended, there is room for two
    for place in range(3):
        slots.hold(place, ())
    assert slots.longest((0, 1, 2, 3), 2) == (4, 4)
    assert slots.longest((100, 101, 102, 103, 104), 2) == (3, 4)
    assert columns(slots)[0][:2] == [100, 101]


def test_a_place_that_a_row_left_is_free():
    slots = filled(6, 4)
    for place in (0, 2, 4, 5):
        slots.hold(place, range(100 * place, 100 * place + 4))
    slots.used_B[2] = 1
    slots.arrange(2, [Move(4, 0, 4), Move(5, 1, 4)], [], None)  # 0 and 2 had ended
    assert slots.filled_B.tolist() == [4, 4, 4, 4, 0, 0]
    assert [slots.longest((at, at + 1, at + 2), 2)[0] for at in (0, 200, 400, 500)] == [3, 2, 0, 1]


def test_the_longest_beginning_is_found():
    slots = filled(3, 6)
    for place, ids in enumerate([(5, 6, 7), (5, 6, 7, 8, 9), (5, 6, 1)]):
        slots.hold(place, ids)
    assert slots.longest((5, 6, 7, 8, 2, 2, 2, 2), 2) == (1, 4)
    assert slots.longest((5, 6, 7, 8, 2), 5) == (0, 0)
    assert slots.longest((5, 6, 7, 8, 9), 5) == (1, 5)
    assert slots.longest((5,), 2) == slots.longest((9, 9, 9), 2) == (0, 0)


def test_several_tokens_of_several_rows_are_written_where_each_goes_on():
    slots = filled(3, 6)
    slots.aim(torch.tensor([2, 0]), torch.tensor([[1, 2], [3, 4]]), 5)
    new = torch.tensor([[7.0, 8.0], [5.0, 6.0]])[:, None, :, None]
    seen, _ = slots.update(new, -new, 0)
    assert seen[:, 0, :, 0].tolist() == [[200, 7, 8, 203, 204], [0, 1, 2, 5, 6]]

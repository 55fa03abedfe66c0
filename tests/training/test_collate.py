from hypothesis import given
from hypothesis import strategies as st

from sparring.models.renderer import TrainingRow
from sparring.training.collate import bucketed, pad


def test_padding_is_on_the_right_and_weighs_nothing():
    batch = pad([TrainingRow((1, 2, 3), (0.0, 1.0, 1.5)), TrainingRow((4,), (0.5,))], pad_id=9)
    assert batch.ids_BT.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch.attention_BT.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.weight_BT.tolist() == [[0.0, 1.0, 1.5], [0.5, 0.0, 0.0]]


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 3), st.integers(1, 200))
def test_every_place_is_in_one_bucket_within_the_budget(lengths, rows, budget):
    groups = list(bucketed(lengths, [rows] * len(lengths), budget))
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[place] for place in group) * rows * len(group) <= budget

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.common.ranking import bradley_terry, standardise, swiss_pairs, swiss_rounds, with_length_penalty

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8)


@given(NUMBERS)
def test_standardised_values_have_mean_zero_and_variance_one_or_zero(values):
    found = standardise(values)
    assert math.isclose(math.fsum(found), 0, abs_tol=1e-6)
    assert any(math.isclose(math.fsum(v * v for v in found) / len(found), goal, abs_tol=1e-6) for goal in (0, 1))


def test_equal_values_standardise_to_zero():
    assert standardise([0.1 + 0.2, 0.3]) == [0, 0]


def test_the_length_penalty_by_hand():
    # scores 1, 0: N = 1, −1; lengths 30, 10: N = 1, −1; penalty 0.5
    assert with_length_penalty([1, 0], [30, 10], 0.5) == pytest.approx([0.5, -0.5])
    assert with_length_penalty([1, 1], [30, 10], 0.5) == pytest.approx([-0.5, 0.5])


def test_bradley_terry_of_two_players_by_hand():
    # 3 wins to 1 with half a win added each way: odds 3.5 : 1.5
    first, second = bradley_terry([[0, 3], [1, 0]])
    assert first - second == pytest.approx(math.log(3.5 / 1.5))
    assert first + second == pytest.approx(0)


def test_an_unbeaten_player_has_a_finite_strength():
    best, middle, worst = bradley_terry([[0, 2, 2], [0, 0, 2], [0, 0, 0]])
    assert best > middle > worst
    assert math.isfinite(best)


def test_as_many_wins_each_way_is_a_tie():
    assert bradley_terry([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) == pytest.approx([0, 0, 0])


def test_players_that_met_nobody_score_nothing():
    assert bradley_terry([[0, 2, 0], [0, 0, 0], [0, 0, 0]])[2] == pytest.approx(0, abs=1e-6)
    assert bradley_terry([[0, 0], [0, 0]]) == [0, 0]


def test_bradley_terry_maximises_its_likelihood():
    wins = [[0, 5, 2], [1, 0, 4], [3, 2, 0]]
    found = bradley_terry(wins, prior=0.5)

    def likelihood(strength):
        pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
        return sum((wins[i][j] + 0.5) * -math.log1p(math.exp(strength[j] - strength[i])) for i, j in pairs)

    for place in range(3):
        for change in (-1e-3, 1e-3):
            moved = [s + change * (i == place) for i, s in enumerate(found)]
            assert likelihood(moved) < likelihood(found)


def pair(*players):
    return frozenset(players)


def test_neighbours_in_the_standing_meet_unless_they_have_met():
    assert swiss_pairs([2, 0, 3, 1], set()) == [(2, 0), (3, 1)]
    assert swiss_pairs([2, 0, 3, 1], {pair(2, 0)}) == [(2, 3), (0, 1)]


def test_two_that_are_left_and_have_met_change_places_with_a_pair():
    # 0 meets 1 and 2 meets 3; 4 and 5 have met, so one of them takes 2 and the other 3
    assert swiss_pairs(range(6), {pair(4, 5)}) == [(0, 1), (2, 5), (3, 4)]


def test_one_in_the_middle_sits_out_and_another_one_the_next_time():
    assert swiss_pairs([4, 3, 2, 1, 0], set()) == [(4, 3), (1, 0)]
    met = {pair(4, 3), pair(1, 0)}
    assert not any(2 not in (a, b) and pair(a, b) in met for a, b in swiss_pairs([4, 3, 2, 1, 0], met))
    assert any(2 in found for found in swiss_pairs([4, 1, 2, 3, 0], met))


@given(st.integers(1, 20), st.randoms(use_true_random=False))
def test_no_pair_meets_twice_and_before_half_of_the_rounds_nobody_else_sits_out(count, rng):
    met: set[frozenset[int]] = set()
    for played in range(count):
        pairs = swiss_pairs(rng.sample(range(count), count), met)
        assert len({player for found in pairs for player in found}) == 2 * len(pairs)
        assert not met & set(map(frozenset, pairs))
        if 2 * played < count - count % 2:
            assert len(pairs) == count // 2
        met |= set(map(frozenset, pairs))


def test_a_tournament_has_a_round_more_than_a_knock_out():
    assert [swiss_rounds(count) for count in (0, 1, 2, 3, 4, 5, 8, 16, 17)] == [0, 0, 2, 3, 3, 4, 4, 5, 6]

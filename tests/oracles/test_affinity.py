"""The oracle of the affinity, on three neighbours at distances whose exponentials are powers of two."""

from __future__ import annotations

import math

import pytest

from . import affinity

NEAR = [[(0.0, 1), (1.0, 2), (2.0, 3)]]
LABELS = {1: {5}, 2: {5, 6}, 3: {6, 7}}


def test_a_label_gathers_the_closeness_of_the_neighbours_that_carry_it() -> None:
    [G] = affinity.knn_affinity(NEAR, LABELS, lam=math.log(2))
    assert G == pytest.approx({5: 1 + 1 / 2, 6: 1 / 2 + 1 / 4, 7: 1 / 4})


def test_max_keeps_the_nearest_neighbour_of_each_label() -> None:
    [G] = affinity.knn_affinity(NEAR, LABELS, lam=math.log(2), mode="max")
    assert G == pytest.approx({5: 1, 6: 1 / 2, 7: 1 / 4})


def test_an_affinity_that_underflows_is_a_candidate_all_the_same() -> None:
    assert affinity.knn_affinity([[(0.0, 3), (1e6, 1)]], {3: {7}, 1: {5}}, lam=1.0) == [{5: 0.0, 7: 1.0}]


def test_where_all_would_underflow_they_are_multiplied_alike_until_the_nearest_is_there() -> None:
    [G] = affinity.knn_affinity([[(1e6, 3), (1e6 + 1, 1)]], {3: {7}, 1: {5}}, lam=1.0)
    assert G == pytest.approx({5: math.exp(-61), 7: math.exp(-60)})


def test_without_neighbours_or_without_their_labels_there_is_no_candidate() -> None:
    assert affinity.knn_affinity([[], [(0.0, 4)]], {4: set()}, lam=1.0) == [{}, {}]


def test_one_hot_labels_are_root_two_apart() -> None:
    # Each of the five training pairs adds its weight to its own label and half of it to the others.
    close = affinity.one_hot_closeness(math.log(2) / 2)
    [G] = affinity.rbf_affinity(NEAR, LABELS, math.log(2), close, labels=8)
    assert G[5] == pytest.approx(1 + 1 / 2 + (1 / 2 + 1 / 4 + 1 / 4) / 2)
    assert G[0] == pytest.approx((1 + 1 / 2 + 1 / 2 + 1 / 4 + 1 / 4) / 2)
    [G] = affinity.rbf_affinity(NEAR, LABELS, math.log(2), close, labels=8, mode="max")
    assert (G[5], G[7], G[0]) == pytest.approx((1, 1 / 2, 1 / 2))


def test_near_labels_share_what_a_neighbour_gives() -> None:
    # Labels at 0, 1, 3, 30: the nearest of each is 1, 0, 1, 2 at squared distances 1, 1, 4, 729; their median is 2.5.
    close = affinity.latent_closeness([[0.0], [1.0], [3.0], [30.0]], near=1, setting=2.5 * math.log(2))
    assert close(1, 0) == pytest.approx(1 / 2)
    assert close(1, 2) == pytest.approx(1 / 16)
    assert close(2, 1) is None
    assert close(3, 3) == 1.0
    [G] = affinity.rbf_affinity([[(0.0, 1)]], {1: {0, 2}}, 1.0, close, labels=4)
    assert G == pytest.approx({0: 1, 1: 1 / 2 + 1 / 16, 2: 1})


def test_the_most_frequent_labels_and_their_ties() -> None:
    assert affinity.most_frequent([{1, 2}, {2, 3}, set()], 2) == {1, 2}
    assert affinity.most_frequent([{1}], 5) == {1}


def test_the_median_is_over_all_neighbours_of_the_sampled_rows() -> None:
    # Points 0, 1, 3, 7. Two neighbours each: 0 → 1, 9; 1 → 1, 4; 3 → 4, 9; 7 → 16, 36.
    ids, x = [0, 1, 2, 3], [[0.0], [1.0], [3.0], [7.0]]
    assert affinity.median_distance(ids, x, hashes=[0, 1, 2, 3], n=2) == (4 + 9) / 2


def test_the_sample_is_of_the_smallest_hashes_but_its_neighbours_are_of_all_rows() -> None:
    ids, x = [0, 1, 2, 3], [[0.0], [1.0], [3.0], [7.0]]
    assert affinity.median_distance(ids, x, hashes=[9, 8, 7, 1], n=2, limit=1) == (16 + 36) / 2


def test_a_single_example_has_no_median_distance() -> None:
    with pytest.raises(ValueError, match="no row has a neighbour"):
        affinity.median_distance([1], [[0.0]], [0], n=20)


def test_lambda_counts_in_medians_and_refuses_a_median_of_zero() -> None:
    assert affinity.lambda_x(2.0, m=0.5) == 4.0
    with pytest.raises(ValueError, match="duplicates"):
        affinity.lambda_x(2.0, m=0.0)


def test_the_scale_makes_the_mean_over_true_pairs_one_uncovered_pairs_included() -> None:
    # True pairs: G = 3 for (first, 1), uncovered for (first, 2), 0 for (second, 1). The third row has no label.
    affinities, labels = [{1: 3.0, 9: 50.0}, {1: 0.0}, {4: 1.0}], [{1, 2}, {1}, set()]
    assert affinity.scale(affinities, labels) == 1.0


def test_there_is_no_scale_where_no_true_pair_has_an_affinity() -> None:
    for affinities, labels in ([{1: 2.0}], [{3}]), ([{1: 2.0}], [set()]):
        with pytest.raises(ValueError, match="no scale"):
            affinity.scale(affinities, labels)

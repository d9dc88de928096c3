"""The oracle of the metrics, on one ranking with hits at ranks 1 and 3."""

from __future__ import annotations

import math

import pytest

from . import metrics

RANKING = [10, 11, 12, 13]
TRUTH = {10, 12, 99}


def test_precision_divides_by_k_also_where_fewer_are_ranked() -> None:
    assert [metrics.precision_at(RANKING, TRUTH, k) for k in (1, 2, 3, 5)] == [1, 1 / 2, 2 / 3, 2 / 5]


def test_recall_divides_by_the_number_of_true_labels() -> None:
    assert [metrics.recall_at(RANKING, TRUTH, k) for k in (1, 2, 3, 5)] == [1 / 3, 1 / 3, 2 / 3, 2 / 3]


def test_ndcg_discounts_by_rank_and_is_normalised_by_the_best_that_k_allows() -> None:
    second, third = 1 / math.log2(3), 1 / 2
    assert metrics.ndcg_at(RANKING, TRUTH, 1) == 1
    assert metrics.ndcg_at(RANKING, TRUTH, 2) == pytest.approx(1 / (1 + second))
    assert metrics.ndcg_at(RANKING, TRUTH, 5) == pytest.approx((1 + third) / (1 + second + third))


def test_average_precision_divides_by_the_smaller_of_k_and_the_true_labels() -> None:
    assert metrics.average_precision(RANKING, TRUTH, 1) == 1
    assert metrics.average_precision(RANKING, TRUTH, 2) == 1 / 2
    assert metrics.average_precision(RANKING, TRUTH, 5) == pytest.approx((1 + 2 / 3) / 3)


def test_a_sibling_of_a_true_label_counts_once_for_sibling_precision() -> None:
    siblings = {99: {11}, 10: {12}, 13: {98}}
    # 11 is a sibling of a true label; 12 is true and a sibling; 13 only has siblings that are not true.
    assert metrics.sibling_precision_at(RANKING, TRUTH, siblings, 4) == 3 / 4
    assert metrics.sibling_precision_at(RANKING, TRUTH, {}, 4) == metrics.precision_at(RANKING, TRUTH, 4)


def test_seen_labels_leave_the_ranking_and_the_truth() -> None:
    # Without 10 and 99 the ranking is 11, 12, 13 and 12 alone is true.
    seen = {10, 99}
    assert metrics.precision_at(RANKING, TRUTH, 2, seen) == 1 / 2
    assert metrics.recall_at(RANKING, TRUTH, 2, seen) == 1
    assert metrics.ndcg_at(RANKING, TRUTH, 2, seen) == pytest.approx(1 / math.log2(3))
    assert metrics.average_precision(RANKING, TRUTH, 2, seen) == 1 / 2
    assert metrics.sibling_precision_at(RANKING, TRUTH, {99: {11}}, 2, seen) == 1 / 2


def test_perfect_and_empty_rankings_are_the_bounds() -> None:
    for measure in metrics.precision_at, metrics.recall_at, metrics.ndcg_at, metrics.average_precision:
        assert measure([1, 2], {1, 2}, 2) == pytest.approx(1)
        assert measure([], {1, 2}, 2) == 0


def test_means_are_over_examples_that_have_labels_and_say_how_many() -> None:
    rankings, truths, seens = [[1], [2], [3], [4]], [{1}, {9}, set(), {4}], [set(), set(), set(), {4}]
    assert metrics.mean_over_labelled(metrics.precision_at, rankings, truths, 1, seens) == (1 / 2, 2)


def test_the_metric_over_all_rows_counts_examples_without_labels_as_misses() -> None:
    rankings, truths, seens = [[1], [2], [3], [4]], [{1}, {9}, set(), {4}], [set(), set(), set(), {4}]
    assert metrics.precision_at_all(rankings, truths, 1, seens) == 1 / 4


def test_no_label_anywhere_is_no_mean() -> None:
    with pytest.raises(ValueError, match="nothing to score"):
        metrics.mean_over_labelled(metrics.recall_at, [[1]], [set()], 1, [set()])

"""What counts as found."""

from __future__ import annotations

import numpy as np

from benchmarks.recall import Truth, interval

rng = np.random.default_rng(0)
VECTORS = (rng.standard_normal((300, 5)) + 1000).astype(np.float32)
N = 6


def ordered() -> np.ndarray:
    """Other rows of every row, nearest first."""
    apart = ((VECTORS[:, None].astype(np.float64) - VECTORS) ** 2).sum(axis=2)
    np.fill_diagonal(apart, -1)
    return np.argsort(apart, axis=1)[:, 1:]


def test_the_exact_neighbours_have_recall_one_and_each_that_is_missed_costs_its_share() -> None:
    truth, near = Truth.of(VECTORS, 100, N), ordered()
    found = near[truth.queries, :N].copy()
    np.testing.assert_array_equal(truth.recalls(VECTORS, found), 1)
    found[:, 2] = near[truth.queries, N]
    np.testing.assert_allclose(truth.recalls(VECTORS, found), 1 - 1 / N)


def test_a_row_counts_once_and_neither_itself_nor_nobody_counts() -> None:
    truth = Truth.of(VECTORS, 50, N)
    found = ordered()[truth.queries, :N].copy()
    found[:, 1] = found[:, 0]
    found[:, 3] = truth.queries
    found[:, 4] = -1
    found[:, 5] = np.iinfo(np.int64).max
    np.testing.assert_allclose(truth.recalls(VECTORS, found), 2 / N)


def test_among_rows_at_one_distance_any_counts() -> None:
    copies = np.tile(VECTORS[:3], (10, 1))
    truth = Truth.of(copies, 30, 2)
    found = (truth.queries[:, None] + np.array([3, 27])) % 30
    np.testing.assert_array_equal(truth.recalls(copies, found), 1)


def test_queries_are_drawn_by_seed_and_are_distinct() -> None:
    assert len(np.unique(Truth.of(VECTORS, 250, N).queries)) == 250
    assert (Truth.of(VECTORS, 100, N).queries == Truth.of(VECTORS, 100, N).queries).all()
    assert (Truth.of(VECTORS, 100, N).queries != Truth.of(VECTORS, 100, N, seed=1).queries).any()


def test_the_interval_is_that_of_a_mean() -> None:
    recalls = (rng.random(2000) < 0.9).astype(np.float64)
    mean, low, high = interval(recalls)
    error = 1.96 * np.sqrt(mean * (1 - mean) / 2000)
    np.testing.assert_allclose([mean - low, high - mean], error, rtol=0.1)
    assert interval(np.ones(10)) == (1, 1, 1)

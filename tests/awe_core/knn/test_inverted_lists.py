"""Lists: whose they are, who visits them, and how many visits a recall needs."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core.kernels.kernel import KernelName
from awe_core.knn.inverted_lists import (
    InvertedLists,
    _largest,
    depths,
    fewest_probes,
    list_count,
    mean_and_error,
    shares,
)
from tests.compiled import needs_numba

rng = np.random.default_rng(0)
VECTORS = rng.standard_normal((500, 6)).astype(np.float32)
CELLS = InvertedLists.fit(VECTORS, 12, seed=0)


def by_distance() -> np.ndarray:
    """Lists of every row, nearest first, by direct differences."""
    apart = VECTORS[:, None].astype(np.float64) - CELLS.centroids
    return np.argsort((apart**2).sum(axis=2), axis=1)


def test_a_row_lies_in_the_list_of_its_nearest_centroid() -> None:
    np.testing.assert_array_equal(CELLS.assign(VECTORS), by_distance()[:, 0])


@pytest.mark.parametrize("nprobe", [1, 2, 5, 12, 50])
def test_a_row_visits_the_nearest_lists_its_own_first(nprobe: int, kernel: KernelName) -> None:
    probes, wanted = CELLS.probes(VECTORS, nprobe, kernel), by_distance()[:, :nprobe]
    np.testing.assert_array_equal(probes[:, 0], wanted[:, 0])
    np.testing.assert_array_equal(np.sort(probes, axis=1), np.sort(wanted, axis=1))


@pytest.mark.parametrize("lists", [1, 5, 63, 64, 150, 257])
@pytest.mark.parametrize("ties", [False, True])
def test_the_compiled_choice_of_lists_is_that_of_numpy(lists: int, ties: bool) -> None:
    needs_numba()
    from awe_core.knn.inverted_lists_numba import largest as compiled

    scores = np.random.default_rng(lists).standard_normal((200, lists)).astype(np.float32)
    if ties:
        scores = np.round(2 * scores)
    doubt = np.full(200, 0.0 if ties else 1e-3, np.float32)
    for width in {width for width in (1, 2, 18, 63, 64, lists - 1, lists) if 0 < width <= lists}:
        wanted, expected = _largest(scores.copy(), width, doubt)
        chosen, doubtful = np.empty((200, width), np.intp), np.empty(200, bool)
        compiled(scores, width, doubt, chosen, doubtful)
        np.testing.assert_array_equal(doubtful, expected)
        sure = ~expected
        np.testing.assert_array_equal(chosen[sure, 0], wanted[sure, 0])
        np.testing.assert_array_equal(np.sort(chosen[sure]), np.sort(wanted[sure]))


def test_the_rank_of_a_list_says_with_how_many_probes_it_is_visited() -> None:
    everywhere = np.tile(np.arange(12), (500, 1))
    np.testing.assert_array_equal(np.argsort(CELLS.ranks(VECTORS, everywhere), axis=1), by_distance())


def test_the_same_sample_and_seed_make_the_same_lists() -> None:
    again = InvertedLists.fit(VECTORS, 12, seed=0)
    assert again.centroids.tobytes() == CELLS.centroids.tobytes()
    assert InvertedLists.fit(VECTORS, 12, seed=1).centroids.tobytes() != CELLS.centroids.tobytes()


def test_no_more_lists_are_made_than_the_sample_has_rows() -> None:
    cells = InvertedLists.fit(VECTORS[:5], 12, seed=0)
    np.testing.assert_array_equal(cells.assign(VECTORS[:5]), np.arange(5))


def test_copies_leave_lists_empty_and_every_row_has_its_own_list_first() -> None:
    copies = np.tile(VECTORS[:3], (50, 1))
    cells = InvertedLists.fit(copies, 10, seed=0)
    assert len(np.unique(cells.assign(copies))) <= 3
    np.testing.assert_array_equal(cells.ranks(copies, cells.probes(copies, 4)[:, :1]), 0)


@pytest.mark.parametrize(("rows", "lists"), [(0, 3), (3, 0)])
def test_lists_of_nothing_are_refused(rows: int, lists: int) -> None:
    with pytest.raises(ValueError, match="lists cannot be made"):
        InvertedLists.fit(VECTORS[:rows], lists, seed=0)


def test_two_rows_meet_as_soon_as_either_visits_the_other() -> None:
    queries, neighbours = VECTORS[:40], VECTORS[40:240].reshape(40, 5, 6)
    depth = depths(CELLS, queries, neighbours)
    own, theirs = CELLS.assign(queries), CELLS.assign(VECTORS[40:240]).reshape(40, 5)
    for nprobe in (1, 3, 6):
        there = (CELLS.probes(queries, nprobe)[:, None] == theirs[:, :, None]).any(axis=2)
        back = (CELLS.probes(VECTORS[40:240], nprobe).reshape(40, 5, nprobe) == own[:, None, None]).any(axis=2)
        np.testing.assert_array_equal(depth < nprobe, there | back)


def test_the_fewest_probes_reach_the_recall_with_a_margin_for_the_sample() -> None:
    depth = rng.integers(0, 10, (400, 20)).astype(np.int32)
    present = np.ones(depth.shape, bool)
    nprobe = fewest_probes(depth, present, 0.75, 10)
    mean, error = mean_and_error(shares(depth < nprobe, present))
    fewer, _ = mean_and_error(shares(depth < nprobe - 1, present))
    assert mean - 3 * error >= 0.75 > fewer - 3 * error
    assert fewest_probes(depth, present, 1.0, 10) == 10
    assert fewest_probes(depth, np.zeros(depth.shape, bool), 0.95, 10) == 1


def test_a_query_without_neighbours_has_no_recall() -> None:
    present = np.array([[True, True], [True, False], [False, False]])
    np.testing.assert_array_equal(shares(np.array([[True, False], [True, False], [False, False]]), present), [0.5, 1.0])
    assert mean_and_error(np.empty(0)) == (1.0, 0.0)


def test_the_number_of_lists_grows_as_the_root_of_the_rows() -> None:
    assert [list_count(rows) for rows in (0, 1, 10_000, 1_000_000)] == [1, 2, 200, 2000]

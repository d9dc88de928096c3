"""Neighbours of disjoint shards become the neighbours of the whole, however they are joined."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.neighbours import NOBODY, Neighbours, merge, nearest
from tests.merge_trees import merge_in_some_tree, random_split


def same(one: Neighbours, other: Neighbours) -> bool:
    return np.array_equal(one.ids, other.ids) and np.array_equal(one.distances, other.distances)


def first_by_sorting(ids: np.ndarray, distances: np.ndarray, n: int) -> Neighbours:
    rows = [sorted(zip(d, i, strict=True))[:n] for d, i in zip(distances.tolist(), ids.tolist(), strict=True)]
    padded = [row + [(np.inf, NOBODY)] * (n - len(row)) for row in rows]
    table = Neighbours.none(len(ids), n)
    for q, row in enumerate(padded):
        table.distances[q], table.ids[q] = [d for d, _ in row], [i for _, i in row]
    return table


def candidates(queries: int, rows: int, seed: int, values: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances out of few values, so that most are tied, and distinct ids in any order."""
    rng = np.random.default_rng(seed)
    ids = np.array([rng.permutation(10 * rows + 1)[:rows] for _ in range(queries)]).reshape(queries, rows)
    return ids.astype(np.int64), rng.integers(values, size=(queries, rows)).astype(np.float64)


@given(st.integers(0, 5), st.integers(0, 90), st.integers(1, 25), st.integers(1, 30), st.integers(0, 2**20))
def test_nearest_are_the_first_of_all_sorted_by_distance_then_id(
    queries: int, rows: int, n: int, values: int, seed: int
) -> None:
    ids, distances = candidates(queries, rows, seed, values)
    assert same(nearest(ids, distances, n), first_by_sorting(ids, distances, n))


@pytest.mark.parametrize("n", [1, 3])
def test_ties_at_the_cut_go_to_the_smaller_id_also_among_many(n: int) -> None:
    ids = np.arange(1000, 0, -1)[None, :]
    distances = np.where(ids % 2, 2.0, 2.0 + 1e-15)
    assert nearest(ids, distances, n).ids.tolist() == [[1, 3, 5][:n]]


def test_padding_comes_last_whatever_its_width() -> None:
    ids = np.array([[4] + [NOBODY] * 200, [NOBODY] * 200 + [7]])
    distances = np.where(ids == NOBODY, np.inf, 1.5)
    found = nearest(ids, distances, 2)
    assert found.ids.tolist() == [[4, NOBODY], [7, NOBODY]]
    assert found.distances.tolist() == [[1.5, np.inf], [1.5, np.inf]]


@given(
    st.integers(0, 4),
    st.integers(0, 70),
    st.integers(1, 12),
    st.integers(1, 8),
    st.integers(1, 9),
    st.integers(0, 2**20),
)
def test_any_shards_in_any_merge_tree_equal_one_pass(
    queries: int, rows: int, n: int, values: int, shards: int, seed: int
) -> None:
    ids, distances = candidates(queries, rows, seed, values)
    rng = np.random.default_rng(seed)
    pieces = [nearest(ids[:, part], distances[:, part], n) for part in random_split(rows, shards, rng)]
    pieces = [pickle.loads(pickle.dumps(piece)) for piece in pieces]  # noqa: S301
    joined = merge_in_some_tree(pieces, lambda some: pickle.loads(pickle.dumps(merge(some, n))), rng)  # noqa: S301
    assert same(merge([joined], n), nearest(ids, distances, n))


@given(st.integers(0, 4), st.integers(0, 30), st.integers(1, 10), st.integers(0, 2**20))
def test_no_neighbours_is_the_neutral_element(queries: int, rows: int, n: int, seed: int) -> None:
    found = nearest(*candidates(queries, rows, seed, 3), n)
    nothing = Neighbours.none(queries, n)
    assert same(merge([found, nothing], n), found)
    assert same(merge([nothing, found, nothing], n), found)
    assert same(merge([nothing, nothing], n), nothing)


def test_merge_takes_a_generator_and_leaves_its_inputs_alone() -> None:
    one = nearest(np.array([[3, 1]]), np.array([[2.0, 1.0]]), 2)
    other = nearest(np.array([[2]]), np.array([[1.0]]), 2)
    for piece in (one, other):
        piece.ids.setflags(write=False)
        piece.distances.setflags(write=False)
    joined = merge((piece for piece in (one, other)), 2)
    assert joined.ids.tolist() == [[1, 2]]
    assert one.ids.tolist() == [[1, 3]]


def test_there_must_be_something_to_merge() -> None:
    with pytest.raises(ValueError, match="no neighbours to merge"):
        merge([], 3)


def test_size_in_bytes_is_sixteen_a_place() -> None:
    assert Neighbours.none(5, 7).nbytes == 16 * 5 * 7
    assert len(Neighbours.none(5, 7)) == 5


@given(st.integers(0, 5), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_pickled_without_the_places_where_there_is_nobody(queries: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    filled = np.arange(n) < rng.integers(0, n + 1, queries)[:, None]
    ids = np.where(filled, rng.integers(-9, 9, (queries, n)), NOBODY)
    distances = np.where(filled, np.sort(rng.random((queries, n)), axis=1), np.inf)
    again = copy.deepcopy(Neighbours(ids, distances, 70, 3))  # by way of what a pickle holds
    np.testing.assert_array_equal(again.ids, ids)
    np.testing.assert_array_equal(again.distances, distances)
    assert (again.base_rows, again.undecided) == (70, 3)


def test_a_pickle_is_as_small_as_what_was_found() -> None:
    sizes = [len(pickle.dumps(Neighbours.none(1000, n))) for n in (1, 100)]
    assert sizes[0] == pytest.approx(sizes[1], abs=10)


@pytest.mark.parametrize("largest", [2**31 - 1, 2**31, NOBODY - 1])
@pytest.mark.parametrize("smallest", [-(2**31), -(2**31) - 1])
def test_ids_that_fit_into_four_bytes_take_no_more(largest: int, smallest: int) -> None:
    found = Neighbours(np.array([[smallest, largest] * 500]), np.zeros((1, 1000)))
    size = len(pickle.dumps(found))
    assert (size < 13_000) == (largest < 2**31 and smallest >= -(2**31))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).ids, found.ids)  # noqa: S301


def test_up_to_a_reach_keeps_ties_with_it_and_nobody_beyond() -> None:
    found = Neighbours(np.array([[3, 1, 2], [4, 5, 6]]), np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]), 9, 1)
    kept = found.up_to(np.array([2.0, 0.5]))
    assert same(kept, Neighbours(np.array([[3, 1, NOBODY], [NOBODY] * 3]), np.array([[1, 2, np.inf], [np.inf] * 3])))
    assert (kept.base_rows, kept.undecided) == (9, 1)

"""Labels of neighbours by their ids, and the unit of λx: the k-NN affinity made of both, against the oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from awe_core.affinities.beside_neighbours import LabelsById, median_distance, radius, smallest_hashes
from awe_core.affinities.knn import Knn
from awe_core.affinities.neighbour_labels import Mode, NeighbourLabels
from awe_core.arrangement import hash_ids
from awe_core.knn import knn_join
from awe_core.neighbours import NOBODY, Neighbours
from tests.awe_core.lists import csr, label_sets, mappings
from tests.oracles import affinity as oracle
from tests.oracles import join

LABELS = 6


def knn_affinity(
    near: Neighbours, table: LabelsById, lambda_x: float, mode: Mode, epsilon: float = 0.0
) -> sp.csr_matrix:
    return Knn(mode).of(NeighbourLabels.of(near, table, lambda_x, epsilon))


def affinities(
    ids: np.ndarray, x: np.ndarray, labels: list[set[int]], lam: float, mode: Mode, n: int
) -> tuple[list[dict[int, float]], list[dict[int, float]]]:
    """(ours, the oracle's) of every row among all rows."""
    neighbours = knn_join(ids, x, n)
    ours = knn_affinity(neighbours, LabelsById.of(ids, csr(labels, LABELS)), lam, mode)
    assert ours.dtype == np.float32
    assert ours.has_sorted_indices
    near = join.neighbours(ids.tolist(), x, ids.tolist(), x, n)
    by_id = dict(zip(ids.tolist(), labels, strict=True))
    return mappings(ours), oracle.knn_affinity(near, by_id, lam, mode)


def assert_close(ours: list[dict[int, float]], wanted: list[dict[int, float]]) -> None:
    assert [list(row) for row in ours] == [list(row) for row in wanted]
    for got, want in zip(ours, wanted, strict=True):
        # Half a unit in the last place of float32, and its smallest positive number below that.
        assert got == pytest.approx(want, rel=2**-24, abs=2**-149)


@given(st.data(), st.integers(1, 25), st.integers(1, 30), st.sampled_from(["sum", "max"]), st.integers(0, 2**20))
def test_equals_the_oracle(data: st.DataObject, rows: int, n: int, mode: Mode, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = data.draw(label_sets(rows, LABELS))
    lam = data.draw(st.sampled_from([0.0, 0.3, 2.0, 50.0, 1e4]))
    ids = rng.permutation(1000)[:rows].astype(np.int64) - 500
    x = rng.integers(-2, 3, (rows, 3)).astype(np.float32) * np.float32(0.7)
    assert_close(*affinities(ids, x, labels, lam, mode, n))


@pytest.mark.parametrize("mode", ["sum", "max"])
def test_forty_copies_of_every_point(mode: Mode) -> None:
    x = np.repeat(np.random.default_rng(0).standard_normal((4, 3)), 40, axis=0).astype(np.float32)
    labels = [{row % LABELS} for row in range(160)]
    ours, wanted = affinities(np.arange(160), x, labels, 1.0, mode, 20)
    assert_close(ours, wanted)
    assert all(sum(row.values()) == (20 if mode == "sum" else len(row)) for row in ours)


def test_a_single_example_has_no_candidates() -> None:
    assert_close(*affinities(np.array([3]), np.ones((1, 2), np.float32), [{1, 2}], 1.0, "sum", 20))


def test_an_affinity_that_underflows_is_stored_as_zero() -> None:
    near = Neighbours(np.array([[1, 2]]), np.array([[0.0, 1e9]]))
    found = knn_affinity(near, LabelsById.of(np.array([2, 1]), csr([{4}, {0}], LABELS)), 1.0, "sum")
    assert mappings(found) == [{0: 1.0, 4: 0.0}]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-4, 1e-2, 0.5]), st.sampled_from(["sum", "max"]))
def test_epsilon_bounds_what_is_left_out(seed: int, epsilon: float, mode: Mode) -> None:
    rng = np.random.default_rng(seed)
    ids, x = np.arange(40), rng.normal(size=(40, 2)).astype(np.float32)
    table = LabelsById.of(ids, csr([{int(y)} for y in rng.integers(0, LABELS, 40)], LABELS))
    near, lam, n = knn_join(ids, x, 10), 3.0, 10
    whole = knn_affinity(near, table, lam, mode)
    left = knn_affinity(near, table, lam, mode, epsilon)
    assert (np.abs((whole - left).toarray()) <= epsilon + 1e-7).all()
    assert set(zip(*left.nonzero(), strict=True)) <= set(zip(*whole.nonzero(), strict=True))
    beyond = near.distances > radius(epsilon, n, lam)
    assert (np.exp(-lam * near.distances[beyond]) < epsilon / n).all()
    nearer = Neighbours(np.where(beyond, NOBODY, near.ids), np.where(beyond, np.inf, near.distances))
    assert (knn_affinity(nearer, table, lam, mode, epsilon) != left).nnz == 0  # what the join leaves out is not missed


def test_without_epsilon_nobody_is_too_far() -> None:
    assert radius(0.0, 20, 2.0) == np.inf


def test_no_neighbours_and_no_labels_give_empty_rows() -> None:
    table = LabelsById.of(np.array([1, 2]), csr([set(), {3}], LABELS))
    near = Neighbours(np.array([[NOBODY], [1], [2], [NOBODY]]), np.array([[np.inf], [0.0], [0.0], [np.inf]]))
    assert mappings(knn_affinity(near, table, 1.0, "max")) == [{}, {}, {3: 1.0}, {}]
    assert knn_affinity(Neighbours.none(0, 3), table, 1.0, "sum").shape == (0, LABELS)
    assert knn_affinity(Neighbours.none(2, 3), table, 1.0, "sum").nnz == 0
    nobody = LabelsById.of(np.zeros(0, np.int64), csr([], LABELS))
    assert knn_affinity(Neighbours.none(2, 3), nobody, 1.0, "sum").nnz == 0


def test_the_table_of_labels_takes_rows_in_any_order_and_refuses_a_repeated_id() -> None:
    table = LabelsById.of(np.array([30, -10, 20]), csr([{1, 5}, {0}, set()], LABELS))
    assert table.ids.tolist() == [-10, 20, 30]
    assert table.rows(np.array([30, 30, -10])).tolist() == [2, 2, 0]
    with pytest.raises(ValueError, match="twice"):
        LabelsById.of(np.array([1, 2, 1]), csr([{1}, {2}, {3}], LABELS))


@pytest.mark.parametrize("ids", [[], [4], [6], [4, 6]])
def test_a_neighbour_that_is_no_row_of_the_base_is_an_error(ids: list[int]) -> None:
    table = LabelsById.of(np.array(ids, np.int64), csr([{0}] * len(ids), LABELS))
    with pytest.raises(KeyError, match="id 5 is a neighbour"):
        table.rows(np.array([*ids, 5]))


@given(st.integers(2, 40), st.integers(1, 25), st.integers(1, 50), st.integers(0, 2**20))
def test_the_median_is_the_oracles_over_the_sample_of_smallest_hashes(rows: int, n: int, limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(1000)[:rows].astype(np.int64)
    x = (np.arange(rows)[:, None] * [1.0, 0.5] + rng.integers(0, 3, (rows, 1))).astype(np.float32)
    sample = smallest_hashes(seed, ids, limit)
    ours = knn_join(ids, x, n, ids[sample], x[sample]).distances
    wanted = oracle.median_distance(ids.tolist(), x, hash_ids(seed, "sample", ids).tolist(), n, limit)
    if wanted:
        assert median_distance(ours) == wanted
    else:
        with pytest.raises(ValueError, match="median squared distance to a neighbour is 0"):
            median_distance(ours)


def test_the_sample_of_the_whole_is_the_sample_of_the_samples_of_its_parts() -> None:
    ids = np.random.default_rng(0).permutation(3000)
    whole = ids[smallest_hashes(4, ids, 100)]
    parts = np.concatenate([part[smallest_hashes(4, part, 100)] for part in np.array_split(ids, 7)])
    assert parts[smallest_hashes(4, parts, 100)].tolist() == whole.tolist()
    assert len(set(whole.tolist()) & set(ids[smallest_hashes(5, ids, 100)].tolist())) < 50


def test_places_without_a_neighbour_are_not_in_the_median() -> None:
    assert median_distance(np.array([[1.0, np.inf], [3.0, 8.0]])) == 3.0


@pytest.mark.parametrize("distances", [np.full((3, 2), np.inf), np.zeros((0, 2))])
def test_without_neighbours_there_is_no_unit(distances: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least two examples"):
        median_distance(distances)


def test_a_median_of_zero_says_why() -> None:
    with pytest.raises(ValueError, match="most examples have the same embedding"):
        median_distance(np.array([[0.0, 0.0, math.pi]]))

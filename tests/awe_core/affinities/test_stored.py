"""The contract of all members whose G is stored: that of the equation, row by row as by block."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from awe_core.affinities.beside_neighbours import LabelsById
from awe_core.affinities.cluster import ClusterTree, cluster_affinity, count_labels
from awe_core.affinities.hybrid import Hybrid
from awe_core.affinities.latent_rbf import NearLabels
from awe_core.affinities.neighbour_labels import Mode, NeighbourLabels
from awe_core.affinities.stored import STORED_KINDS, StoredKind, from_neighbours
from awe_core.knn import knn_join
from awe_core.neighbours import Neighbours
from tests.awe_core.lists import csr, label_sets, mappings
from tests.oracles import affinity as oracle
from tests.oracles import join

LABELS, ROWS, N, NEAR, LEAF_ROWS, LEAF_LABELS = 7, 30, 6, 3, 8, 3
LAMBDA_X, LAMBDA_Y = 0.7, 1.3

OfRows = Callable[[slice], sp.csr_matrix]


class Data:
    """A base of examples, whose rows are the queries, and what the members are made of."""

    def __init__(self, seed: int, labels: list[set[int]]) -> None:
        rng = np.random.default_rng(seed)
        self.ids = rng.permutation(1000)[:ROWS].astype(np.int64)
        self.x = (rng.integers(-3, 4, (ROWS, 3)) * 0.4).astype(np.float32)
        self.V = (rng.permutation(np.arange(2 * LABELS * 2)).reshape(-1, 2)[:LABELS] * 0.3).astype(np.float32)
        self.labels = labels

    def of_neighbours(self, kind: StoredKind, mode: Mode) -> OfRows:
        table = LabelsById.of(self.ids, csr(self.labels, LABELS))
        near_labels = NearLabels.of(self.V, NEAR) if kind == "latent-rbf" else None
        member = from_neighbours(kind, mode, math.inf if kind == "knn" else LAMBDA_Y, near_labels)
        near = knn_join(self.ids, self.x, N)

        def of(rows: slice) -> sp.csr_matrix:
            some = Neighbours(near.ids[rows], near.distances[rows])
            return member.of(NeighbourLabels.of(some, table, LAMBDA_X))

        return of

    def by_equation(self, kind: StoredKind, mode: Mode) -> list[dict[int, float]]:
        """Cut to the candidates that the member says it has."""
        ids, by_id = self.ids.tolist(), dict(zip(self.ids.tolist(), self.labels, strict=True))
        near = join.neighbours(ids, self.x, ids, self.x, N)
        knn = oracle.knn_affinity(near, by_id, LAMBDA_X, mode)
        if kind == "knn":
            return knn
        if kind == "latent-rbf":
            close = oracle.latent_closeness(self.V, NEAR, LAMBDA_Y)
            return oracle.rbf_affinity(near, by_id, LAMBDA_X, close, LABELS, mode)
        close_one_hot = oracle.one_hot_closeness(LAMBDA_Y / 2)  # their median squared distance is 2
        whole = oracle.rbf_affinity(near, by_id, LAMBDA_X, close_one_hot, LABELS, mode)
        return [{y: row[y] for y in candidates} for row, candidates in zip(whole, knn, strict=True)]

    def of_leaves(self, own: bool) -> tuple[OfRows, ClusterTree]:
        tree = ClusterTree.fit(3, self.ids, self.x, LEAF_ROWS)
        lists = csr(self.labels, LABELS)
        counts = count_labels(tree.assign(self.x), lists, tree.leaves)

        def of(rows: slice) -> sp.csr_matrix:
            leaf = tree.assign(self.x[rows])
            return cluster_affinity(leaf, counts, lists[rows] if own else None, LEAF_LABELS)

        return of, tree


def check_contract(of: OfRows, wanted: list[dict[int, float]]) -> None:
    found = of(slice(None))
    assert found.dtype == np.float32
    assert found.shape == (ROWS, LABELS)
    assert found.has_canonical_format
    assert (np.diff(found.indptr) >= 0).all()
    assert all(list(row) == sorted(row) for row in mappings(found))
    assert np.isfinite(found.data).all()
    assert (found.data >= 0).all()
    assert [list(row) for row in mappings(found)] == [sorted(row) for row in wanted]
    for got, want in zip(mappings(found), wanted, strict=True):
        assert got == pytest.approx(want, rel=2**-23)
    one_by_one = [mappings(of(slice(row, row + 1)))[0] for row in range(ROWS)]
    assert one_by_one == mappings(found)


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("kind", [kind for kind, stored in STORED_KINDS.items() if stored.by_neighbours])
@settings(max_examples=20)
@given(st.integers(0, 2**20), label_sets(ROWS, LABELS))
def test_members_made_of_neighbours(kind: StoredKind, mode: Mode, seed: int, labels: list[set[int]]) -> None:
    data = Data(seed, labels)
    check_contract(data.of_neighbours(kind, mode), data.by_equation(kind, mode))


@pytest.mark.parametrize("own", [False, True])
@settings(max_examples=20)
@given(st.integers(0, 2**20), label_sets(ROWS, LABELS))
def test_the_cluster_member(own: bool, seed: int, labels: list[set[int]]) -> None:
    data = Data(seed, labels)
    of, tree = data.of_leaves(own)
    leaf = [walked(tree, row) for row in data.x.astype(np.float64)]
    assert tree.assign(data.x).tolist() == leaf
    wanted = []
    for row in range(ROWS):
        mates = [labels[other] for other in range(ROWS) if leaf[other] == leaf[row] and not (own and other == row)]
        wanted.append(dict.fromkeys(oracle.most_frequent(mates, LEAF_LABELS), 1.0))
    check_contract(of, wanted)


def walked(tree: ClusterTree, x: np.ndarray) -> int:
    """The leaf, one step after another."""
    node = 0
    while tree.first[node] >= 0:
        children = range(tree.first[node], tree.first[node] + tree.children[node])
        node = min(children, key=lambda child: (float(((tree.centres[child] - x) ** 2).sum()), child))
    return int(tree.leaf[node])


def test_the_tree_is_one_of_the_data_and_not_of_their_order() -> None:
    data = Data(5, [set()] * ROWS)
    order = np.random.default_rng(0).permutation(ROWS)
    one, other = (ClusterTree.fit(3, data.ids[rows], data.x[rows], LEAF_ROWS) for rows in (np.arange(ROWS), order))
    assert one.leaves > 3
    assert np.array_equal(one.centres, other.centres)
    assert one.leaf.tolist() == other.leaf.tolist()
    assert np.bincount(one.assign(data.x)).max() <= LEAF_ROWS


@pytest.mark.parametrize("rows", [1, 100])
def test_rows_that_are_all_alike_are_one_leaf(rows: int) -> None:
    tree = ClusterTree.fit(0, np.arange(rows), np.ones((rows, 2), np.float32), 10)
    assert tree.leaves == 1
    assert tree.assign(np.zeros((3, 2), np.float32)).tolist() == [0, 0, 0]


def test_an_infinite_lambda_y_gives_the_knn_affinity() -> None:
    data = Data(1, [{row % LABELS} for row in range(ROWS)])
    table, near = LabelsById.of(data.ids, csr(data.labels, LABELS)), knn_join(data.ids, data.x, N)
    labels = NeighbourLabels.of(near, table, LAMBDA_X)
    for mode in get_args(Mode):
        knn = from_neighbours("knn", mode, math.inf, None).of(labels)
        assert (Hybrid(mode, math.inf).of(labels) != knn).nnz == 0


@pytest.mark.parametrize("V", [np.ones((1, 2), np.float32), np.ones((4, 2), np.float32)])
def test_labels_that_cannot_be_told_apart_give_lambda_y_no_unit(V: np.ndarray) -> None:
    with pytest.raises(ValueError, match="λy has no unit"):
        NearLabels.of(V, NEAR)


@pytest.mark.parametrize("kind", ["latent-rbf", "k-means"])
def test_an_unknown_kind_and_an_infinite_lambda_y_are_refused(kind: StoredKind) -> None:
    near = NearLabels.of(np.arange(6, dtype=np.float32).reshape(3, 2), NEAR)
    with pytest.raises(ValueError, match=rf"not '{kind}' with λy = inf"):
        from_neighbours(kind, "sum", math.inf, near)


@pytest.mark.parametrize("mode", get_args(Mode))
@given(st.floats(1.0, 1e6), st.integers(0, 2**20))
def test_rows_however_far_from_the_base_have_their_labels_in_the_order_of_the_equation(
    mode: Mode, distance: float, seed: int
) -> None:
    data = Data(seed, [{row % LABELS} for row in range(ROWS)])
    table = LabelsById.of(data.ids, csr(data.labels, LABELS))
    gaps = np.sort(np.random.default_rng(seed).uniform(0.0, 5.0, (1, N)))
    found = from_neighbours("knn", mode, math.inf, None).of(
        NeighbourLabels.of(Neighbours(data.ids[None, :N], distance + gaps - gaps[0, 0]), table, LAMBDA_X)
    )
    assert (found.data > 0).all()
    own = [next(iter(data.labels[row])) for row in range(N)]
    relative = found.toarray()[0, own] / found.data.max()
    np.testing.assert_allclose(relative, np.exp(-LAMBDA_X * (gaps[0] - gaps[0, 0])), rtol=1e-4)
    if LAMBDA_X * distance < 60:
        np.testing.assert_allclose(found.data.max(), np.exp(-LAMBDA_X * distance), rtol=1e-6)

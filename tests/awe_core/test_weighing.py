"""G of new rows and who stands behind it, against the equation, one neighbour and one label at a time."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.affinities.beside_neighbours import LabelsById
from awe_core.affinities.cluster import ClusterTree, count_labels
from awe_core.affinities.knn import Knn
from awe_core.affinities.neighbour_labels import NeighbourWeigher
from awe_core.knn import prepare
from awe_core.ranking import Ranking
from awe_core.weighing import ByLeaves, ByNeighbours

RNG = np.random.default_rng(0)
ROWS, LABELS, N, RATE = 50, 6, 5, 0.7
IDS = RNG.permutation(500)[:ROWS]
BASE, NEW = (RNG.standard_normal((rows, 3)).astype(np.float32) for rows in (ROWS, 8))
HAS = RNG.random((ROWS, LABELS)) < 0.4
RANKING = Ranking(  # of every new row some labels, in any order; of the last none
    np.array([0, 3, 6, 9, 12, 15, 18, 21, 21]),
    np.concatenate([RNG.permutation(LABELS)[:3] for _ in range(7)]).astype(np.int32),
    np.zeros(21, np.float32),
)


def by_neighbours(epsilon: float = 0.0) -> ByNeighbours:
    labels = LabelsById.of(IDS, sp.csr_matrix(HAS.astype(np.float32)))
    return ByNeighbours(prepare(IDS, BASE), N, NeighbourWeigher(Knn("sum"), labels, RATE, epsilon))


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_behind_a_label_stand_the_nearest_that_have_it_with_their_weights(epsilon: float) -> None:
    distances = ((NEW[:, None].astype(np.float64) - BASE) ** 2).sum(axis=2)
    weighed = by_neighbours(epsilon).of(NEW)
    behind, G = weighed.behind(RANKING), np.zeros((len(NEW), LABELS))
    for row, of_row in enumerate(distances):
        near = [(place, np.exp(-RATE * of_row[place])) for place in np.argsort(of_row)[:N]]
        counted = [(place, weight) for place, weight in near if weight >= epsilon / N]
        for place, weight in counted:
            G[row] += weight * HAS[place]
        for entry in range(RANKING.indptr[row], RANKING.indptr[row + 1]):
            have = [(IDS[place], weight) for place, weight in counted if HAS[place, RANKING.labels[entry]]]
            listed = slice(behind.indptr[entry], behind.indptr[entry + 1])
            assert behind.ids[listed].tolist() == [one for one, _ in have]
            assert behind.weights[listed] == pytest.approx([weight for _, weight in have], rel=1e-6)
    assert behind.indptr[-1] == len(behind.ids)
    np.testing.assert_allclose(weighed.affinity.toarray(), G, rtol=1e-6, atol=1e-12)


def test_one_row_alone_is_as_in_its_block() -> None:
    tree = ClusterTree.fit(0, IDS, BASE, 10)
    counts = count_labels(tree.assign(BASE), sp.csr_matrix(HAS.astype(np.float32)), tree.leaves)
    for weighing in (by_neighbours(), ByLeaves(tree, counts, 2)):
        block = weighing.of(NEW).affinity.toarray()
        for row in range(len(NEW)):
            assert np.array_equal(weighing.of(NEW[row : row + 1]).affinity.toarray()[0], block[row])


def test_a_training_row_is_not_counted_for_itself_and_behind_a_leaf_nobody_stands() -> None:
    tree = ClusterTree.fit(0, IDS, BASE, 10)
    own = sp.csr_matrix(np.eye(ROWS, dtype=np.float32))  # a label of its own each
    leaves = ByLeaves(tree, count_labels(tree.assign(BASE), own, tree.leaves), ROWS)
    assert leaves.of(BASE).affinity.toarray().diagonal().all()
    assert not leaves.affinity(BASE, own).toarray().diagonal().any()
    assert not leaves.of(BASE).behind(RANKING).indptr.any()

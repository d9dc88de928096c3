"""What the measurement of clusters ranks: the leaf's labels by f, in the linear model's order."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from awe_core import scoring
from awe_core.examples import Block
from awe_core.model import Model
from benchmarks.cluster_queries import ALONE, Leaves, alone, by_leaf
from tests.awe_core.lists import csr

ROWS, LABELS, MOST = 120, 9, 4


def data() -> tuple[Model, Block]:
    rng = np.random.default_rng(0)
    model = Model(rng.normal(size=(5, 3)).astype(np.float32), rng.uniform(0.1, 1, (LABELS, 3)).astype(np.float32))
    labels = csr([set(rng.permutation(LABELS)[:2].tolist()) for _ in range(ROWS)], LABELS)
    x = rng.normal(size=(ROWS, 5)).astype(np.float32)
    return model, Block(np.arange(ROWS), x, labels, sp.csr_matrix((ROWS, LABELS)), np.ones(ROWS, np.float32))


def test_a_leafs_labels_come_in_the_order_of_the_linear_model() -> None:
    model, block = data()
    leaves = Leaves(model, [block], leaf_rows=20)
    assert leaves.tree.leaves > 3
    of_leaf = leaves.of_leaf(MOST)
    assert (np.diff(of_leaf.indptr) == MOST).all()
    some = by_leaf(model, leaves.tree, of_leaf)(block).padded(LABELS)
    every = scoring.rank_by_model(model, LABELS)(block).padded(LABELS)
    leaf = leaves.tree.assign(model.embed(block.features))
    for row in range(ROWS):
        kept = [label for label in every[row] if of_leaf[leaf[row], label]]
        assert some[row, :MOST].tolist() == kept
        assert (some[row, MOST:] == -1).all()


def test_rows_alone_are_the_first_ones() -> None:
    _, block = data()
    singles = alone([block] * (ALONE // ROWS + 1))
    assert len(singles) == ALONE
    assert [int(one.ids[0]) for one in singles[:3]] == [0, 1, 2]
    assert all(len(one) == 1 for one in singles)

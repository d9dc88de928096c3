"""Minibatches: every pair once, an example's pairs together."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.kernels.feature_rows import embed_rows, through_features
from awe_core.warp.minibatch import Minibatch, Visit, cut_pairs, trainable_pairs
from tests.awe_core.blocks import block

TRUTH = [[0, 3], [], [1], [0, 1, 2, 3], [2], [1, 2]]


def some_block(sparse: bool = False, affinity: list[dict[int, float]] | None = None):
    x = np.arange(24.0).reshape(6, 4) + 1
    seen = [[1], [2], [], [], [0], []]
    return block(sp.csr_matrix(x) if sparse else x, TRUTH, 4, seen=seen, affinity=affinity, weight=[1, 2, 3, 4, 5, 6])


ORDER = np.array([3, 0, 1, 5, 4, 2])


def minibatches(visit: Visit, batch: int) -> list[Minibatch]:
    return [visit.minibatch(run) for run in visit.steps(batch)]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("sparse", [False, True])
def test_an_epoch_visits_every_pair_once_in_the_order_of_the_rows(batch, sparse):
    source = some_block(sparse)
    visited = []
    for part in minibatches(Visit(source, ORDER), batch):
        rows = [int(w) - 1 for w in part.weight]  # the weight tells which row it is
        assert (
            np.asarray(part.features[:, 0] if not sparse else part.features.toarray()[:, 0]) == np.array(rows) * 4 + 1
        ).all()
        assert len(part.pair_row) <= batch or len(rows) == 1
        for place, row in enumerate(rows):
            assert part.excluded[place].indices.tolist() == sorted({*TRUTH[row], *source.seen[row].indices.tolist()})
        visited += [(rows[place], int(y)) for place, y in zip(part.pair_row, part.pair_label, strict=True)]
    assert visited == [(int(row), y) for row in ORDER for y in TRUTH[row]]


def test_batches_are_filled_as_far_as_examples_fit():
    source = some_block()
    parts = minibatches(Visit(source, ORDER), 4)
    assert [len(part.pair_row) for part in parts] == [4, 4, 2]


def test_pairs_whose_label_is_no_candidate_are_left_out_and_counted():
    affinity = [{0: 1.0}, {0: 1.0}, {0: 0.5}, {1: 0.0, 3: 1.0}, {2: 1.0}, {}]
    source = some_block(affinity=affinity)
    visit = Visit(source, ORDER, candidates_only=True)
    assert visit.pairs.uncovered == 1 + 1 + 2 + 2
    [part] = minibatches(visit, 100)
    rows = [int(w) - 1 for w in part.weight]
    # A stored affinity of 0 is a candidate's. Rows without a pair are passed over.
    assert [(rows[i], int(y)) for i, y in zip(part.pair_row, part.pair_label, strict=True)] == [
        (3, 1),
        (3, 3),
        (0, 0),
        (4, 2),
    ]
    assert [part.affinity[i].indices.tolist() for i in range(3)] == [[1, 3], [0], [2]]


def test_the_positive_of_the_moment_is_left_out_of_a_history():
    source = some_block(sparse=True)
    [part] = minibatches(Visit(source, ORDER[:2], leave_one_out=True), 100)
    assert part.pair_row.tolist() == [0, 1, 2, 3, 4, 5]
    assert part.pair_label.tolist() == [0, 1, 2, 3, 0, 3]
    for row, label in zip(part.pair_row, part.pair_label, strict=True):
        whole = source.features[3 if row < 4 else 0].toarray()[0]
        whole[label] = 0
        assert part.features[row].toarray()[0].tolist() == whole.tolist()
        assert part.excluded[row].indices.tolist() == ([0, 1, 2, 3] if row < 4 else [0, 1, 3])


@pytest.mark.parametrize("scattered", [False, True])
def test_what_the_pairs_of_a_history_share_is_what_each_has_alone(scattered):
    source = some_block(sparse=True)
    source.features.data[[0, 7, 14, 23]] = 0
    source.features.eliminate_zeros()  # so that some pairs' label is not in x
    visit, rng = Visit(source, ORDER, leave_one_out=True), np.random.default_rng(1)
    if scattered:
        visit.scatter(rng)
    rows, _, label = visit.rows_and_pairs(slice(0, len(visit.pairs)))
    shared, alone = visit.feature_rows(rows, label), visit.features(rows, label).toarray().astype(np.float64)
    U, by_embedding = rng.normal(size=(4, 3)), rng.normal(size=(len(rows), 3))

    back = through_features(shared, by_embedding)
    by_U = np.zeros_like(U)
    np.add.at(by_U, back.rows, back.values)

    np.testing.assert_allclose(embed_rows(shared, U), alone @ U, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(by_U, alone.T @ by_embedding, rtol=1e-12, atol=1e-12)


def test_a_dense_x_is_no_history():
    visit = Visit(some_block(), ORDER, leave_one_out=True)
    rows, _, label = visit.rows_and_pairs(slice(0, 4))
    for read in (visit.features, visit.feature_rows):
        with pytest.raises(ValueError, match="sparse"):
            read(rows, label)


def test_a_block_without_pairs_has_no_minibatch():
    source = block(np.ones((2, 1)), [[], []], 3)
    assert Visit(source, np.arange(2)).steps(4) == []


def test_scattered_pairs_are_all_visited_once_and_an_examples_share_a_row():
    source = some_block(sparse=True)
    visit = Visit(source, ORDER)
    visit.scatter(np.random.default_rng(0))
    parts = minibatches(visit, 4)
    assert [len(part.pair_row) for part in parts] == [4, 4, 2]
    visited = []
    for part in parts:
        assert (np.diff(part.pair_row) >= 0).all()
        assert len(set(part.weight.tolist())) == len(part)
        visited += [(int(part.weight[i]) - 1, int(y)) for i, y in zip(part.pair_row, part.pair_label, strict=True)]
    assert sorted(visited) == sorted((row, y) for row in range(6) for y in TRUTH[row])
    assert [row for row, _ in visited] != [int(row) for row in ORDER for _ in TRUTH[row]]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 100])
def test_a_step_is_cut_into_sub_blocks_between_examples(most):
    pairs = trainable_pairs(some_block(), candidates_only=False)
    pieces = cut_pairs(pairs, slice(2, 9), most)  # the pairs of rows 2 to 5, the last without one of its own
    assert [piece.start for piece in pieces] == [2, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == 9
    for piece in pieces:
        rows = pairs.row[piece]
        assert len(rows) <= most or len(set(rows.tolist())) == 1
        assert piece.stop == 9 or pairs.row[piece.stop] != rows[-1]

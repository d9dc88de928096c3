"""Folds of the examples: every row is in one, and comes back to its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_multilabel_classification

from awe_core.arranged import ArrangedBlocks
from awe_core.estimator import AffinityWeightedEmbedding
from awe_core.folds import fold_of, interleaved, without_each
from awe_core.stored_affinity import StoredAffinity
from tests.awe_core.blocks import InMemory, block


@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_a_fold_is_one_of_the_seed_and_the_id(seed: int, folds: int) -> None:
    ids = np.random.default_rng(seed).permutation(10_000)[:700]
    found = fold_of(seed, ids, folds)
    assert np.bincount(found, minlength=folds).min() > 700 / folds / 2
    assert len(np.bincount(found)) == folds
    assert np.array_equal(fold_of(seed, ids[::-1], folds), found[::-1])


def source(sizes: list[int]) -> InMemory:
    """Blocks with ids that go on from one to the next, and x that is the id."""
    blocks, first = [], 0
    for size in sizes:
        ids = np.arange(first, first + size)
        blocks.append(replace(block(ids[:, None].astype(float), [[i % 3] for i in ids], 3), ids=ids))
        first += size
    return InMemory(blocks)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(2, 4))
def test_each_fold_is_left_out_once_and_the_others_keep_their_blocks_and_order(sizes: list[int], folds: int) -> None:
    whole = source(sizes)
    fold = fold_of(5, np.arange(sum(sizes)), folds)
    if len(set(fold.tolist())) == 1:
        with pytest.raises(ValueError, match=f"all rows fell into one of {folds} folds"):
            without_each(whole, 5, folds)
        return
    block_of = np.repeat(np.arange(len(sizes)), sizes)
    for left_out, others in enumerate(without_each(whole, 5, folds)):
        found = [others[index] for index in range(len(others.rows_of_block))]
        assert [len(one) for one in found] == list(others.rows_of_block)
        assert all(others.rows_of_block)
        ids = [one.ids.tolist() for one in found]
        expected = [np.flatnonzero((block_of == b) & (fold != left_out)).tolist() for b in range(len(sizes))]
        assert ids == [one for one in expected if one]
        for one in found:
            assert one.features[:, 0].tolist() == one.ids.tolist()
            assert one.labels.indices.tolist() == (one.ids % 3).tolist()


@given(st.lists(st.integers(0, 3), max_size=30))
def test_rows_of_all_folds_come_back_to_their_places(folds: list[int]) -> None:
    of_row = np.array(folds, np.int64)
    rows = sp.random(len(folds), 5, 0.5, format="csr", random_state=0, dtype=np.float32)
    found = interleaved(of_row, [rows[of_row == fold] for fold in range(4)])
    assert (found != rows).nnz == 0
    assert found.has_sorted_indices
    assert found.dtype == np.float32


def test_a_row_that_was_lost_is_seen() -> None:
    rows = sp.identity(3, format="csr")
    with pytest.raises(ValueError, match=r"the folds have \[1, 1\] rows, and should have \[1, 2\]"):
        interleaved(np.array([0, 1, 1]), [rows[:1], rows[:1]])


class Kept(AffinityWeightedEmbedding):
    """Keeps the G that it was trained with."""

    def _fitted_affinities(self, fit: ArrangedBlocks, made: StoredAffinity) -> list[sp.csr_matrix]:
        found = super()._fitted_affinities(fit, made)
        order = np.concatenate(fit.positions)
        self.on_true = on_true(sp.vstack(found, format="csr"), fit.whole.labels[order])
        return found


def on_true(G: sp.csr_matrix, labels: sp.csr_matrix) -> float:
    """Mean G of the true pairs."""
    return float(G.multiply(labels).sum() / labels.nnz)


def test_g_of_the_training_examples_promises_what_g_of_new_ones_keeps() -> None:
    X, y = make_multilabel_classification(1500, n_features=300, n_classes=40, n_labels=3, length=30, random_state=7)
    X, y = X.astype(np.float32) / 10, sp.csr_matrix(y, dtype=np.float32)
    how = {"D": 32, "epochs": 12, "patience": 12, "validation_fraction": 0.0, "n_jobs": 1}
    how |= {"learning_rate": 0.1, "n": 20, "lambda_x": 2.0}
    off, on = (Kept(folds=folds, **how).fit(X[:1000], y[:1000]) for folds in (1, 5))
    new = on_true(off.affinity(X[1000:]), y[1000:])
    assert on_true(on.affinity(X[1000:]), y[1000:]) == new
    assert off.on_true > 1.2 * new
    assert on.on_true == pytest.approx(new, rel=0.1)

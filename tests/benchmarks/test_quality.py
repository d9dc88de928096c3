"""The quality that both sides are measured by, against plain sorting."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.quality import arrays_of, best_labels, csr_of, precision, recall


@pytest.mark.parametrize(("labels", "k"), [(5, 5), (100, 1), (700, 20), (5000, 20)])
def test_the_best_labels_are_those_of_a_full_sort(labels: int, k: int) -> None:
    rng = np.random.default_rng(0)
    embedding, V = rng.standard_normal((150, 4), np.float32), rng.standard_normal((labels, 4), np.float32)
    bias = rng.standard_normal(labels).astype(np.float32)
    seen = sp.csr_matrix(rng.random((150, labels)) < (0.2 if k < labels else 0), dtype=np.float32)
    scores = embedding @ V.T + bias
    scores[seen.toarray() > 0] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = best_labels(embedding, V, bias, seen, k)
    # Products of other heights may differ in the last bit: compare what the labels score, not the labels.
    assert np.take_along_axis(scores, found, 1) == pytest.approx(np.take_along_axis(scores, expected, 1), abs=1e-4)
    assert not np.isinf(np.take_along_axis(scores, found, 1)).any()


def test_ties_go_to_the_smaller_label() -> None:
    best = best_labels(
        np.zeros((2, 3), np.float32), np.zeros((9, 3), np.float32), np.zeros(9, np.float32), sp.csr_matrix((2, 9)), 4
    )
    assert best.tolist() == [[0, 1, 2, 3]] * 2


def test_recall_and_precision_are_means_over_the_rows_with_labels() -> None:
    truth = sp.csr_matrix(np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], np.float32))
    best = np.array([[0, 2], [1, 2], [3, 0]])
    assert recall(best, truth) == (1 / 2 + 1) / 2
    assert precision(best, truth) == (1 / 2 + 1 / 2) / 2


def test_a_matrix_survives_its_arrays_with_its_zeros() -> None:
    matrix = sp.csr_matrix((np.array([0.0, 2.0], np.float32), [1, 3], [0, 1, 1, 2]), shape=(3, 5))
    found = csr_of(arrays_of(matrix, "x"), "x")
    assert (found.shape, found.nnz, found.toarray().tolist()) == ((3, 5), 2, matrix.toarray().tolist())

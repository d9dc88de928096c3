"""Made examples are what the cases say they are."""

from __future__ import annotations

import numpy as np

from benchmarks.synthetic import dense_blocks, distinct_items, many_labels, with_candidates


def test_items_are_distinct_in_a_row_and_frequent_ones_are_few() -> None:
    items = distinct_items(2000, 30, 500, np.random.default_rng(0))
    assert items.min() >= 0
    assert items.max() < 500
    assert (np.diff(items, axis=1) > 0).all()
    counts = np.sort(np.bincount(items.ravel(), minlength=500))[::-1]
    assert counts[:25].sum() > 0.3 * items.size
    assert np.count_nonzero(counts) > 450


def test_many_labels_have_items_that_are_no_labels_of_their_row() -> None:
    block = many_labels(200, 1000, 30, 3)
    assert np.diff(block.features.indptr).tolist() == [30] * 200
    assert np.diff(block.labels.indptr).tolist() == [3] * 200
    assert block.features.multiply(block.labels).nnz == 0
    assert block.features.has_sorted_indices
    assert block.labels.has_sorted_indices


def test_candidates_have_every_label_of_their_row() -> None:
    block = with_candidates(100, 200, 8, positives=3, candidates=20)
    assert block.affinity is not None
    assert np.diff(block.affinity.indptr).tolist() == [20] * 100
    assert (block.affinity.data > 0).all()
    assert block.affinity.multiply(block.labels).nnz == block.labels.nnz == 300


def test_dense_blocks_are_the_same_wherever_a_part_begins() -> None:
    whole = list(dense_blocks(0, 30, 10, 4, 3))
    later = list(dense_blocks(10, 30, 10, 4, 3))
    assert [len(block) for block in whole] == [10, 10, 10]
    assert [block.features.tobytes() for block in whole[1:]] == [block.features.tobytes() for block in later]
    assert np.concatenate([block.ids for block in whole]).tolist() == list(range(30))

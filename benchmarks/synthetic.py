"""Made examples: as many labels, candidates or rows as a case asks for, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arrangement import generator
from awe_core.examples import Block
from benchmarks.datasets import nothing_like


def distinct_items(rows: int, count: int, items: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """`count` distinct items a row, ascending, drawn about as Zipf's law has them: int32 [rows, count].

    item = ⌊items^u⌋ − 1 for u uniform in [0, 1) has a density that falls with 1 / rank; the ranks are then permuted, so
    that frequent items do not stand side by side. What is met again in a row is drawn anew.
    """
    permutation = rng.permutation(items).astype(np.int32)
    found = np.empty((rows, 0), dtype=np.int32)
    drawn = _zipf(rows, count, items, rng)
    while True:
        found = np.sort(np.concatenate([found, drawn], axis=1), axis=1)
        again = np.zeros(found.shape, dtype=bool)
        again[:, 1:] = found[:, 1:] == found[:, :-1]
        if not again.any():
            return np.sort(permutation[found], axis=1)
        found[again] = _zipf(1, int(np.count_nonzero(again)), items, rng)[0]
        drawn = np.empty((rows, 0), dtype=np.int32)


def _zipf(rows: int, count: int, items: int, rng: np.random.Generator) -> NDArray[np.int32]:
    return (items ** rng.random((rows, count))).astype(np.int32) - 1


def lists_of(entries: NDArray[np.int32], columns: int) -> sp.csr_matrix:
    """CSR of ones from as many ascending entries in every row."""
    rows, count = entries.shape
    indptr = np.arange(rows + 1, dtype=np.int32) * count
    return sp.csr_matrix((np.ones(entries.size, np.float32), entries.ravel(), indptr), shape=(rows, columns))


def many_labels(rows: int, labels: int, items: int, positives: int) -> Block:
    """x: `items` of as many features as there are labels; `positives` labels a row.

    The first labels of a row are items of a drawn list that x lacks: U and V are both [labels, D].
    """
    rng = generator(0, "benchmark/many-labels", labels)
    drawn = distinct_items(rows, items + positives, labels, rng)
    # One shuffle for all rows says which places of the ascending list are labels.
    places = rng.permutation(items + positives)
    x, y = (np.sort(drawn[:, chosen], axis=1) for chosen in (places[positives:], places[:positives]))
    features = lists_of(x, labels)
    features.data /= np.float32(np.sqrt(items))
    truth = lists_of(y, labels)
    return Block(np.arange(rows, dtype=np.int64), features, truth, nothing_like(truth), np.ones(rows, dtype=np.float32))


def with_candidates(rows: int, labels: int, dimension: int, positives: int, candidates: int) -> Block:
    """Dense x, `positives` labels a row, and an affinity of `candidates` labels that has all of them."""
    rng = generator(0, "benchmark/candidates", labels)
    listed = distinct_items(rows, candidates, labels, rng)
    truth = lists_of(np.sort(rng.permuted(listed, axis=1)[:, :positives], axis=1), labels)
    affinity = lists_of(listed, labels)
    affinity.data[:] = 0.5 + rng.random(affinity.nnz, dtype=np.float32)
    features = rng.standard_normal((rows, dimension), dtype=np.float32) / np.float32(np.sqrt(dimension))
    return Block(
        np.arange(rows, dtype=np.int64), features, truth, nothing_like(truth), np.ones(rows, np.float32), affinity
    )


def without_affinity(block: Block) -> Block:
    """The same examples as the linear stage sees them."""
    return replace(block, affinity=None)


def dense_blocks(first: int, stop: int, block_rows: int, dimension: int, labels: int) -> Iterator[Block]:
    """Blocks of the rows `first` … `stop` − 1, with dense x and one label a row that x can tell."""
    centres = generator(0, "benchmark/centres").standard_normal((labels, dimension), dtype=np.float32)
    scale = np.float32(dimension**-0.5)
    for start in range(first, stop, block_rows):
        rng = generator(0, "benchmark/dense", start)
        count = min(block_rows, stop - start)
        y = rng.integers(0, labels, (count, 1)).astype(np.int32)
        x = (centres[y[:, 0]] / 2 + rng.standard_normal((count, dimension), dtype=np.float32)) * scale
        truth = lists_of(y, labels)
        ids = np.arange(start, start + count, dtype=np.int64)
        yield Block(ids, x, truth, nothing_like(truth), np.ones(count, dtype=np.float32))

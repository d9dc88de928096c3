"""The pairs (x, y) of a block, in the order of the epoch, cut into minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Block, Features
from awe_core.rows import entry_positions, row_of_entry, union


@dataclass(frozen=True)
class Minibatch:
    """Pairs that share one step, and the examples they belong to.

    Attributes
    ----------
    features : x, float32 [rows, d], dense or CSR.
    weight : float32 [rows].
    excluded : CSR [rows, Y], the labels that are no negatives: true or seen.
    affinity : CSR [rows, Y] of G, or None.
    pair_row, pair_label : intp [pairs], the row of x and the label y of every pair, rows ascending.
    """

    features: Features
    weight: NDArray[np.float32]
    excluded: sp.csr_matrix
    affinity: sp.csr_matrix | None
    pair_row: NDArray[np.intp]
    pair_label: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.weight)


@dataclass(frozen=True)
class Pairs:
    """The pairs of a block that can be trained on.

    Attributes
    ----------
    row, label : intp [pairs], rows ascending.
    uncovered : number of pairs left out because their label is no candidate.
    """

    row: NDArray[np.intp]
    label: NDArray[np.intp]
    uncovered: int


def trainable_pairs(block: Block, order: NDArray[np.intp], candidates_only: bool) -> Pairs:
    """The pairs of the rows `order`, numbered by their place in it.

    A pair whose label is no candidate could not lift y and would still push the candidates down, so where only
    candidates have a gate it is left out.
    """
    labels = block.labels[order]
    row, label = row_of_entry(labels), labels.indices.astype(np.intp)
    if not candidates_only:
        return Pairs(row, label, 0)
    assert block.affinity is not None
    covered = entry_positions(block.affinity, order[row], label) >= 0
    return Pairs(row[covered], label[covered], int(np.count_nonzero(~covered)))


def minibatches(
    block: Block, order: NDArray[np.intp], pairs: Pairs, batch: int, leave_one_out: bool = False
) -> Iterator[Minibatch]:
    """Cut a block into minibatches of at most `batch` pairs, but never fewer than one example's.

    Parameters
    ----------
    block : the examples.
    order : the rows in the order of the visit, intp [rows].
    pairs : their pairs, from `trainable_pairs`. Rows without any are passed over.
    batch : number of pairs.
    leave_one_out : x is a list of labels (feature j stands for label j); every pair gets a row of its own whose x
        lacks the pair's label.
    """
    of_row = np.bincount(pairs.row, minlength=len(order))
    used = np.flatnonzero(of_row)
    rows, ends = order[used], np.cumsum(of_row[used])
    place = np.cumsum(of_row > 0) - 1
    start = 0
    while start < len(rows):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + batch, side="right")))
        these = slice(done, int(ends[stop - 1]))
        pair_row, pair_label = place[pairs.row[these]] - start, pairs.label[these]
        chosen = rows[start:stop]
        yield (_without_own_label if leave_one_out else _minibatch)(block, chosen, pair_row, pair_label)
        start = stop


def _minibatch(
    block: Block, rows: NDArray[np.intp], pair_row: NDArray[np.intp], pair_label: NDArray[np.intp]
) -> Minibatch:
    return Minibatch(
        features=block.features[rows],
        weight=block.weight[rows],
        excluded=union(block.labels[rows], block.seen[rows]),
        affinity=None if block.affinity is None else block.affinity[rows],
        pair_row=pair_row,
        pair_label=pair_label,
    )


def _without_own_label(
    block: Block, rows: NDArray[np.intp], pair_row: NDArray[np.intp], pair_label: NDArray[np.intp]
) -> Minibatch:
    """A row for each pair, with x without the feature of the pair's own label."""
    whole = _minibatch(block, rows[pair_row], np.arange(len(pair_row)), pair_label)
    x = whole.features
    if not isinstance(x, sp.csr_matrix):
        raise ValueError("leaving a positive out of x needs sparse features, one for each label")
    kept = x.indices != pair_label[row_of_entry(x)]
    ends = np.concatenate(([0], np.cumsum(kept)))[x.indptr]
    features = sp.csr_matrix((x.data[kept], x.indices[kept], ends), shape=x.shape)
    return Minibatch(features, whole.weight, whole.excluded, whole.affinity, whole.pair_row, whole.pair_label)

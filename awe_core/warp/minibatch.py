"""The pairs (x, y) of a block in the order of the epoch, cut into steps, and those into sub-blocks for the threads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arranged import take
from awe_core.examples import Block, Features
from awe_core.kernels.feature_rows import FeatureRows, LeftOut, OneEntry, one_entry
from awe_core.rows import ByColumn, entry_positions, row_of_entry, stable_order, union

_SPARSE_ONLY = "leaving a positive out of x needs sparse features, one for each label"
_LEAST_PAIRS = 256
_MOST_SUB_BLOCKS = 4


@dataclass(frozen=True)
class Minibatch:
    """The pairs of a sub-block, all evaluated at the same parameters, and the examples they belong to.

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
    """Pairs of a block that can be trained on.

    Attributes
    ----------
    row, label : intp [pairs]; row is the example's place in the order of the visit.
    uncovered : number of pairs left out because their label is no candidate.
    grouped : rows ascend, so that an example's pairs stand together and share one row of scores. Otherwise they are
        scattered over the block: an example's embedding then moves between its pairs.
    """

    row: NDArray[np.intp]
    label: NDArray[np.intp]
    uncovered: int
    grouped: bool = True

    def __len__(self) -> int:
        return len(self.row)

    def scattered(self, rng: np.random.Generator) -> Pairs:
        """The same pairs in a random order."""
        order = rng.permutation(len(self.row))
        return Pairs(self.row[order], self.label[order], self.uncovered, grouped=False)


def trainable_pairs(block: Block, candidates_only: bool) -> Pairs:
    """The pairs of a block, grouped by example.

    A pair whose label is no candidate could not lift y and would still push the candidates down, so where only
    candidates have a gate it is left out.
    """
    row, label = row_of_entry(block.labels), block.labels.indices.astype(np.intp)
    if not candidates_only:
        return Pairs(row, label, 0)
    assert block.affinity is not None
    covered = entry_positions(block.affinity, row, label) >= 0
    return Pairs(row[covered], label[covered], int(np.count_nonzero(~covered)))


def cut_pairs(pairs: Pairs, within: slice, most: int) -> list[slice]:
    """Cut a run of pairs into runs of at most `most`, but where they are grouped never within an example.

    Parameters
    ----------
    pairs : in the order of the visit.
    within : the run; its ends lie between examples where the pairs are grouped.
    most : pairs of a run; a single example may have more.
    """
    if not pairs.grouped:
        return [slice(at, min(at + most, within.stop)) for at in range(within.start, within.stop, most)]
    row = pairs.row[within]
    ends = np.append(np.flatnonzero(np.diff(row)) + 1, len(row)) + within.start if len(row) else row
    found, start = [], within.start
    while start < within.stop:
        last = int(np.searchsorted(ends, start + most, side="right")) - 1
        stop = int(ends[last]) if last >= 0 and ends[last] > start else int(ends[last + 1])
        found.append(slice(start, stop))
        start = stop
    return found


def sub_block_pairs(batch: int) -> int:
    """Pairs of a sub-block: a quarter of the step's, but not so few that the calls cost more than the work."""
    return max(_LEAST_PAIRS, -(-batch // _MOST_SUB_BLOCKS))


class Visit:
    """A block as an epoch walks it, its rows in the order of the visit, and what all of its steps share.

    Parameters
    ----------
    block : the examples; the visit's own `block` has them in the order of the visit, without x.
    order : the rows in the order of the visit, intp [rows].
    candidates_only : see `trainable_pairs`.
    leave_one_out : x is a list of labels (feature j stands for label j); every pair gets a row of its own whose x
        lacks the pair's label.
    """

    def __init__(
        self,
        block: Block,
        order: NDArray[np.intp],
        candidates_only: bool = False,
        leave_one_out: bool = False,
    ) -> None:
        # x stays in the order of the block: the threads gather their own rows, and the block is not copied before.
        self._x, self._order = block.features, order
        self.block = take(replace(block, features=np.empty((len(block), 0), np.float32)), order)
        self.pairs = trainable_pairs(self.block, candidates_only)
        self._leave_one_out = leave_one_out

    def scatter(self, rng: np.random.Generator) -> None:
        """Visit the pairs in a random order instead of example by example."""
        self.pairs = self.pairs.scattered(rng)

    @cached_property
    def excluded(self) -> sp.csr_matrix:
        """CSR [rows of the block, Y], int8: the labels that are no negatives."""
        if not self.block.seen.nnz:
            return self.block.labels
        return union(self.block.labels, self.block.seen)

    @cached_property
    def excluded_by_label(self) -> ByColumn:
        """`excluded`, looked up by label."""
        return ByColumn.of(self.excluded)

    @cached_property
    def excluded_of_row(self) -> NDArray[np.int64]:
        """How many labels of every row are no negatives."""
        return np.asarray(np.diff(self.excluded.indptr), dtype=np.int64)

    @property
    def one_feature_a_row(self) -> bool:
        """Whether every example has one feature, as a one-hot user has."""
        return self._one_entry is not None

    @cached_property
    def _one_entry(self) -> OneEntry | None:
        return None if self._leave_one_out else one_entry(self._x)

    @cached_property
    def affinity_by_label(self) -> ByColumn:
        """The candidates, looked up by label."""
        return ByColumn.of(self.block.affinity)

    def steps(self, batch: int) -> list[slice]:
        """The runs of pairs of the block's steps: at most `batch` pairs each, but never fewer than one example's."""
        return cut_pairs(self.pairs, slice(0, len(self.pairs)), batch)

    def rows_and_pairs(self, these: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Rows of the visit that a run of pairs needs, ascending, and its pairs by (place among them, label)."""
        if not self._leave_one_out:
            return self.examples_and_pairs(these)
        row, label = self._by_row(these)
        return row, np.arange(len(row)), label

    def examples_and_pairs(self, these: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """The same with distinct rows, where the pairs of a history share one too."""
        row, label = self._by_row(these)
        first = np.ones(len(row), dtype=np.bool_)
        np.not_equal(row[1:], row[:-1], out=first[1:])
        return row[first], np.cumsum(first) - 1, label

    def _by_row(self, these: slice) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        row, label = self.pairs.row[these], self.pairs.label[these]
        if self.pairs.grouped:
            return row, label
        row, by_row = stable_order(row, len(self.block))
        return row, label[by_row]

    def features(self, rows: NDArray[np.intp], pair_label: NDArray[np.intp]) -> Features:
        """x of rows from `rows_and_pairs`; of a history without the pair's own label."""
        x = self._x[self._order[rows]]
        return _without_own_label(x, pair_label) if self._leave_one_out else x

    def examples_without(
        self, rows: NDArray[np.intp], pair_row: NDArray[np.intp], pair_label: NDArray[np.intp]
    ) -> tuple[Features, NDArray[np.intp]]:
        """x of rows from `examples_and_pairs`, and where in it stands what every pair leaves out: intp [pairs].

        −1 where that is nothing.
        """
        x = self._x[self._order[rows]]
        if not self._leave_one_out:
            return x, np.full(len(pair_row), -1, dtype=np.intp)
        if not isinstance(x, sp.csr_matrix):
            raise ValueError(_SPARSE_ONLY)
        return x, entry_positions(x, pair_row, pair_label)

    def feature_rows(self, rows: NDArray[np.intp], pair_label: NDArray[np.intp]) -> FeatureRows:
        """The same, as one feature a row where that is all, and of histories as each of them and what it leaves out."""
        if self._leave_one_out:
            examples, pair_row = np.unique(rows, return_inverse=True)
            x, entry = self.examples_without(examples, pair_row, pair_label)
            value = np.append(x.data, x.dtype.type(0))[entry]  # −1 is the 0 behind all
            return LeftOut(x, pair_row, pair_label, value)
        single = self._one_entry
        if single is None:
            return self.features(rows, pair_label)
        at = self._order[rows]
        return OneEntry(single.indices[at], single.values[at])

    def minibatch(self, these: slice) -> Minibatch:
        """Gather a run of pairs."""
        rows, pair_row, pair_label = self.rows_and_pairs(these)
        affinity = self.block.affinity
        return Minibatch(
            features=self.features(rows, pair_label),
            weight=self.block.weight[rows],
            excluded=_rows(self.excluded, rows),
            affinity=None if affinity is None else _rows(affinity, rows),
            pair_row=pair_row,
            pair_label=pair_label,
        )


def _rows(matrix: Features, rows: NDArray[np.intp]) -> Features:
    """Some ascending rows of a matrix; a run of them as a slice, which for a dense one is no copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return matrix[rows[0] : rows[-1] + 1]
    return matrix[rows]


def _without_own_label(x: Features, pair_label: NDArray[np.intp]) -> sp.csr_matrix:
    """x with a row for each pair, without the feature of the pair's own label."""
    if not isinstance(x, sp.csr_matrix):
        raise ValueError(_SPARSE_ONLY)
    kept = x.indices != pair_label[row_of_entry(x)]
    ends = np.concatenate(([0], np.cumsum(kept)))[x.indptr]
    return sp.csr_matrix((x.data[kept], x.indices[kept], ends), shape=x.shape)

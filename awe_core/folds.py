"""Folds of the training examples: an example is embedded by a model that was not fitted to its labels.

U brings the training examples that share labels together, and new examples less so. G of a training example made in
that space promises more than G of a new one keeps. So the examples are dealt to F folds by hash; for every fold a model
is trained on the others, and a row of the fold has its neighbours among the others in that model's space. There it is
as new as a test row is in the space of the model that was trained on all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arranged import take
from awe_core.arrangement import hash_ids
from awe_core.examples import Block, BlockSource


def fold_of(seed: int, ids: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The fold of every row, from 0: int64, as `ids`."""
    return (hash_ids(seed, "fold", ids) % np.uint64(folds)).astype(np.int64)


class OtherFolds:
    """`awe_core.examples.BlockSource` of a source's rows that are not of one fold, in its blocks.

    Parameters
    ----------
    source : all rows.
    kept : positions of the rows by block of the source.
    """

    def __init__(self, source: BlockSource, kept: Sequence[NDArray[np.intp]]) -> None:
        self._source = source
        self._kept = [(block, rows) for block, rows in enumerate(kept) if len(rows)]

    @property
    def rows_of_block(self) -> Sequence[int]:
        return [len(rows) for _, rows in self._kept]

    def __getitem__(self, index: int) -> Block:
        block, rows = self._kept[index]
        return take(self._source[block], rows)


def without_each(source: BlockSource, seed: int, folds: int) -> list[OtherFolds]:
    """What the model of every fold is trained on. Reads the source once. Raises ValueError where that is nothing."""
    fold_of_row = [fold_of(seed, source[block].ids, folds) for block in range(len(source.rows_of_block))]
    if len(np.unique(np.concatenate([np.zeros(0, np.int64), *fold_of_row]))) < 2:
        raise ValueError(f"all rows fell into one of {folds} folds: give more of them, or leave out affinity.folds")
    return [OtherFolds(source, [np.flatnonzero(rows != fold) for rows in fold_of_row]) for fold in range(folds)]


def interleaved(folds: NDArray[np.int64], of_folds: Sequence[sp.csr_matrix]) -> sp.csr_matrix:
    """The rows of all folds in their common order.

    Parameters
    ----------
    folds : int64 [rows], of every row.
    of_folds : by fold, CSR [rows of the fold, Y] in that order.

    Raises ValueError where a fold does not have as many rows as it should.
    """
    lengths = [one.shape[0] for one in of_folds]
    expected = np.bincount(folds, minlength=len(lengths)).tolist()
    if lengths != expected:
        raise ValueError(f"the folds have {lengths} rows, and should have {expected}")
    place = np.argsort(np.argsort(folds, kind="stable"))
    return sp.csr_matrix(sp.vstack(of_folds, format="csr")[place])

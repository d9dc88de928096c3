"""What an affinity made of neighbours needs beside them: the unit of λx, the labels of the base, the radius.

The kinds themselves are the modules that `awe_core.affinities.stored` lists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arrangement import hash_ids
from awe_core.rows import ranges

SAMPLE_ROWS = 10_000
"""Rows of train whose neighbours' distances give the unit of λx."""


@dataclass(frozen=True)
class LabelsById:
    """Labels of the base's examples, to be looked up by id. The arrays may be memory-mapped files.

    Attributes
    ----------
    ids : int64 [rows], increasing.
    indptr, indices : the labels of row i are indices[indptr[i]:indptr[i + 1]], sorted.
    labels : Y.
    """

    ids: NDArray[np.int64]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    labels: int

    @classmethod
    def of(cls, ids: NDArray[np.int64], labels: sp.csr_matrix) -> LabelsById:
        """From rows in any order. Raises ValueError where an id stands twice."""
        order = np.argsort(ids, kind="stable")
        if (np.diff(ids[order]) == 0).any():
            raise ValueError("an id stands twice in the base of the join")
        rows = labels[order]
        return cls(ids[order], rows.indptr.astype(np.int64), rows.indices.astype(np.int32), labels.shape[1])

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Position of every id. Raises KeyError where one is not there."""
        rows, present = self._found(ids)
        if not present.all():
            raise KeyError(f"id {ids[~present][0]} is a neighbour but not a row of the base")
        return rows

    def of_rows(self, ids: NDArray[np.int64]) -> sp.csr_matrix:
        """The labels of every id: int8 CSR [ids, Y] of ones; none where it is not there."""
        rows, present = self._found(ids)
        lengths = np.zeros(len(ids), dtype=np.int64)
        lengths[present] = self.indptr[rows[present] + 1] - self.indptr[rows[present]]
        labels = self.indices[ranges(self.indptr[rows[present]], lengths[present])]
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        return sp.csr_matrix((np.ones(len(labels), np.int8), labels, indptr), shape=(len(ids), self.labels))

    def _found(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        rows = np.searchsorted(self.ids, ids)
        present = rows < len(self.ids)
        present[present] = self.ids[rows[present]] == ids[present]
        return rows, present


def smallest_hashes(seed: int, ids: NDArray[np.int64], rows: int = SAMPLE_ROWS) -> NDArray[np.intp]:
    """Positions of the at most `rows` rows with the smallest hash(seed, id), smallest first: the sample for m."""
    return np.lexsort((ids, hash_ids(seed, "sample", ids)))[:rows]


def median_distance(distances: NDArray[np.float64]) -> float:
    """m: the median of the squared distances to the neighbours of the sample, the unit of λx.

    Parameters
    ----------
    distances : float64 [rows, n]; infinite where there is no neighbour, and then not counted.

    Raises
    ------
    ValueError : there is no neighbour at all, or m = 0 (most examples are duplicates of each other in the embedding).
    """
    found = distances[np.isfinite(distances)]
    if not len(found):
        raise ValueError("no training example has a neighbour, so λx has no unit; at least two examples are needed")
    m = float(np.median(found))
    if m <= 0.0:
        raise ValueError(
            "the median squared distance to a neighbour is 0, so λx has no unit: most examples have the same "
            "embedding; raise affinity.n or train.D, or remove duplicates"
        )
    return m


def radius(epsilon: float, n: int, lambda_x: float) -> float:
    """The squared distance beyond which no neighbour matters: n of them together add less than ε to any G.

    exp(−λx d²) < ε / n  ⇔  d² > ln(n / ε) / λx; infinite for ε = 0. A trifle more, so that rounding leaves nobody out
    who counts.
    """
    return (1 + 1e-9) * float(np.log(n / epsilon)) / lambda_x if epsilon else float("inf")

"""The stored features of some rows of x, as affinities that are learnt jointly read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Features
from awe_core.kernels.feature_rows import RowGradient
from awe_core.rows import distinct, ranges

Floats = NDArray[np.floating]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class FeatureRuns:
    """The stored features of some rows of x, one run a row.

    Attributes
    ----------
    starts : intp [rows + 1], where each row's run begins.
    feature : intp [entries].
    value : xᵢ, float [entries].
    dimension : d.
    """

    starts: Index
    feature: Index
    value: Floats
    dimension: int

    @classmethod
    def of(cls, x: Features) -> FeatureRuns:
        """From features [rows, d], dense or CSR."""
        stored = sp.csr_matrix(x)
        return cls(stored.indptr.astype(np.intp), stored.indices.astype(np.intp), stored.data, stored.shape[1])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def row(self) -> Index:
        """The row of every entry: intp [entries]."""
        return np.repeat(np.arange(len(self), dtype=np.intp), np.diff(self.starts))

    @property
    def touched(self) -> Index:
        """The features that occur, ascending: intp [touched]."""
        return self._distinct[0]

    @property
    def place(self) -> Index:
        """Where among them every entry's feature stands: intp [entries]."""
        return self._distinct[1]

    @cached_property
    def _distinct(self) -> tuple[Index, Index]:
        return distinct(self.feature, self.dimension)

    def take(self, rows: Index) -> FeatureRuns:
        """Some rows, in the order given; one may stand there several times."""
        lengths = np.diff(self.starts)[rows]
        entry = ranges(self.starts[rows], lengths)
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.intp)
        return FeatureRuns(starts, self.feature[entry], self.value[entry], self.dimension)

    def sums(self, values: Floats) -> Floats:
        """Σ over every row's entries: [entries, n] → [rows, n]."""
        ones = np.ones(len(values), dtype=values.dtype)
        selector = sp.csr_matrix((ones, np.arange(len(values)), self.starts), (len(self), len(values)))
        return np.asarray(selector @ values)

    def sums_by_feature(self, values: Floats) -> Floats:
        """Σ over the entries of every feature that occurs: [entries, n] → [touched, n]."""
        ones, shape = np.ones(len(values), dtype=values.dtype), (len(self.touched), len(values))
        return np.asarray(sp.csr_matrix((ones, (self.place, np.arange(len(values)))), shape) @ values)

    @cached_property
    def narrow(self) -> sp.csr_matrix:
        """x on the features that occur: CSR [rows, touched]."""
        return sp.csr_matrix((self.value, self.place, self.starts), (len(self), len(self.touched)))

    def through(self, by_embedding: Floats) -> RowGradient:
        """Gradient of U from that of Ux [rows, D]."""
        return RowGradient(self.touched, np.asarray(self.narrow.T @ by_embedding))

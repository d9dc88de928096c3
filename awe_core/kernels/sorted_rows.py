"""Gradients of the rows that a step touched, sorted by row: what optimisers and kernels move a parameter by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.rows import stable_order


@dataclass(frozen=True)
class SortedRows:
    """Gradients of rows, each a run of entries to be added up in their order.

    Attributes
    ----------
    rows : the rows touched, distinct and ascending, intp [touched].
    starts : intp [touched + 1]; row r's entries are order[starts[r]:starts[r + 1]].
    order : the entries by row, and within a row as they came, intp [entries].
    values : float32 [entries, D].
    """

    rows: NDArray[np.intp]
    starts: NDArray[np.intp]
    order: NDArray[np.intp]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, rows: Sequence[NDArray[np.intp]], values: Sequence[NDArray[np.float32]], below: int) -> SortedRows:
        """Sort the entries of several gradients by row, of a parameter of `below` rows."""
        row = np.concatenate(rows)
        ascending, order = stable_order(row, below)
        first = np.ones(len(row), dtype=np.bool_)
        np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
        starts = np.append(np.flatnonzero(first), len(row))
        joined = values[0] if len(values) == 1 else np.concatenate(values)
        return cls(ascending[first], starts, order, np.ascontiguousarray(joined))

    def sums(self, these: slice) -> NDArray[np.float32]:
        """The gradient of some of the touched rows: float32 [these, D]."""
        starts = self.starts[these.start : these.stop + 1]
        entries = self.order[starts[0] : starts[-1]]
        ones = np.ones(len(entries), dtype=self.values.dtype)
        shape = (len(starts) - 1, len(self.values))
        return np.asarray(sp.csr_matrix((ones, entries, starts - starts[0]), shape=shape) @ self.values)

"""What may still be a neighbour: the scores of a tile against the thresholds of its rows and columns.

The n-th largest *lower* bound that a row has met is its threshold: n others are at least as near as that. Whatever has
an upper bound below it is dropped; the rest waits in the row's pool. When a pool is full, the threshold is raised to
what the pool knows, and the pool keeps what still reaches it. If that is nearly all of it, the product cannot tell the
row's neighbours apart: the row is *given up* here and searched in float64 (`settle`). None of this changes an answer,
only what has to be compared in float64.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
Index = NDArray[np.int64]

LOWEST = {4: -1e30, 8: -1e300}
"""Threshold of a row that has met nobody, by the bytes of the scores' type: finite, and below every score."""

_COMPACTED_ROWS = 4096
"""Pools compacted at a time."""


class Pools:
    """The pools of all rows of one side: columns and the upper bounds of their scores, filled from the left.

    Memory of a row: 8 · (3n + 32) bytes of pool with float32 scores, and 25 more.

    Parameters
    ----------
    n : how many neighbours.
    slope, own : float [rows]; error : float [columns]. A lower bound is  score − slope[row] · error[column] − own[row].
    threshold : of the same type [rows]; scores below are of no use. None knows nothing.

    Attributes
    ----------
    scores, columns : [rows, width].
    filled : int64 [rows].
    given_up : bool [rows]; their thresholds are infinite and their pools empty.
    """

    def __init__(self, n: int, slope: Floats, own: Floats, error: Floats, threshold: Floats | None = None) -> None:
        rows, dtype = len(slope), slope.dtype
        self.n, self.slope, self.own, self.error = n, slope, own, error
        self.width = 3 * n + 32
        self.scores = np.empty((rows, self.width), dtype)
        self.columns = np.empty((rows, self.width), np.int32)
        self.filled = np.zeros(rows, np.int64)
        self.full = np.full(rows, 2 * n, np.int64)
        self.threshold = np.full(rows, LOWEST[dtype.itemsize], dtype)
        if threshold is not None:
            np.maximum(self.threshold, threshold, out=self.threshold)
        self.given_up = np.zeros(rows, bool)

    def __len__(self) -> int:
        return len(self.filled)

    def start_from(self, first_row: int, columns: slice, scores: Floats) -> None:
        """Raise the thresholds of some rows to what their scores with some columns say. No pool is touched."""
        if scores.shape[1] < self.n:
            return
        rows = slice(first_row, first_row + len(scores))
        lower = scores - self.slope[rows, None] * self.error[columns]
        lower.partition(scores.shape[1] - self.n, axis=1)
        raised = lower[:, scores.shape[1] - self.n] - self.own[rows]
        np.maximum(self.threshold[rows], raised, out=self.threshold[rows])

    def append(self, rows: Index, columns: Index, scores: Floats) -> None:
        """Put hits into the pools; the rows ascend."""
        while len(rows):
            new = np.ones(len(rows) + 1, bool)
            np.not_equal(rows[1:], rows[:-1], out=new[1:-1])
            ends = np.flatnonzero(new)
            first, length = ends[:-1], ends[1:] - ends[:-1]
            some = rows[first]
            filled = self.filled[some]
            place = np.arange(len(rows)) + np.repeat(filled - first, length)
            np.minimum(filled + length, self.width, out=filled)
            self.filled[some] = filled
            if filled.max() < self.width:
                spots = rows * self.width + place
                self.scores.reshape(-1)[spots], self.columns.reshape(-1)[spots] = scores, columns
                return
            into = place < self.width
            spots = rows[into] * self.width + place[into]
            self.scores.reshape(-1)[spots], self.columns.reshape(-1)[spots] = scores[into], columns[into]
            # Those nearly full are compacted too, or they would come one at a time.
            self.compact(some[self.filled[some] > (self.width + self.n) // 2])
            rows, columns, scores = rows[~into], columns[~into], scores[~into]
            still = scores >= self.threshold[rows]
            rows, columns, scores = rows[still], columns[still], scores[still]

    def compact(self, rows: Index) -> None:
        """Raise the thresholds of these rows to what their pools know, and keep what still reaches them."""
        for start in range(0, len(rows), _COMPACTED_ROWS):
            self._compact(rows[start : start + _COMPACTED_ROWS])

    def _compact(self, rows: Index) -> None:
        width = int(self.filled[rows].max(initial=0))
        if width < self.n:
            return
        scores, columns = self.scores[rows, :width], self.columns[rows, :width]
        present = np.arange(width) < self.filled[rows, None]
        columns[~present] = 0
        scores[~present] = -np.inf
        lower = scores - self.slope[rows, None] * self.error[columns]
        lower.partition(width - self.n, axis=1)
        threshold = np.maximum(self.threshold[rows], lower[:, width - self.n] - self.own[rows])
        kept = present & (scores >= threshold[:, None])
        order = np.argsort(~kept, axis=1, kind="stable")
        self.scores[rows, :width] = np.take_along_axis(scores, order, axis=1)
        self.columns[rows, :width] = np.take_along_axis(columns, order, axis=1)
        self.threshold[rows] = threshold
        self.filled[rows] = np.count_nonzero(kept, axis=1)
        hopeless = rows[self.filled[rows] > self.width - self.n]
        if len(hopeless):
            self.give_up(hopeless)

    def give_up(self, rows: Index) -> None:
        """The pools of these rows are too small for what the product cannot tell apart."""
        self.given_up[rows] = True
        self.threshold[rows] = np.inf
        self.filled[rows] = 0

    def finish(self) -> None:
        """Leave in every pool what reaches the last threshold."""
        self.compact(np.flatnonzero(self.filled > self.n))


Hits = tuple[NDArray[Any], NDArray[Any], Floats]
"""(place of the one, place of the other, score) of every pair that reaches the threshold of the one: integers and
floats."""


class Selection(Protocol):
    """Takes the scores of a tile, C-contiguous [rows, columns], into pools. One belongs to one thread."""

    def rows(self, pools: Pools, scores: Floats, first_row: int, first_column: int) -> None:
        """Whatever reaches its row's threshold goes into the row's pool."""

    def both(self, by_row: Pools, by_column: Pools, scores: Floats, first_row: int, first_column: int) -> None:
        """The same for rows, and for columns with theirs."""

    def reached(
        self, scores: Floats, of_rows: Floats, of_columns: Floats, hidden: NDArray[np.bool_], kinds: Index
    ) -> tuple[Hits, Hits]:
        """What reaches the thresholds of rows, by row, and those of columns, from a column's side; no pool is touched.

        Parameters
        ----------
        of_rows, of_columns : float [rows] and [columns], the thresholds.
        hidden : bool [columns, kinds]; of which kinds of rows a column does not want to hear.
        kinds : [rows].
        """

    def push(self, pools: Pools, hits: Hits) -> None:
        """Put what was reached into the pools of the ones; of rows, or of columns, as `reached` gave them."""


class NumpySelection:
    """One comparison a side and score; what reaches neither threshold, nearly all, costs no more."""

    def __init__(self) -> None:
        self._buffers = (np.empty(0, bool), np.empty(0, bool))

    def rows(self, pools: Pools, scores: Floats, first_row: int, first_column: int) -> None:
        least = pools.threshold[first_row : first_row + len(scores)]
        hit, _ = self._scratch(scores.shape)
        np.greater_equal(scores, least[:, None], out=hit)
        row, column, score = _where(hit, scores)
        if len(row):
            pools.append(row + first_row, column + first_column, score)

    def both(self, by_row: Pools, by_column: Pools, scores: Floats, first_row: int, first_column: int) -> None:
        of_rows = by_row.threshold[first_row : first_row + scores.shape[0]]
        of_columns = by_column.threshold[first_column : first_column + scores.shape[1]]
        row, column, score = self._either(scores, of_rows, of_columns)
        if not len(row):
            return
        ours, theirs = np.flatnonzero(score >= of_rows[row]), np.flatnonzero(score >= of_columns[column])
        theirs = _by_column(theirs, column)
        by_row.append(row[ours] + first_row, column[ours] + first_column, score[ours])
        by_column.append(column[theirs] + first_column, row[theirs] + first_row, score[theirs])

    def reached(
        self, scores: Floats, of_rows: Floats, of_columns: Floats, hidden: NDArray[np.bool_], kinds: Index
    ) -> tuple[Hits, Hits]:
        row, column, score = self._either(scores, of_rows, of_columns)
        ours = np.flatnonzero(score >= of_rows[row])
        theirs = np.flatnonzero((score >= of_columns[column]) & ~hidden[column, kinds[row]])
        theirs = _by_column(theirs, column)
        return (row[ours], column[ours], score[ours]), (column[theirs], row[theirs], score[theirs])

    def push(self, pools: Pools, hits: Hits) -> None:
        pools.append(*hits)

    def _either(self, scores: Floats, of_rows: Floats, of_columns: Floats) -> tuple[Index, Index, Floats]:
        """What reaches the threshold of its row or that of its column; the rows ascend."""
        hit, other = self._scratch(scores.shape)
        np.greater_equal(scores, of_rows[:, None], out=hit)
        np.greater_equal(scores, of_columns, out=other)
        np.logical_or(hit, other, out=hit)
        return _where(hit, scores)

    def _scratch(self, shape: tuple[int, ...]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        size = shape[0] * shape[1]
        if len(self._buffers[0]) < size:
            self._buffers = (np.empty(size, bool), np.empty(size, bool))
        return self._buffers[0][:size].reshape(shape), self._buffers[1][:size].reshape(shape)


def _by_column(hits: Index, column: Index) -> Index:
    """Some hits in the order of their columns, and of their rows in it."""
    # A tile has fewer than 2^16 columns, and of such small integers numpy sorts the digits.
    return hits[np.argsort(column[hits].astype(np.uint16), kind="stable")]


def _where(hit: NDArray[np.bool_], scores: Floats) -> tuple[Index, Index, Floats]:
    """(row, column, score) of the hits; the rows ascend. They are few, so eight are looked at as one word."""
    flat, width = hit.reshape(-1), hit.shape[1]
    if len(flat) % 8:
        places = np.flatnonzero(flat)
    else:
        words = np.flatnonzero(flat.view(np.uint64) != 0)
        found = np.flatnonzero(flat.reshape(-1, 8)[words])
        places = 8 * words[found >> 3] + (found & 7)
    row = places // width
    return row, places - row * width, scores.reshape(-1)[places]

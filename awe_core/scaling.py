"""Scaling of x: to length 1 row by row; to mean 0 and variance 1 column by column, as fitted on train; or tf-idf.

What was scaled may go on to the space of a kernel (`awe_core.landmarks`). Beside it a constant may stand: Ux + b is as
linear as Ux, and a label can be popular everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Features
from awe_core.landmarks import Landmarks

Scale = Literal["none", "unit", "sum", "standard", "tf-idf"]
Columns = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Of each column of x: what is taken away (not from sparse x), and what it is then divided by; float64 [d] each."""

FITTED: tuple[Scale, ...] = ("standard", "tf-idf")
"""Scalings that have to see train."""
LENGTHS: dict[Scale, int] = {"unit": 2, "sum": 1, "tf-idf": 2}
"""p of the ‖x‖ₚ that becomes 1."""


@dataclass(frozen=True)
class Moments:
    """What is known of the columns of some rows.

    Attributes
    ----------
    rows : number of rows.
    mean : float64 [d].
    squares : float64 [d], Σ (x − mean)².
    present : int64 [d], rows whose x is not 0.
    """

    rows: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    present: NDArray[np.int64]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """√(squares / rows), and 1 for a column that does not vary: float64 [d]."""
        deviation: NDArray[np.float64] = np.sqrt(self.squares / max(1, self.rows))
        # A column of one value leaves a remainder of rounding, which must not be blown up to variance 1.
        constant = deviation <= 1e-7 * np.abs(self.mean)
        return np.where(constant | (deviation == 0), 1.0, deviation)

    @property
    def inverse_frequency(self) -> NDArray[np.float64]:
        """1 + ln((1 + rows) / (1 + rows with the column)), scikit-learn's smooth idf: float64 [d]."""
        return np.asarray(1 + np.log((1 + self.rows) / (1 + self.present)))

    def columns(self, scale: Scale) -> Columns:
        """What a scaling of `FITTED` does to each column."""
        if scale == "tf-idf":
            return np.zeros_like(self.mean), 1 / self.inverse_frequency
        return self.mean, self.deviation


def moments_of(features: Features) -> Moments:
    """Moments of the rows of one part, in the order in which they stand."""
    rows, d = features.shape
    if not rows:
        return Moments(0, np.zeros(d), np.zeros(d), np.zeros(d, np.int64))
    if isinstance(features, sp.csr_matrix):
        return _sparse_moments(features)
    mean = features.sum(axis=0, dtype=np.float64) / rows
    squares = np.zeros(d)
    # A few columns at a time: the differences are float64 and as large as the part again.
    for start in range(0, d, 64):
        columns = slice(start, start + 64)
        squares[columns] = ((features[:, columns] - mean[columns]) ** 2).sum(axis=0)
    return Moments(rows, mean, squares, np.count_nonzero(features, axis=0))


def _sparse_moments(features: sp.csr_matrix) -> Moments:
    rows, d = features.shape
    columns, values = features.indices, features.data.astype(np.float64)
    mean = _sums(columns, values, d) / rows
    left_out = rows - _sums(columns, np.ones(len(columns)), d)  # the zeros that are not stored
    squares = _sums(columns, (values - mean[columns]) ** 2, d) + left_out * mean**2
    return Moments(rows, mean, squares, np.bincount(columns[values != 0], minlength=d))


def _sums(places: NDArray[np.integer[Any]], values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(places, weights=values, minlength=length), dtype=np.float64)


def combined(parts: Iterable[Moments]) -> Moments:
    """Moments of all rows from those of the parts, by Chan's update, in the order that is given."""
    iterator = iter(parts)
    total = next(iterator)
    for part in iterator:
        rows = total.rows + part.rows
        if not part.rows:
            continue
        step = part.mean - total.mean
        mean = total.mean + step * (part.rows / rows)
        squares = total.squares + part.squares + step**2 * (total.rows * part.rows / rows)
        total = Moments(rows, mean, squares, total.present + part.present)
    return total


def prepared(
    features: Features, scale: Scale, columns: Columns | None, landmarks: Landmarks | None, intercept: float
) -> Features:
    """Rows of x as models see them: scaled, then mapped by the landmarks where there are some.

    Where `intercept` is not 0 it stands in one more column, the last.
    """
    features = scaled(features, scale, columns)
    if landmarks is not None:
        features = landmarks.map(features)
    return with_constant(features, intercept) if intercept else features


def scaled(features: Features, scale: Scale, columns: Columns | None) -> Features:
    """Rows of x as `scale` says, by the columns as fitted on train where it is one of `FITTED`."""
    if columns is not None:
        features = standard(features, *columns)
    if scale in LENGTHS:
        features = unit_length(features, LENGTHS[scale])
    return features


def with_constant(features: Features, value: float) -> Features:
    """Rows of x, [rows, d], with the same value at the end of each: [rows, d + 1]."""
    rows, d = features.shape
    if not isinstance(features, sp.csr_matrix):
        return np.hstack([features, np.full((rows, 1), value, dtype=np.float32)])
    ends = features.indptr[1:]
    indptr = features.indptr + np.arange(rows + 1, dtype=features.indptr.dtype)
    data = np.insert(features.data, ends, np.float32(value))
    return sp.csr_matrix((data, np.insert(features.indices, ends, d), indptr), shape=(rows, d + 1))


def standard(features: Features, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> Features:
    """(x − mean) / deviation. Sparse x is divided only: taking the mean away would fill it."""
    if isinstance(features, sp.csr_matrix):
        data = (features.data / deviation[features.indices]).astype(np.float32)
        return sp.csr_matrix((data, features.indices, features.indptr), shape=features.shape)
    return ((features - mean) / deviation).astype(np.float32)


def unit_length(features: Features, p: int = 2) -> Features:
    """x / ‖x‖ₚ for every row, p = 1 or 2; a row of zeros stays."""
    if isinstance(features, sp.csr_matrix):
        powers = np.abs(features.data.astype(np.float64)) ** p
        row_of = np.repeat(np.arange(features.shape[0]), np.diff(features.indptr))
        norms = np.bincount(row_of, powers, minlength=features.shape[0]) ** (1 / p)
        data = (features.data / np.where(norms > 0, norms, 1.0)[row_of]).astype(np.float32)
        return sp.csr_matrix((data, features.indices, features.indptr), shape=features.shape)
    norms = np.linalg.norm(features.astype(np.float64), p, axis=1)
    scaled: NDArray[np.float32] = (features / np.where(norms > 0, norms, 1.0)[:, None]).astype(np.float32)
    return scaled

"""The inner loops of a step that are not matrix products: in numpy, or compiled where numba is installed.

Adding up the gradients of each touched row in their order and moving the row takes numpy some eight passes over U and
V, and finding the violators in a pool five over the scores; compiled it is one and two.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.kernels.feature_blocks import FeatureBlocks
from awe_core.kernels.sorted_rows import SortedRows
from awe_core.kernels.sub_blocks import SubBlocks
from awe_core.rows import ranges

KernelName = Literal["numpy", "numba"]

EPSILON = np.float32(1e-10)
"""Keeps 0 / 0 away where a coordinate has had no gradient yet; far below any gradient that matters."""

# Rows gathered at once for products of chosen rows and labels, so that they stay in a core's cache.
_GATHERED = 2048

Rows = NDArray[np.float32]
Floats = NDArray[np.floating]


class Kernel(Protocol):
    """Moves `gradient.rows[these]`, and no other row, in place. Two kernels agree to 1e-5 a step."""

    @property
    def sub_blocks(self) -> SubBlocks | None:
        """All of a sub-block in one call; None where whole-array operations are as good."""

    @property
    def feature_blocks(self) -> FeatureBlocks | None:
        """The same for affinities of the single features."""

    def sgd(self, parameter: Rows, gradient: SortedRows, these: slice, rate: np.float32) -> None:
        """w ← w − η·g."""

    def adagrad(self, parameter: Rows, sums: Rows, gradient: SortedRows, these: slice, rate: np.float32) -> None:
        """A ← A + g², w ← w − η·g / (√A + ε)."""

    def adagrad_whole(self, parameter: Rows, sums: Rows, gradient: Rows, rate: np.float32) -> None:
        """The same on all rows, from a gradient in the parameter's shape."""

    def count_above(self, f: Floats, pair_row: NDArray[np.intp], threshold: Floats) -> NDArray[np.int64]:
        """How many of a pair's row of scores lie above the pair's threshold: int64 [pairs]."""

    def spread_above(self, f: Floats, pair_row: NDArray[np.intp], threshold: Floats, each: Floats) -> Floats:
        """Σ over a row's pairs of `each` where the row's score lies above the pair's threshold: in the shape of f."""

    def add_at(self, target: Floats, pair_row: NDArray[np.intp], values: Floats) -> None:
        """target[pair_row[p]] += values[p], in the order of p; `pair_row` ascends."""

    def dots(self, embedding: Floats, row: NDArray[np.intp], V: Floats, label: NDArray[np.intp]) -> Floats:
        """The products embedding[row]ᵀV[label] of chosen rows and labels: [entries]."""

    def count_in_runs(
        self, f: Floats, first: NDArray[np.intp], length: NDArray[np.intp], threshold: Floats
    ) -> NDArray[np.int64]:
        """How many of f[first:first + length] lie above the threshold, run by run: int64 [runs]."""

    def nth_in_runs(
        self,
        f: Floats,
        first: NDArray[np.intp],
        length: NDArray[np.intp],
        threshold: Floats,
        n: NDArray[np.int64],
    ) -> NDArray[np.intp]:
        """Where in f the n-th of them, from 0, stands, run by run: intp [runs]."""


class NumpyKernel:
    """Whole-array operations."""

    sub_blocks: SubBlocks | None = None
    feature_blocks: FeatureBlocks | None = None

    def count_above(self, f: Floats, pair_row: NDArray[np.intp], threshold: Floats) -> NDArray[np.int64]:
        return np.asarray(np.count_nonzero(_by_pair(f, pair_row) > threshold[:, None], axis=1))

    def spread_above(self, f: Floats, pair_row: NDArray[np.intp], threshold: Floats, each: Floats) -> Floats:
        above = (_by_pair(f, pair_row) > threshold[:, None]) * each[:, None]
        return above if len(f) == len(pair_row) else np.asarray(_selector(pair_row, len(f), f.dtype) @ above)

    def add_at(self, target: Floats, pair_row: NDArray[np.intp], values: Floats) -> None:
        target += _selector(pair_row, len(target), target.dtype) @ values

    def dots(self, embedding: Floats, row: NDArray[np.intp], V: Floats, label: NDArray[np.intp]) -> Floats:
        found = np.empty(len(row), dtype=V.dtype)
        for start in range(0, len(row), _GATHERED):
            part = slice(start, start + _GATHERED)
            np.einsum("ed,ed->e", embedding[row[part]], V[label[part]], out=found[part])
        return found

    def count_in_runs(
        self, f: Floats, first: NDArray[np.intp], length: NDArray[np.intp], threshold: Floats
    ) -> NDArray[np.int64]:
        above = f[ranges(first, length)] > np.repeat(threshold, length)
        return _run_sums(above, length)

    def nth_in_runs(
        self,
        f: Floats,
        first: NDArray[np.intp],
        length: NDArray[np.intp],
        threshold: Floats,
        n: NDArray[np.int64],
    ) -> NDArray[np.intp]:
        place = ranges(first, length)
        above = f[place] > np.repeat(threshold, length)
        hits = np.flatnonzero(above)
        before = np.cumsum(_run_sums(above, length))
        count = np.diff(before, prepend=0)
        return np.asarray(place[hits[before - count + n]])

    def sgd(self, parameter: Rows, gradient: SortedRows, these: slice, rate: np.float32) -> None:
        parameter[gradient.rows[these]] -= rate * gradient.sums(these)

    def adagrad(self, parameter: Rows, sums: Rows, gradient: SortedRows, these: slice, rate: np.float32) -> None:
        rows, g = gradient.rows[these], gradient.sums(these)
        touched = sums[rows]
        touched += g * g
        sums[rows] = touched
        parameter[rows] -= _step(g, touched, rate)

    def adagrad_whole(self, parameter: Rows, sums: Rows, gradient: Rows, rate: np.float32) -> None:
        sums += gradient * gradient
        parameter -= _step(gradient, sums.copy(), rate)


def _run_sums(above: NDArray[np.bool_], length: NDArray[np.intp]) -> NDArray[np.int64]:
    """How many are true in every run, runs one after the other."""
    until = np.concatenate(([0], np.cumsum(above)))
    ends = np.cumsum(length)
    return np.asarray(until[ends] - until[ends - length], dtype=np.int64)


def _by_pair(f: Floats, pair_row: NDArray[np.intp]) -> Floats:
    """A row for every pair; no copy where every row has one pair."""
    return f if len(f) == len(pair_row) else f[pair_row]


def _selector(pair_row: NDArray[np.intp], rows: int, dtype: np.dtype) -> sp.csr_matrix:
    """The matrix [rows, pairs] that adds up every row's pairs."""
    ends = np.searchsorted(pair_row, np.arange(rows + 1))
    return sp.csr_matrix((np.ones(len(pair_row), dtype), np.arange(len(pair_row)), ends), (rows, len(pair_row)))


def _step(g: Rows, sums: Rows, rate: np.float32) -> Rows:
    """η·g / (√A + ε), in the memory of `sums`."""
    np.sqrt(sums, out=sums)
    sums += EPSILON
    np.divide(rate * g, sums, out=sums)
    return sums

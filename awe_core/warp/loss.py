"""WARP, the weighted approximate-rank pairwise loss: draws of a violating negative and the step they weigh.

For a pair (x, y) negatives ȳ are drawn uniformly, with replacement, from the M labels that may be one, until
f(x, ȳ) > f(x, y) − γ. A violator found at draw N ≤ M is stepped on with the weight L(⌊M / N⌋); none is a skip.

Two samplers follow that one law. `draw_geometric` needs all scores of an example: with v violators among M the
number of draws is geometric with p = v / M and the negative uniform over the violators. `draw_in_rounds` scores only
what it draws. Both are read-only: all pairs of a minibatch are evaluated at the same parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.gate import Gate
from awe_core.rows import entry_positions, row_of_entry, structure
from awe_core.warp.draw_numbers import DrawNumbers, number_of_draws
from awe_core.warp.minibatch import Minibatch
from awe_core.warp.scores import Gradient, Scores, candidates_only

Floats = NDArray[np.floating]

# Pairs an example from which sorting its scores once is cheaper than comparing all of them with every pair.
_SORT_FROM = 4
# Numbers gathered at once by one round of draws: 16 MB of float32.
_MOST_GATHERED = 2**22
_FIRST_ROUND = 8


@dataclass(frozen=True)
class Draws:
    """The pairs of a minibatch for which a violator was found, and what was found.

    Attributes
    ----------
    pair : intp [found], ascending.
    negative : ȳ, intp [found].
    number : N, int64 [found].
    negatives : M of every pair of the minibatch, int64 [pairs].
    """

    pair: NDArray[np.intp]
    negative: NDArray[np.intp]
    number: NDArray[np.int64]
    negatives: NDArray[np.int64]


def count_negatives(batch: Minibatch, gate: Gate | None, labels: int) -> NDArray[np.int64]:
    """M of every row: the labels, or only the candidates, that are neither true nor seen. int64 [rows]."""
    if not candidates_only(gate):
        return labels - _entries_per_row(batch.excluded)
    return _entries_per_row(_negative_candidates(batch))


def _entries_per_row(matrix: sp.csr_matrix) -> NDArray[np.int64]:
    entries: NDArray[np.int64] = np.diff(matrix.indptr).astype(np.int64)
    return entries


def _negative_candidates(batch: Minibatch) -> sp.csr_matrix:
    """The candidates that are neither true nor seen, int8 CSR [rows, Y]."""
    candidates = structure(batch.affinity)
    free = entry_positions(batch.excluded, row_of_entry(candidates), candidates.indices) < 0
    ends = np.concatenate(([0], np.cumsum(free)))[candidates.indptr]
    return sp.csr_matrix((candidates.data[free], candidates.indices[free], ends), shape=candidates.shape)


# --- All scores of the minibatch's examples -------------------------------------------------------------------------


def draw_geometric(scores: Scores, margin: float, numbers: DrawNumbers) -> Draws:
    """Draw a violator for every pair from the scores of all its negatives.

    Parameters
    ----------
    scores : f of the rows and pairs of a minibatch.
    margin : γ.
    numbers : of the sub-block.

    Raises
    ------
    FloatingPointError
        A score is not finite.
    """
    batch, f = scores.batch, scores.every()
    pair_f = f[batch.pair_row, batch.pair_label]
    f[row_of_entry(batch.excluded), batch.excluded.indices] = -np.inf
    _check_finite(pair_f, f)
    negatives = count_negatives(batch, scores.gate, scores.labels)[batch.pair_row]
    threshold = pair_f - f.dtype.type(margin)
    many = len(batch.pair_row) >= _SORT_FROM * len(batch)
    violators = (_SortedViolators if many else _ComparedViolators)(f, batch.pair_row, threshold)
    pair, number, choice = draw_violators(violators.count, negatives, numbers.two(len(threshold)))
    return Draws(pair, violators.columns(pair, choice), number, negatives)


def draw_violators(
    violators: NDArray[np.int64], negatives: NDArray[np.int64], u: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
    """Which pairs find a violator within M draws, at which draw N, and which of their violators it is, from 0.

    Parameters
    ----------
    violators, negatives : v and M of every pair.
    u : uniform in [0, 1), float64 [2, pairs].
    """
    tried = np.flatnonzero(violators)
    number = number_of_draws(u[0, tried], violators[tried] / negatives[tried])
    found = number <= negatives[tried]
    pair = tried[found]
    return pair, number[found].astype(np.int64), (u[1, pair] * violators[pair]).astype(np.int64)


class _ComparedViolators:
    """The violators of every pair, as a mask [pairs, columns]: for few pairs an example."""

    def __init__(self, f: Floats, pair_row: NDArray[np.intp], threshold: Floats) -> None:
        whole = len(pair_row) == len(f) and bool((np.diff(pair_row) == 1).all())  # one pair an example: no copy
        self._mask = (f if whole else f[pair_row]) > threshold[:, None]
        self.count = np.count_nonzero(self._mask, axis=1)

    def columns(self, pairs: NDArray[np.intp], n: NDArray[np.int64]) -> NDArray[np.intp]:
        """Column of the n-th violator, from 0, of each of some distinct pairs."""
        chosen = self._mask if len(pairs) == len(self._mask) else self._mask[pairs]
        flat, starts = np.flatnonzero(chosen), np.arange(len(pairs)) * chosen.shape[1]
        column: NDArray[np.intp] = flat[np.searchsorted(flat, starts) + n] - starts
        return column


class _SortedViolators:
    """The violators of every pair by the order of its example's scores, sorted once for all of its pairs."""

    def __init__(self, f: Floats, pair_row: NDArray[np.intp], threshold: Floats) -> None:
        self._pair_row = pair_row
        self._order = np.argsort(f, axis=1)
        ascending = np.take_along_axis(f, self._order, axis=1)
        ends = np.searchsorted(pair_row, np.arange(len(f) + 1))
        self.count = np.empty(len(pair_row), dtype=np.int64)
        for row, (start, stop) in enumerate(pairwise(ends.tolist())):
            self.count[start:stop] = np.searchsorted(ascending[row], threshold[start:stop], side="right")
        np.subtract(f.shape[1], self.count, out=self.count)

    def columns(self, pairs: NDArray[np.intp], n: NDArray[np.int64]) -> NDArray[np.intp]:
        """Column of the n-th best violator, from 0, of each of some pairs."""
        return np.asarray(self._order[self._pair_row[pairs], self._order.shape[1] - 1 - n])


def _check_finite(pair_f: Floats, negative_f: Floats) -> None:
    """−inf marks a column that is no negative; a NaN or a +inf anywhere, or an infinite f(x, y), is divergence."""
    highest = negative_f.max(initial=-np.inf)
    if np.isnan(highest) or highest == np.inf or not np.isfinite(pair_f).all():
        raise FloatingPointError("a score is not finite")


# --- Only the scores that are drawn ---------------------------------------------------------------------------------


class _Negatives:
    """The negatives of every row by rank: the r-th label, from 0, that may be drawn."""

    def __init__(self, batch: Minibatch, gate: Gate | None, labels: int) -> None:
        self._listed = _negative_candidates(batch) if candidates_only(gate) else None
        excluded = batch.excluded
        self._starts = excluded.indptr
        self._width = labels + 1
        # The j-th excluded label e has e − j labels before it that are not excluded, so the label of rank r lies
        # behind all excluded labels with e − j ≤ r: a search in a list that ascends within the row.
        row = row_of_entry(excluded)
        before = excluded.indices - (np.arange(excluded.nnz) - excluded.indptr[row])
        self._before = row * np.int64(self._width) + before

    def labels(self, rows: NDArray[np.intp], ranks: NDArray[np.int64]) -> NDArray[np.intp]:
        """int [shape of ranks]; `rows` has the same shape."""
        if self._listed is not None:
            return np.asarray(self._listed.indices[self._listed.indptr[rows] + ranks], dtype=np.intp)
        passed = np.searchsorted(self._before, rows * np.int64(self._width) + ranks, side="right")
        return np.asarray(ranks + passed - self._starts[rows], dtype=np.intp)


def draw_in_rounds(scores: Scores, margin: float, numbers: DrawNumbers) -> Draws:
    """Draw negatives in rounds of growing width, for the pairs that have found no violator yet.

    Parameters, law and what is raised are those of `draw_geometric`; only the labels drawn are scored. A round
    gathers at most 16 MB.
    """
    batch = scores.batch
    negatives = count_negatives(batch, scores.gate, scores.labels)[batch.pair_row]
    eligible = _Negatives(batch, scores.gate, scores.labels)
    pair_f = scores.of(batch.pair_row, batch.pair_label)
    _check_finite(pair_f, pair_f)
    threshold = pair_f - pair_f.dtype.type(margin)
    negative = np.full(len(pair_f), -1, dtype=np.intp)
    number = np.zeros(len(pair_f), dtype=np.int64)
    active, drawn, width = np.flatnonzero(negatives), 0, _FIRST_ROUND
    while len(active):
        most = _MOST_GATHERED // (len(active) * scores.gathered)
        columns = max(1, min(width, most, int(negatives[active].max()) - drawn))
        rows = np.broadcast_to(batch.pair_row[active][:, None], (len(active), columns))
        u = numbers.uniform(active[:, None], drawn + np.arange(columns))
        tried = eligible.labels(rows, (u * negatives[active][:, None]).astype(np.int64))
        f = scores.of(rows, tried)
        _check_finite(threshold, f)
        violates = f > threshold[active][:, None]
        first = violates.argmax(axis=1)
        found = violates[np.arange(len(active)), first]
        number[active[found]] = drawn + 1 + first[found]
        negative[active[found]] = tried[found, first[found]]
        drawn += columns
        active = active[~found & (negatives[active] > drawn)]
        width *= 2
    pair = np.flatnonzero((negative >= 0) & (number <= negatives))
    return Draws(pair, negative[pair], number[pair], negatives)


# --- The step -------------------------------------------------------------------------------------------------------


def warp_gradient(scores: Scores, margin: float, draws: Draws, losses: NDArray[np.float64]) -> Gradient:
    """Gradient of Σ weight · L(⌊M / N⌋) · max(0, γ + f(x, ȳ) − f(x, y)) over the pairs that found a violator.

    Parameters
    ----------
    scores, margin : as the draws were made with.
    draws : ȳ and N by pair.
    losses : L, float64 [Y + 1].

    Returns
    -------
    The gradient at the parameters of `scores`, in their float type.
    """
    batch = scores.batch
    row, positive = batch.pair_row[draws.pair], batch.pair_label[draws.pair]
    share = batch.weight[row] * losses[draws.negatives[draws.pair] // draws.number]
    f_up, f_down = scores.of(row, positive), scores.of(row, draws.negative)
    hinge = np.maximum(0.0, margin + f_down.astype(np.float64) - f_up)
    share = share * (hinge > 0)
    return scores.gradient(row, (positive, draws.negative), share, float(np.sum(share * hinge)))

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

from awe_core.draw_numbers import DrawNumbers, number_of_draws
from awe_core.feature_rows import RowGradient, through_features
from awe_core.gate import Gate
from awe_core.kernels import Kernel
from awe_core.minibatch import Minibatch
from awe_core.rows import entry_positions, row_of_entry, structure
from awe_core.similarity import Similarity, all_similarities, pair_similarities, slope

Floats = NDArray[np.floating]

# Pairs an example from which sorting its scores once is cheaper than comparing all of them with every pair.
_SORT_FROM = 4
# Numbers gathered at once by one round of draws: 16 MB of float32.
_MOST_GATHERED = 2**22
_FIRST_ROUND = 8


@dataclass(frozen=True)
class Parameters:
    """What a step changes in place: U [d, D], V [Y, D], the offset c [1], of one float type; and how f reads them."""

    U: Floats
    V: Floats
    offset: Floats
    similarity: Similarity = "dot"


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


@dataclass(frozen=True)
class Gradient:
    """Gradient of a sub-block's loss, summed over its pairs, and that loss; the parts of V's are to be added up."""

    U: RowGradient
    V: list[RowGradient]
    offset: float
    loss: float


def candidates_only(gate: Gate | None) -> bool:
    """Whether an example's labels are its candidates: there is an affinity and no bias lifts the other labels."""
    return gate is not None and gate.bias == 0


def gate_of(batch: Minibatch, gate: Gate | None, rows: NDArray[np.intp], labels: NDArray[np.intp]) -> Floats:
    """s·G + b of the given labels (0 for G where they are no candidates; 1 without an affinity), in their shape."""
    if gate is None or batch.affinity is None:
        return np.ones(labels.shape, dtype=np.float32)
    if not batch.affinity.nnz:
        return np.full(labels.shape, gate.bias, dtype=np.float32)
    at = entry_positions(batch.affinity, rows, labels)
    return gate.of(np.where(at >= 0, batch.affinity.data[at], np.float32(0)))


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


def _all_scores(
    batch: Minibatch, embedding: Floats, parameters: Parameters, gate: Gate | None
) -> tuple[Floats, Floats]:
    """f of every row and label by one product, −inf where the label is no negative; and f(x, y) of every pair."""
    f = all_similarities(parameters.similarity, embedding, parameters.V)
    if gate is not None:
        assert batch.affinity is not None
        candidate = row_of_entry(batch.affinity), batch.affinity.indices
        f += parameters.offset
        gated = gate.of(batch.affinity.data) * f[candidate]
        if candidates_only(gate):
            f.fill(-np.inf)
        else:
            f *= f.dtype.type(gate.bias)
        f[candidate] = gated
    pair_f = f[batch.pair_row, batch.pair_label]
    f[row_of_entry(batch.excluded), batch.excluded.indices] = -np.inf
    return f, pair_f


def draw_geometric(
    batch: Minibatch,
    embedding: Floats,
    parameters: Parameters,
    gate: Gate | None,
    margin: float,
    numbers: DrawNumbers,
) -> Draws:
    """Draw a violator for every pair from the scores of all its negatives.

    Parameters
    ----------
    batch : rows and pairs.
    embedding : Ux, float [rows, D].
    parameters : at which f is evaluated.
    gate : None for the linear f.
    margin : γ.
    numbers : of the sub-block.

    Raises
    ------
    FloatingPointError
        A score is not finite.
    """
    f, pair_f = _all_scores(batch, embedding, parameters, gate)
    _check_finite(pair_f, f)
    negatives = count_negatives(batch, gate, parameters.V.shape[0])[batch.pair_row]
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


def draw_in_rounds(
    batch: Minibatch,
    embedding: Floats,
    parameters: Parameters,
    gate: Gate | None,
    margin: float,
    numbers: DrawNumbers,
) -> Draws:
    """Draw negatives in rounds of growing width, for the pairs that have found no violator yet.

    Parameters, law and what is raised are those of `draw_geometric`; only the labels drawn are scored. A round
    gathers at most 16 MB.
    """
    labels, D = parameters.V.shape
    negatives = count_negatives(batch, gate, labels)[batch.pair_row]
    eligible = _Negatives(batch, gate, labels)
    pair_f = _f(batch, embedding, parameters, gate, batch.pair_row, batch.pair_label)
    _check_finite(pair_f, pair_f)
    threshold = pair_f - pair_f.dtype.type(margin)
    negative = np.full(len(pair_f), -1, dtype=np.intp)
    number = np.zeros(len(pair_f), dtype=np.int64)
    active, drawn, width = np.flatnonzero(negatives), 0, _FIRST_ROUND
    while len(active):
        columns = max(1, min(width, _MOST_GATHERED // (len(active) * D), int(negatives[active].max()) - drawn))
        rows = np.broadcast_to(batch.pair_row[active][:, None], (len(active), columns))
        u = numbers.uniform(active[:, None], drawn + np.arange(columns))
        tried = eligible.labels(rows, (u * negatives[active][:, None]).astype(np.int64))
        f = _f(batch, embedding, parameters, gate, rows, tried)
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


def _f(
    batch: Minibatch,
    embedding: Floats,
    parameters: Parameters,
    gate: Gate | None,
    rows: NDArray[np.intp],
    labels: NDArray[np.intp],
) -> Floats:
    """f of chosen (row, label), in the shape of `labels`: [pairs] or [pairs, columns] with one row a pair."""
    own = rows if labels.ndim == 1 else rows[:, 0]
    linear = pair_similarities(parameters.similarity, embedding[own], parameters.V[labels])
    if gate is not None:
        linear = gate_of(batch, gate, rows, labels) * (linear + parameters.offset)
    return linear


# --- The step -------------------------------------------------------------------------------------------------------


def warp_gradient(
    batch: Minibatch,
    embedding: Floats,
    parameters: Parameters,
    gate: Gate | None,
    margin: float,
    draws: Draws,
    losses: NDArray[np.float64],
    kernel: Kernel,
) -> Gradient:
    """Gradient of Σ weight · L(⌊M / N⌋) · max(0, γ + f(x, ȳ) − f(x, y)) over the pairs that found a violator.

    With G fixed, ∂f/∂(xᵀUᵀVy) is the gate s·G + b, and ∂f/∂c as well.

    Parameters
    ----------
    batch, embedding, parameters, gate, margin : as the draws were made with.
    draws : ȳ and N by pair.
    losses : L, float64 [Y + 1].
    kernel : adds up the pairs of an example.

    Returns
    -------
    The gradient at `parameters`, in their float type.
    """
    row, positive = batch.pair_row[draws.pair], batch.pair_label[draws.pair]
    share = batch.weight[row] * losses[draws.negatives[draws.pair] // draws.number]
    own, similarity = embedding[row], parameters.similarity
    V_up, V_down = parameters.V[positive], parameters.V[draws.negative]
    s_up, s_down = pair_similarities(similarity, own, V_up), pair_similarities(similarity, own, V_down)
    f_up, f_down = s_up, s_down
    gate_up, gate_down = gate_of(batch, gate, row, positive), gate_of(batch, gate, row, draws.negative)
    if gate is not None:
        f_up, f_down = gate_up * (s_up + parameters.offset), gate_down * (s_down + parameters.offset)
    hinge = np.maximum(0.0, margin + f_down.astype(np.float64) - f_up)
    share = share * (hinge > 0)
    up, down = -share * gate_up, share * gate_down
    by_positive, lifted = pulled_pairs(similarity, slope(similarity, up, s_up), own, V_up)
    by_negative, pushed = pulled_pairs(similarity, slope(similarity, down, s_down), own, V_down)
    by_embedding = np.zeros_like(embedding)
    kernel.add_at(by_embedding, row, lifted + pushed)
    offset = float(np.sum(up + down)) if gate is not None else 0.0
    parts = [RowGradient(positive, by_positive), RowGradient(draws.negative, by_negative)]
    return Gradient(through_features(batch.features, by_embedding), parts, offset, float(np.sum(share * hinge)))


def pulled_pairs(similarity: Similarity, coefficient: Floats, own: Floats, V_own: Floats) -> tuple[Floats, Floats]:
    """Gradients by V and by Ux of every pair's own similarity, from ∂/∂s times its slope [pairs]: [pairs, D] each."""
    k = coefficient.astype(own.dtype)[:, None]
    if similarity == "dot":
        return k * own, k * V_own
    apart = k * (own - V_own)
    return apart, -apart


def pulled(similarity: Similarity, coefficient: Floats, embedding: Floats, V: Floats) -> tuple[Floats, Floats]:
    """Gradients by Ux and by some labels' rows of V, from ∂/∂s times the similarity's slope for every row and label.

    Parameters
    ----------
    coefficient : [rows, labels].
    embedding, V : [rows, D] and [labels, D].
    """
    by_embedding, by_V = np.asarray(coefficient @ V), np.asarray(coefficient.T @ embedding)
    if similarity != "dot":
        by_embedding -= coefficient.sum(axis=1)[:, None] * embedding
        by_V -= coefficient.sum(axis=0)[:, None] * V
    return by_embedding, by_V

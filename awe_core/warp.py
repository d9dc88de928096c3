"""WARP, the weighted approximate-rank pairwise loss: draws of a violating negative and the step they weigh.

For a pair (x, y) negatives ȳ are drawn uniformly, with replacement, from the M labels that may be one, until
f(x, ȳ) > f(x, y) − γ. A violator found at draw N ≤ M is stepped on with the weight L(⌊M / N⌋); none is a skip.

Two samplers follow that one law. `draw_geometric` needs all scores of an example: with v violators among M the
number of draws is geometric with p = v / M and the negative uniform over the violators. `draw_in_rounds` scores only
what it draws. Both are read-only: all pairs of a minibatch are evaluated at the same parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.gate import Gate
from awe_core.minibatch import Minibatch
from awe_core.rows import entry_positions, row_of_entry, structure

Floats = NDArray[np.floating]

# Costs, measured in one thread on 1,000 and 41,000 labels with D = 64 and 100, in units of one score of a dense matrix
# product (1.5 ns): comparing a score with the threshold of a pair and finding the violators; a score of one gathered
# label; and one drawn, gathered and scored.
_COMPARE = 1.3
_GATHER = 25.0
_DRAW = 40.0
# Draws that a pair is taken to need, on average over a training.
_EXPECTED_DRAWS = 32
# The most pairs × columns that are compared at once: 14 bytes each, 230 MB.
_MOST_COMPARED = 2**24
# Numbers gathered at once by one round of draws: 16 MB of float32.
_MOST_GATHERED = 2**22
_FIRST_ROUND = 8


@dataclass(frozen=True)
class Parameters:
    """What a step changes, in place: U [d, D], V [Y, D] and the offset c [1], of one float type."""

    U: Floats
    V: Floats
    offset: Floats


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
class RowGradient:
    """Gradient of some rows of a parameter; `rows` are distinct and ascending, None stands for all."""

    rows: NDArray[np.intp] | None
    values: Floats


@dataclass(frozen=True)
class Gradient:
    """Gradient of the minibatch's loss, summed over its pairs, and that loss."""

    U: RowGradient
    V: RowGradient
    offset: float
    loss: float


def rank_losses(alphas: NDArray[np.float64]) -> NDArray[np.float64]:
    """L(k) = Σ_{j ≤ k} α_j for k = 0 … len(alphas); α₁ ≥ α₂ ≥ … ≥ 0."""
    return np.concatenate(([0.0], np.cumsum(alphas)))


def harmonic_losses(labels: int) -> NDArray[np.float64]:
    """L(k) = Σ_{j ≤ k} 1 / j for k = 0 … Y: the table that a training uses."""
    return rank_losses(1.0 / np.arange(1, labels + 1))


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


@dataclass(frozen=True)
class _Contest:
    """Scores of every negative of every row, laid out in columns.

    f : [rows, columns], −inf where the column is no negative. labels : [rows, columns], or None where column j is
    label j. pair_f : [pairs], f(x, y).
    """

    f: Floats
    labels: NDArray[np.intp] | None
    pair_f: Floats


def _dense_contest(batch: Minibatch, embedding: Floats, parameters: Parameters, gate: Gate | None) -> _Contest:
    """One matrix product scores every label; column j is label j."""
    f = np.asarray(embedding @ parameters.V.T)
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
    return _Contest(f, None, pair_f)


def _candidate_contest(batch: Minibatch, embedding: Floats, parameters: Parameters, gate: Gate) -> _Contest:
    """Only candidates are scored; column k is a row's k-th candidate, rows padded to the longest."""
    affinity = batch.affinity
    assert affinity is not None
    row = row_of_entry(affinity)
    column = np.arange(affinity.nnz) - affinity.indptr[row]
    labels = np.zeros((len(batch), max(1, _most_candidates(batch))), dtype=np.intp)
    labels[row, column] = affinity.indices
    linear = np.einsum("rd,rkd->rk", embedding, parameters.V[labels], optimize=False)
    f = np.full(labels.shape, -np.inf, dtype=linear.dtype)
    f[row, column] = gate.of(affinity.data) * (linear[row, column] + parameters.offset)
    pair_column = entry_positions(affinity, batch.pair_row, batch.pair_label) - affinity.indptr[batch.pair_row]
    pair_f = f[batch.pair_row, pair_column]
    barred = entry_positions(batch.excluded, row, affinity.indices) >= 0
    f[row[barred], column[barred]] = -np.inf
    return _Contest(f, labels, pair_f)


def _contest(batch: Minibatch, embedding: Floats, parameters: Parameters, gate: Gate | None) -> _Contest:
    labels = parameters.V.shape[0]
    if gate is not None and _candidate_cost(batch, gate) < _dense_cost(batch, labels):
        return _candidate_contest(batch, embedding, parameters, gate)
    return _dense_contest(batch, embedding, parameters, gate)


def _dense_cost(batch: Minibatch, labels: int) -> float:
    return labels * (len(batch) + _COMPARE * len(batch.pair_row))


def _candidate_cost(batch: Minibatch, gate: Gate | None) -> float:
    """Cost with a column for each candidate; inf where labels beyond the candidates may be drawn."""
    if not candidates_only(gate):
        return np.inf
    return _most_candidates(batch) * (_GATHER * len(batch) + _COMPARE * len(batch.pair_row))


def _most_candidates(batch: Minibatch) -> int:
    assert batch.affinity is not None
    return int(np.diff(batch.affinity.indptr).max(initial=0))


def draw_geometric(
    batch: Minibatch,
    embedding: Floats,
    parameters: Parameters,
    gate: Gate | None,
    margin: float,
    rng: np.random.Generator,
) -> Draws:
    """Draw a violator for every pair from the scores of all its negatives.

    Parameters
    ----------
    batch : rows and pairs.
    embedding : Ux, float [rows, D].
    parameters : at which f is evaluated.
    gate : None for the linear f.
    margin : γ.
    rng : consumed: two numbers a pair with violators, in the order of the pairs.

    Raises
    ------
    FloatingPointError
        A score is not finite.
    """
    contest = _contest(batch, embedding, parameters, gate)
    _check_finite(contest.pair_f, contest.f)
    negatives = count_negatives(batch, gate, parameters.V.shape[0])[batch.pair_row]
    threshold = contest.pair_f - contest.f.dtype.type(margin)
    violates = contest.f[batch.pair_row] > threshold[:, None]
    violators = np.count_nonzero(violates, axis=1)
    tried = np.flatnonzero(violators)
    number = rng.geometric(violators[tried] / negatives[tried])
    choice = rng.integers(0, violators[tried])
    found = number <= negatives[tried]
    pair, number, choice = tried[found], number[found], choice[found]
    column = _nth_true(violates, pair, choice)
    negative = column if contest.labels is None else contest.labels[batch.pair_row[pair], column]
    return Draws(pair, negative, number, negatives)


def _nth_true(mask: NDArray[np.bool_], rows: NDArray[np.intp], n: NDArray[np.int64]) -> NDArray[np.intp]:
    """Column of the n-th (from 0) true entry of each of some distinct rows."""
    chosen = mask if len(rows) == len(mask) else mask[rows]
    flat, starts = np.flatnonzero(chosen), np.arange(len(rows)) * chosen.shape[1]
    column: NDArray[np.intp] = flat[np.searchsorted(flat, starts) + n] - starts
    return column


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
    rng: np.random.Generator,
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
        tried = eligible.labels(rows, rng.integers(0, negatives[active][:, None], size=rows.shape))
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
    linear: Floats
    if labels.ndim == 1:
        linear = np.einsum("pd,pd->p", embedding[rows], parameters.V[labels])
    else:
        linear = np.einsum("pd,pkd->pk", embedding[rows[:, 0]], parameters.V[labels])
    if gate is not None:
        linear = gate_of(batch, gate, rows, labels) * (linear + parameters.offset)
    return linear


def all_scores_are_cheaper(batch: Minibatch, gate: Gate | None, labels: int) -> bool:
    """Choose the sampler: whether scoring all negatives costs less than scoring those drawn.

    In units of one dense score: a dense layout costs Y·(rows + 1.3·pairs), one of at most K candidates a row
    K·(25·rows + 1.3·pairs), and draws 40·32·pairs. More than 2²⁴ pairs × columns are never compared at once.
    """
    pairs = len(batch.pair_row)
    dense, candidates = _dense_cost(batch, labels), _candidate_cost(batch, gate)
    columns = _most_candidates(batch) if candidates < dense else labels
    return min(dense, candidates) <= _DRAW * _EXPECTED_DRAWS * pairs and columns * pairs <= _MOST_COMPARED


# --- The step -------------------------------------------------------------------------------------------------------


def warp_gradient(
    batch: Minibatch,
    embedding: Floats,
    parameters: Parameters,
    gate: Gate | None,
    margin: float,
    draws: Draws,
    losses: NDArray[np.float64],
) -> Gradient:
    """Gradient of Σ weight · L(⌊M / N⌋) · max(0, γ + f(x, ȳ) − f(x, y)) over the pairs that found a violator.

    With G fixed, ∂f/∂(xᵀUᵀVy) is the gate s·G + b, and ∂f/∂c as well.

    Parameters
    ----------
    batch, embedding, parameters, gate, margin : as the draws were made with.
    draws : ȳ and N by pair.
    losses : L, float64 [Y + 1].

    Returns
    -------
    The gradient at `parameters`, in their float type.
    """
    row, positive = batch.pair_row[draws.pair], batch.pair_label[draws.pair]
    share = batch.weight[row] * losses[draws.negatives[draws.pair] // draws.number]
    gate_up, gate_down = gate_of(batch, gate, row, positive), gate_of(batch, gate, row, draws.negative)
    f_up = _f(batch, embedding, parameters, gate, row, positive)
    f_down = _f(batch, embedding, parameters, gate, row, draws.negative)
    hinge = np.maximum(0.0, margin + f_down.astype(np.float64) - f_up)
    share = share * (hinge > 0)
    loss = float(np.sum(share * hinge))
    up, down = -share * gate_up, share * gate_down
    touched, column = np.unique(np.concatenate((positive, draws.negative)), return_inverse=True)
    entries = np.concatenate((up, down)).astype(embedding.dtype)
    shape = (len(batch), len(touched))
    coefficient = sp.csr_matrix((entries, (np.concatenate((row, row)), column)), shape=shape)
    embedding_gradient = coefficient @ parameters.V[touched]
    V = RowGradient(touched, np.asarray(coefficient.T @ embedding))
    offset = float(np.sum(up + down)) if gate is not None else 0.0
    return Gradient(_through_features(batch, embedding_gradient), V, offset, loss)


def _through_features(batch: Minibatch, embedding_gradient: Floats) -> RowGradient:
    """Gradient of U from the gradient of Ux: xᵀ · ∂/∂(Ux), on the features that occur."""
    x = batch.features
    if not isinstance(x, sp.csr_matrix):
        return RowGradient(None, x.T @ embedding_gradient)
    touched, column = np.unique(x.indices, return_inverse=True)
    narrow = sp.csr_matrix((x.data, column, x.indptr), shape=(x.shape[0], len(touched)))
    return RowGradient(touched.astype(np.intp), np.asarray(narrow.T @ embedding_gradient))

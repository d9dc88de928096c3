"""What each method ranks by: blocks of examples in, ranked labels out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Block, Features
from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.ranking import Ranking, rank_all, rank_candidates, stacked
from awe_core.rows import row_of_entry

SCORES_BYTES = 1 << 27
"""Bound on what ranking all labels holds at once: a block is ranked in runs of rows that keep it."""

_BYTES_OF_SCORE = 32
"""Of one score [row, label] and its copies on the way: float64, gated, negated and partitioned."""

_PAIRS = 1 << 15

Rank = Callable[[Block], Ranking]


def rank_by_scores(scores: Callable[[Features], NDArray[np.floating]], labels: int, k: int) -> Rank:
    """Rank all labels by a function of the features: [rows, d] → [rows, Y] (a linear model, ridge)."""

    def rank(block: Block) -> Ranking:
        return _in_runs(len(block), labels, lambda rows: rank_all(scores(block.features[rows]), block.seen[rows], k))

    return rank


def rank_by_count(counts: NDArray[np.int64], k: int) -> Rank:
    """Rank every example's labels by how many train examples have them."""
    row = counts.astype(np.float64)

    def rank(block: Block) -> Ranking:
        return _in_runs(
            len(block),
            len(counts),
            lambda rows: rank_all(np.tile(row, (rows.stop - rows.start, 1)), block.seen[rows], k),
        )

    return rank


def rank_by_model(model: Model, k: int) -> Rank:
    """Rank all labels by f: xᵀUᵀVy unless the model was trained with a distance or learnt an affinity jointly."""
    return rank_by_scores(model.f, model.labels, k)


def rank_by_affinity(k: int) -> Rank:
    """Rank the candidates by G(x, y) alone."""

    def rank(block: Block) -> Ranking:
        return rank_candidates(affinity_of(block), block.seen, k)

    return rank


def rank_by_gated_model(model: Model, gate: Gate, k: int) -> Rank:
    """Rank by (s·G + b)·(xᵀUᵀVy + c): the candidates where b = 0, all labels where b > 0."""

    def rank(block: Block) -> Ranking:
        affinity = affinity_of(block)
        embedding = model.embed(block.features)
        if not gate.bias:
            return rank_candidates(gated_scores(model, gate, embedding, affinity), block.seen, k)

        def rank_run(rows: slice) -> Ranking:
            scores = (embedding[rows] @ model.V.T + np.float32(model.offset)).astype(np.float64)
            run = affinity[rows]
            weights = np.full(scores.shape, gate.bias, dtype=np.float64)
            weights[row_of_entry(run), run.indices] += gate.scale * run.data
            return rank_all(scores * weights, block.seen[rows], k)

        return _in_runs(len(block), model.labels, rank_run)

    return rank


def gated_scores(model: Model, gate: Gate, embedding: NDArray[np.floating], affinity: sp.csr_matrix) -> sp.csr_matrix:
    """(s·G + b)·(xᵀUᵀVy + c) of the candidates: float64 CSR in the structure of `affinity`."""
    rows = row_of_entry(affinity)
    linear = np.empty(affinity.nnz)
    for start in range(0, affinity.nnz, _PAIRS):
        pairs = slice(start, start + _PAIRS)
        linear[pairs] = np.einsum("ij,ij->i", embedding[rows[pairs]], model.V[affinity.indices[pairs]])
    values = (gate.scale * affinity.data.astype(np.float64) + gate.bias) * (linear + model.offset)
    return sp.csr_matrix((values, affinity.indices, affinity.indptr), shape=affinity.shape)


def affinity_of(block: Block) -> sp.csr_matrix:
    """G of a block that has to have it. Raises ValueError where it was read from examples without affinity."""
    if block.affinity is None:
        raise ValueError("these examples have no affinity; rank reweighted examples")
    return block.affinity


def _in_runs(rows: int, labels: int, rank: Callable[[slice], Ranking]) -> Ranking:
    step = max(1, SCORES_BYTES // (_BYTES_OF_SCORE * max(1, labels)))
    return stacked([rank(slice(start, min(start + step, rows))) for start in range(0, rows, step)])

"""Precision, recall, nDCG, average precision and sibling precision of ranked lists."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.ranking import Ranking
from awe_core.rows import entry_positions, row_of_entry, structure

CUTOFFS = (1, 3, 5, 10, 20)
"""Lengths at which precision, recall and nDCG are taken, as far as the lists reach, besides the full length."""


_METRIC = re.compile(r"(?:p|recall|ndcg|map)@([1-9][0-9]{0,3})")


def length_of(metric: str) -> int:
    """k of a metric that settings are chosen by: "p@k", "recall@k", "ndcg@k" or "map@k" of `of_rows`, k up to 9,999.

    Raises ValueError where it is none.
    """
    named = _METRIC.fullmatch(metric)
    if named is None:
        raise ValueError('must be p@k, recall@k, ndcg@k or map@k, "ndcg@20" say')
    return int(named[1])


def cutoffs(k: int) -> list[int]:
    """The lengths at which lists of length k are measured."""
    return sorted({c for c in CUTOFFS if c < k} | {k})


def of_rows(
    ranking: Ranking, truth: sp.csr_matrix, seen: sp.csr_matrix, siblings: sp.csr_matrix | None, k: int
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_]]:
    """The metrics of each row of a block or a part.

    For a row with true labels y (those in `seen` left out) and its ranked list:
    P@j = hits among the first j / j, also where the list is shorter; recall@j = hits / |y|;
    nDCG@j = Σ over hits 1/log₂(rank + 1) / Σ over the first min(j, |y|) ranks; map@k = Σ over hits of the precision at
    their rank / min(k, |y|); sibling-P@j counts a true label or a sibling of one.

    Parameters
    ----------
    ranking : of the rows.
    truth, seen : CSR [rows, Y].
    siblings : CSR [Y, Y], or None where the labels have no hierarchy.
    k : length of the lists.

    Returns
    -------
    Metrics by name, float64 [rows]; and which rows have labels, bool [rows]: the others' metrics say nothing.
    """
    labels = ranking.padded(k)
    truth = _without(truth, seen)
    hits = _contains(truth, labels)
    sizes = np.diff(truth.indptr)
    size = np.maximum(sizes, 1)
    rank = np.arange(1, k + 1)
    gain = 1 / np.log2(rank + 1)
    ideal = np.cumsum(gain)
    found = np.cumsum(hits, axis=1)
    dcg = np.cumsum(hits * gain, axis=1)
    table: dict[str, NDArray[np.float64]] = {}
    for j in cutoffs(k):
        table[f"p@{j}"] = found[:, j - 1] / j
        table[f"recall@{j}"] = found[:, j - 1] / size
        table[f"ndcg@{j}"] = dcg[:, j - 1] / ideal[np.minimum(j, size) - 1]
    table[f"map@{k}"] = (hits * found / rank).sum(axis=1) / np.minimum(k, size)
    if siblings is not None:
        family = np.cumsum(hits | _contains(_family(truth, siblings), labels), axis=1)
        table.update({f"sibling-p@{j}": family[:, j - 1] / j for j in cutoffs(k)})
    return table, sizes > 0


def sums(
    ranking: Ranking, truth: sp.csr_matrix, seen: sp.csr_matrix, siblings: sp.csr_matrix | None, k: int
) -> dict[str, float]:
    """Sums of `of_rows` over the rows that have labels, to be added up and divided by `means`.

    Returns
    -------
    Sums by name, each by `math.fsum` in the order of the rows, with `rows` and `scored` (rows that have labels).
    """
    table, scored = of_rows(ranking, truth, seen, siblings, k)
    result = {name: math.fsum(values[scored].tolist()) for name, values in table.items()}
    return {**result, "rows": float(len(ranking)), "scored": float(scored.sum())}


def add(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add the sums of several parts, each name by `math.fsum` in the order given."""
    several = list(parts)
    return {name: math.fsum(part[name] for part in several) for name in (several[0] if several else {})}


def means(total: Mapping[str, float]) -> dict[str, float]:
    """Metrics as fractions: means over the rows with labels, and P@j over all rows as `p@j-all`.

    Raises ValueError where no row has labels.
    """
    if not total["scored"]:
        raise ValueError("no example has labels, so there is nothing to score")
    metrics = {name: value / total["scored"] for name, value in total.items() if name not in ("rows", "scored")}
    metrics.update({f"{name}-all": total[name] / total["rows"] for name in total if name.startswith("p@")})
    return metrics


def _without(matrix: sp.csr_matrix, removed: sp.csr_matrix) -> sp.csr_matrix:
    row = row_of_entry(matrix)
    kept = entry_positions(removed, row, matrix.indices) < 0
    indptr = np.searchsorted(row[kept], np.arange(matrix.shape[0] + 1))
    return sp.csr_matrix((np.ones(int(kept.sum()), np.float32), matrix.indices[kept], indptr), shape=matrix.shape)


def _contains(truth: sp.csr_matrix, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    rows = np.repeat(np.arange(len(labels)), labels.shape[1])
    flat = labels.ravel()
    inside = flat >= 0
    hits = np.zeros(len(flat), bool)
    hits[inside] = entry_positions(truth, rows[inside], flat[inside]) >= 0
    return hits.reshape(labels.shape)


def _family(truth: sp.csr_matrix, siblings: sp.csr_matrix) -> sp.csr_matrix:
    family = sp.csr_matrix(structure(truth).astype(np.int32) @ structure(siblings).astype(np.int32))
    family.sort_indices()  # a sparse product leaves them as they come
    return family

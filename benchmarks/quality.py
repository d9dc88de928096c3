"""P@1 and recall@20 of factors, ours and a peer's; numpy and scipy alone, for the peer's environment has no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

# Rows whose scores stand in memory at once: 64 × 41,000 float32 are 10 MB, and stay in cache.
_ROWS = 64
# Columns of a group: 64 leave 640 maxima of 41,000 labels.
_DEEPEST = 64


def best_labels(
    embedding: NDArray[np.float32], V: NDArray[np.float32], bias: NDArray[np.float32], seen: sp.csr_matrix, k: int
) -> NDArray[np.int64]:
    """The k labels of the highest score Ux·Vy + bias_y of every row, best first, ties by label: int64 [rows, k].

    Parameters
    ----------
    embedding : Ux, float32 [rows, D].
    V, bias : float32 [Y, D] and [Y].
    seen : CSR [rows, Y], what may not be ranked; it leaves k labels or more.
    k : at most Y.
    """
    best = np.empty((len(embedding), k), dtype=np.int64)
    for start in range(0, len(embedding), _ROWS):
        rows = slice(start, start + _ROWS)
        scores = embedding[rows] @ V.T
        scores += bias
        barred = seen[rows]
        scores[np.repeat(np.arange(len(scores)), np.diff(barred.indptr)), barred.indices] = -np.inf
        best[rows] = _best_columns(scores, k)
    return best


def _best_columns(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns of the k largest of every row, largest first.

    The k-th largest of the maxima of disjoint groups of columns is no more than the k-th largest score: a bound that
    few columns reach, at the price of one maximum over all.
    """
    rows, width = scores.shape
    depth = max(1, min(_DEEPEST, width // (4 * k)))
    groups = width // depth
    maxima = scores[:, : depth * groups].reshape(rows, depth, groups).max(axis=1)
    bound = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    row, column = np.divmod(np.flatnonzero(scores >= bound[:, None]), width)
    order = np.lexsort((column, -scores[row, column], row))
    first = np.searchsorted(row, np.arange(rows))
    return column[order[first[:, None] + np.arange(k)]]


def recall(best: NDArray[np.int64], truth: sp.csr_matrix) -> float:
    """Mean over the rows with labels of hits / |y|. With one label a row and one prediction it is P@1."""
    sizes = np.diff(truth.indptr)
    return float(np.mean(_hits(best, truth)[sizes > 0] / sizes[sizes > 0]))


def precision(best: NDArray[np.int64], truth: sp.csr_matrix) -> float:
    """Mean over the rows with labels of hits / k."""
    return float(np.mean(_hits(best, truth)[np.diff(truth.indptr) > 0])) / best.shape[1]


def _hits(best: NDArray[np.int64], truth: sp.csr_matrix) -> NDArray[np.float32]:
    marks = sp.csr_matrix((np.ones(truth.nnz, np.float32), truth.indices, truth.indptr), shape=truth.shape)
    rows = np.repeat(np.arange(len(best)), best.shape[1])
    return np.asarray(marks[rows, best.ravel()]).reshape(best.shape).sum(axis=1)


def csr_of(arrays: Any, name: str) -> sp.csr_matrix:
    """A CSR matrix from the arrays NAME.data, NAME.indices, NAME.indptr and NAME.shape of an .npz file."""
    parts = (arrays[f"{name}.data"], arrays[f"{name}.indices"], arrays[f"{name}.indptr"])
    return sp.csr_matrix(parts, shape=tuple(arrays[f"{name}.shape"]))


def arrays_of(matrix: sp.csr_matrix, name: str) -> dict[str, NDArray[Any]]:
    """What `csr_of` reads."""
    shape = np.array(matrix.shape, dtype=np.int64)
    parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": shape}
    return {f"{name}.{part}": values for part, values in parts.items()}

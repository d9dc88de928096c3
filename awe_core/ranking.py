"""The k best labels of every example, best first, ties by label id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.rows import entry_positions, row_of_entry


@dataclass(frozen=True)
class Ranking:
    """Ranked labels of a block of examples; an example with fewer than k labels to rank has a shorter list.

    Attributes
    ----------
    indptr : int64 [rows + 1].
    labels : int32, the lists one after another, best first.
    scores : float32, parallel.
    """

    indptr: NDArray[np.int64]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def padded(self, k: int) -> NDArray[np.int64]:
        """Labels as a rectangle, int64 [rows, k], −1 where a list has ended."""
        lengths = np.minimum(np.diff(self.indptr), k)
        table = np.full((len(self), k), -1, np.int64)
        place = np.arange(k) < lengths[:, None]
        table[place] = self.labels[(self.indptr[:-1, None] + np.arange(k))[place]]
        return table


def rank_all(scores: NDArray[np.floating], excluded: sp.csr_matrix, k: int) -> Ranking:
    """Rank all labels but the excluded ones.

    Parameters
    ----------
    scores : [rows, Y]. Overwritten at the excluded labels.
    excluded : CSR [rows, Y], labels that are never ranked.
    k : length of the lists.
    """
    _refuse_non_finite(scores)
    scores[row_of_entry(excluded), excluded.indices] = -np.inf
    if k < scores.shape[1]:
        # All that reaches the k-th score stays, so that ties are cut by label id and not by the partition.
        kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
        kept = (scores >= kth[:, None]) & (scores > -np.inf)
    else:
        kept = scores > -np.inf
    row, label = np.nonzero(kept)
    return first_of_each(row, label, scores[row, label], len(scores), k)


def rank_candidates(scores: sp.csr_matrix, excluded: sp.csr_matrix, k: int) -> Ranking:
    """Rank the candidates alone: the stored entries of `scores` [rows, Y], zeros too, but the excluded ones."""
    _refuse_non_finite(scores.data)
    row = row_of_entry(scores)
    kept = entry_positions(excluded, row, scores.indices) < 0
    return first_of_each(row[kept], scores.indices[kept], scores.data[kept], scores.shape[0], k)


def stacked(rankings: Sequence[Ranking]) -> Ranking:
    """Rankings of runs of rows as one."""
    if len(rankings) == 1:
        return rankings[0]
    offsets = np.cumsum([0, *(len(one.labels) for one in rankings)])
    indptr = np.concatenate([[0], *(one.indptr[1:] + at for one, at in zip(rankings, offsets, strict=False))])
    empty_labels, empty_scores = np.zeros(0, np.int32), np.zeros(0, np.float32)
    return Ranking(
        indptr.astype(np.int64),
        np.concatenate([empty_labels, *(one.labels for one in rankings)]),
        np.concatenate([empty_scores, *(one.scores for one in rankings)]),
    )


def first_of_each(
    row: NDArray[np.integer], label: NDArray[np.integer], score: NDArray[np.floating], rows: int, k: int
) -> Ranking:
    """The k highest entries of every row, ties by label: entries are (row, label, score) in any order."""
    order = np.lexsort((label, -score, row))
    row, label, score = row[order], label[order], score[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < k
    indptr = np.searchsorted(row[kept], np.arange(rows + 1)).astype(np.int64)
    return Ranking(indptr, label[kept].astype(np.int32), score[kept].astype(np.float32))


def _refuse_non_finite(scores: NDArray[np.floating]) -> None:
    if not np.isfinite(scores).all():
        raise FloatingPointError(
            "a score is not finite; the model has diverged, train again with a lower train.learning_rate"
        )

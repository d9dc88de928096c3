"""Rows in lists around centroids: which list a row lies in, which it visits, and how many it has to visit.

A row lies in the list of its nearest centroid and visits the `nprobe` nearest lists, its own among them. Two rows are
compared if either visits the other's list (`visits`). So a neighbour is missed only where both lists are far from the
other row, and a recall is reached with about half the products that visits of one side would need.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

Vectors = NDArray[np.float32]
Lists = NDArray[np.int32]

SAMPLE_ROWS = 32
"""Rows of the sample that centroids are made from, by centroid."""

_PASSES = 4
"""Passes of k-means over the sample. Thirty, on 125,000 rows in 350 and 1,000 lists, made no recall cheaper."""

_BATCH_ROWS = 4096

_SCORED_ROWS = 1024
"""Rows whose scores with all centroids stand in memory at once: 8 MB for the lists of a million rows."""

_MARGIN = 3.0
"""Standard errors by which the recall of a sample exceeds what is wanted, so that the interval of another sample of as
many queries does too, most times. With 1,000 queries it costs a tenth more probes than a margin of 1.6."""


def list_count(rows: int) -> int:
    """How many lists: 2√rows.

    Assigning costs rows · lists products; visiting, rows · (rows of the lists visited), which falls ever more slowly as
    lists are added. On a million rows of grown CIFAR a row has to meet 10,700 others with 1,000 lists, 7,100 with 3,000
    and 4,600 with 8,000, so that about 2,000 cost least, and a second level of centroids would not pay.
    """
    return max(1, round(2 * math.sqrt(rows)))


@dataclass(frozen=True)
class InvertedLists:
    """The centroids of the lists.

    Attributes
    ----------
    centroids : float32 [lists, d].
    """

    centroids: Vectors

    @classmethod
    def fit(cls, sample: Vectors, lists: int, seed: int) -> Self:
        """Centroids of a sample by mini-batch k-means; the sample itself where it has no more rows than that.

        Parameters
        ----------
        sample : float32 [rows, d], one row or more, in an order that depends on nothing but the data.
        lists : at least 1. No more are made than the sample has rows.

        Raises
        ------
        ValueError : there is no row or no list.
        """
        if not len(sample) or lists < 1:
            raise ValueError(f"{lists} lists cannot be made of {len(sample)} rows")
        if len(sample) <= lists:
            return cls(np.ascontiguousarray(sample))
        model = MiniBatchKMeans(
            lists,
            init="random",
            n_init=1,
            max_iter=_PASSES,
            batch_size=_BATCH_ROWS,
            compute_labels=False,
            reassignment_ratio=0.0,
            random_state=seed,
        )
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than lists: some lists stay empty
            return cls(model.fit(sample).cluster_centers_.astype(np.float32))

    def __len__(self) -> int:
        return len(self.centroids)

    def assign(self, vectors: Vectors) -> Lists:
        """The list of every row: int32 [rows]."""
        return self.probes(vectors, 1)[:, 0]

    def probes(self, vectors: Vectors, nprobe: int) -> Lists:
        """The lists that every row visits, its own first: int32 [rows, at most as many as there are]."""
        width = min(nprobe, len(self))
        found = np.empty((len(vectors), width), np.int32)
        for run in runs(len(vectors), _SCORED_ROWS):
            found[run] = _largest(self._scores(vectors[run]), width)
        return found

    def ranks(self, vectors: Vectors, lists: NDArray[np.integer]) -> Lists:
        """How many lists are nearer to a row than some are, int32 [rows, m] as `lists`: below nprobe it visits them."""
        found = np.empty(lists.shape, np.int32)
        for run in runs(len(vectors), _SCORED_ROWS):
            scores = self._scores(vectors[run])
            asked = np.take_along_axis(scores, lists[run], axis=1)
            scores.sort(axis=1)
            for row, (ordered, these) in enumerate(zip(scores, asked, strict=True), run.start):
                found[row] = len(self) - np.searchsorted(ordered, these, side="right")
        return found

    def _scores(self, vectors: Vectors) -> Vectors:
        """xᵀc − ‖c‖²/2, larger where c is nearer: float32 [rows, lists]."""
        scores = vectors @ self.centroids.T
        scores -= np.einsum("ij,ij->i", self.centroids, self.centroids) / np.float32(2)
        return scores


def _largest(scores: Vectors, width: int) -> NDArray[np.intp]:
    """The columns of the largest scores of every row, the largest first and the others in no order."""
    first = scores.shape[1] - width
    chosen = scores.argpartition(first, axis=1)[:, first:] if first else np.indices(scores.shape)[1]
    best = np.take_along_axis(scores, chosen, axis=1).argmax(axis=1)[:, None]
    own = np.take_along_axis(chosen, best, axis=1)
    np.put_along_axis(chosen, best, chosen[:, :1].copy(), axis=1)
    chosen[:, :1] = own
    return chosen


def depths(cells: InvertedLists, queries: Vectors, neighbours: Vectors) -> Lists:
    """For every neighbour of a query how many lists must be visited, less one, for the two to be compared.

    Parameters
    ----------
    queries : float32 [queries, d].
    neighbours : float32 [queries, n, d].

    Returns
    -------
    int32 [queries, n].
    """
    shape, flat = neighbours.shape[:2], neighbours.reshape(-1, neighbours.shape[2])
    there = cells.ranks(queries, cells.assign(flat).reshape(shape))
    back = cells.ranks(flat, np.repeat(cells.assign(queries), shape[1])[:, None])
    return np.minimum(there, back.reshape(shape))


def fewest_probes(depth: Lists, present: NDArray[np.bool_], recall: float, lists: int) -> int:
    """The fewest lists to visit for a recall, and all where a sample's error leaves no fewer.

    Parameters
    ----------
    depth : int32 [queries, n], see `depths`.
    present : bool [queries, n]; whether there is such a neighbour.
    recall : in (0, 1]; it is exceeded by three standard errors of the sample's mean.
    """
    low, high = 1, lists
    while low < high:
        nprobe = (low + high) // 2
        mean, error = mean_and_error(shares((depth < nprobe) & present, present))
        low, high = (low, nprobe) if mean - _MARGIN * error >= recall else (nprobe + 1, high)
    return low


def shares(found: NDArray[np.bool_], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The recall of every query that has a neighbour: float64."""
    wanted = present.sum(axis=1)
    return np.asarray(found.sum(axis=1)[wanted > 0] / wanted[wanted > 0])


def mean_and_error(recalls: NDArray[np.float64]) -> tuple[float, float]:
    """The mean over queries, and its standard error; of no queries nothing is missed."""
    if not len(recalls):
        return 1.0, 0.0
    return float(recalls.mean()), float(recalls.std() / len(recalls) ** 0.5)


def runs(rows: int, length: int) -> Sequence[slice]:
    """Slices of `length` rows, the last one shorter."""
    return [slice(start, min(start + length, rows)) for start in range(0, rows, length)]

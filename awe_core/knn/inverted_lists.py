"""Rows in lists around centroids: which list a row lies in, which it visits, and how many it has to visit.

A row lies in the list of its nearest centroid and visits the `nprobe` nearest lists, its own among them. Two rows are
compared if either visits the other's list (`visits`). So a neighbour is missed only where both lists are far from the
other row, and a recall is reached with about half the products that visits of one side would need.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.kernels.kernel import KernelName
from awe_core.knn.metric import distances
from awe_core.rows import runs

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
        # scikit-learn's clusters take a second to import, which every command would pay.
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning

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

    def probes(self, vectors: Vectors, nprobe: int, kernel: KernelName = "numpy") -> Lists:
        """The lists that every row visits, its own first: int32 [rows, at most as many as there are].

        A row's depend on that row alone, whatever rows stand beside it, and not on the kernel: see `_doubt`. In what
        order the others come does.
        """
        width, largest = min(nprobe, len(self)), _LARGEST[kernel]
        found = np.empty((len(vectors), width), np.int32)
        for run in runs(len(vectors), _SCORED_ROWS):
            x = vectors[run]
            scores, doubt = self._scores(x), self._doubt(x)
            chosen, doubtful = largest(scores, width, 2 * doubt)
            some = np.flatnonzero(doubtful)
            if len(some):
                chosen[some] = self._decided(x[some], scores[some], width, 2 * doubt[some])
            found[run] = chosen
        return found

    def ranks(self, vectors: Vectors, lists: NDArray[np.integer]) -> Lists:
        """How many lists are nearer to a row than some are, int32 [rows, m] as `lists`: below nprobe it visits them."""
        found = np.empty(lists.shape, np.int32)
        for run in runs(len(vectors), max(1, _SCORED_ROWS // max(1, lists.shape[1]))):
            x, asked = vectors[run], lists[run]
            scores, doubt = self._scores(x), 2 * self._doubt(x)[:, None, None]
            above = scores[:, None] - np.take_along_axis(scores, asked, axis=1)[:, :, None]
            found[run] = np.count_nonzero(above > doubt, axis=2)
            row, place, other = np.nonzero(np.abs(above) <= doubt)
            own = asked[row, place]
            theirs, ours = self._exact(x, row, other), self._exact(x, row, own)
            nearer = (theirs > ours) | ((theirs == ours) & (other < own))
            np.add.at(found[run], (row[nearer], place[nearer]), 1)
        return found

    def _scores(self, vectors: Vectors) -> Vectors:
        """xᵀc − ‖c‖²/2, larger where c is nearer: float32 [rows, lists]."""
        scores = vectors @ self.centroids.T
        scores -= self._halves.astype(np.float32)
        return scores

    @cached_property
    def _halves(self) -> NDArray[np.float64]:
        """‖c‖²/2."""
        return np.asarray(np.einsum("ij,ij->i", self.centroids, self.centroids, dtype=np.float64) / 2)

    def _exact(self, vectors: Vectors, rows: NDArray[np.integer], lists: NDArray[np.integer]) -> NDArray[np.float64]:
        """The scores of pairs in float64, which decide: each depends on its row and centroid alone."""
        return np.asarray(-distances(vectors, rows, self.centroids, lists, "inner_product") - self._halves[lists])

    def _doubt(self, vectors: Vectors) -> Vectors:
        """How far a float32 score may be from the one in float64: [rows].

        The bits of a product of matrices depend on which rows stand in it. Scores nearer to each other than twice this
        are decided in float64, so that a row lies in the same list and visits the same ones in any shard.
        """
        longest = math.sqrt(2 * float(self._halves.max()))
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        unit = 1.02 * (vectors.shape[1] + 4) * float(np.finfo(np.float32).epsneg)
        return np.asarray(unit * longest * (lengths + longest) + 2.0**-100, np.float32)

    def _decided(self, x: Vectors, scores: Vectors, width: int, doubt: Vectors) -> NDArray[np.intp]:
        """`_largest` of doubtful rows: scores within doubt of the best and of the last are replaced by exact ones.

        That moves none across the last place but where it belongs. Of equal ones the smaller list is nearer.
        """
        mixed = scores.astype(np.float64)
        last = np.partition(mixed, len(self) - width, axis=1)[:, len(self) - width, None]
        best, near = mixed.max(axis=1, keepdims=True), doubt[:, None].astype(np.float64)
        row, column = np.nonzero((np.abs(mixed - last) <= near) | (mixed >= best - near))
        mixed[row, column] = self._exact(x, row, column)
        chosen, tied = _largest(mixed, width, np.zeros(len(x)))
        some = np.flatnonzero(tied)
        chosen[some] = np.argsort(-mixed[some], axis=1, kind="stable")[:, :width]
        return chosen


def _largest(
    scores: NDArray[np.floating], width: int, doubt: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(columns of the largest scores of every row, the largest first and the others in no order; whether they are none
    but those, and the first is, by more than a doubt)."""
    lists = scores.shape[1]
    first, doubtful = lists - width, np.zeros(len(scores), bool)
    if first:
        order = scores.argpartition([first - 1, first], axis=1)
        edge = np.take_along_axis(scores, order[:, first - 1 : first + 1], axis=1)
        doubtful |= edge[:, 1] - edge[:, 0] <= doubt
        chosen = order[:, first:].copy()
    else:
        chosen = np.indices(scores.shape)[1]
    if width > 1:
        values = np.take_along_axis(scores, chosen, axis=1)
        best = values.argmax(axis=1)[:, None]
        own = np.take_along_axis(chosen, best, axis=1)
        np.put_along_axis(chosen, best, chosen[:, :1].copy(), axis=1)
        chosen[:, :1] = own
        values.partition(width - 2, axis=1)
        doubtful |= values[:, -1] - values[:, -2] <= doubt
    return chosen, doubtful


def _largest_compiled(
    scores: NDArray[np.floating], width: int, doubt: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    from awe_core.knn.inverted_lists_numba import largest

    chosen, doubtful = np.empty((len(scores), width), np.intp), np.empty(len(scores), bool)
    largest(scores, width, doubt, chosen, doubtful)
    return chosen, doubtful


_LARGEST = {"numpy": _largest, "numba": _largest_compiled}


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
    recalls = np.sort(recalls)  # their order must not be seen in the last bits
    return float(recalls.mean()), float(recalls.std() / len(recalls) ** 0.5)

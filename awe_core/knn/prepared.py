"""Rows made ready for the join: distinct, mixed, centred, and augmented so that one product bounds every score.

The score s(i, j) of a pair is the larger, the nearer they are; a product of augmented float32 rows is an upper bound:

    euclidean, cosine   s = −‖xᵢ − xⱼ‖²/2 = xᵢᵀxⱼ − (‖xᵢ‖² + ‖xⱼ‖²)/2
                        [xᵢ, −(½ − κ)‖xᵢ‖², 1] · [xⱼ, 1, −(½ − κ)‖xⱼ‖²]
    inner_product       s = xᵢᵀxⱼ
                        [xᵢ, κ‖xᵢ‖, 0] · [xⱼ, ‖xⱼ‖, 0]

x is the point (`metric.points`), centred and scaled; for inner products it is scaled only. With u = 2⁻²⁴ the product of
d + 2 terms errs by at most (d + 2)u Σ|terms| in any order of summation. Of the same sum, rounding x makes 3u, rounding
the last columns u/2, and the two float32 subtractions that make a lower bound u each. Σ|terms| ≤ ‖xᵢ‖² + ‖xⱼ‖²
(‖xᵢ‖‖xⱼ‖ for the inner product). So with κ = 1.02 ((d + 10)u + (d + 4)2⁻⁵³), where the factor covers terms of second
order and the second summand the rounding of the float64 distances that decide in the end,

    s  ≤  product  ≤  s + 2κ(‖xᵢ‖² + ‖xⱼ‖²)        (s + 2κ‖xᵢ‖‖xⱼ‖),

and a lower bound of the score is  product − slopeᵢ · errorⱼ − ownᵢ. The same holds in float64 with u = 2⁻⁵³. What
underflows is covered by a constant. Rows so far out that float32 might overflow are not part of any product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import DTypeLike, NDArray

from awe_core.examples import Features
from awe_core.knn.metric import Metric, points, refuse_unusable
from awe_core.knn.sparse import SparseRows
from awe_core.rows import ranges, runs
from awe_core.threads import Run, in_turn

Floats = NDArray[Any]

_FARTHEST = 2.0**30
"""How far out a row may be for the product, in units of the centre's scale: its score is then far from overflowing."""

_RUN_ROWS = 2048
"""Rows that are widened to float64 at a time."""

_SAMPLE_ROWS = 4096
"""Rows from which a centre is made."""

_AXES, _POWERS, _CELLS = 4, 4, 3
"""Points of a cell stand together: so many axes, of which each is cut into so many runs of as many points."""

_SMALLEST = {4: (2.0**-90, 2.0**-120), 8: (2.0**-400, 2.0**-900)}
"""What is added to a length and to a bound against underflow, by the bytes of the type."""


@dataclass(frozen=True)
class Centre:
    """Where the origin of the products is. Any centre gives the right neighbours; a good one, tight bounds.

    Attributes
    ----------
    mean : float32 [d].
    scale : a power of two; multiplied by it, ordinary rows have coordinates of at most 1.
    axes : float64 [d, a]; along which points vary much. They say who stands beside whom.
    """

    mean: NDArray[np.float32]
    scale: float
    axes: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], metric: Metric) -> Centre:
        """The median of every coordinate over some of the rows, evenly spaced.

        The median, not the mean: a cluster far away then spoils the bounds of its own rows, and of no other.
        """
        some = vectors[:: max(1, len(vectors) // _SAMPLE_ROWS)]
        some = some[np.isfinite(some).all(axis=1) & some.any(axis=1)]
        if not some.size:
            return cls(np.zeros(vectors.shape[1], np.float32), 1.0, np.zeros((vectors.shape[1], 0)))
        sample = points(some, metric)
        mean = np.zeros(vectors.shape[1], np.float32)
        if metric != "inner_product":
            mean = np.median(sample, axis=0).astype(np.float32)
        sizes = np.abs(sample - mean).max(axis=1)
        typical = float(np.median(sizes)) or float(sizes.max())
        scale = float(2.0 ** -np.ceil(np.log2(typical))) if typical else 1.0
        x = np.asarray((sample - mean) * scale)
        return cls(mean, scale, _widest(x[~too_far(x)]))

    def centred(self, vectors: NDArray[np.float32], metric: Metric) -> NDArray[np.float64]:
        """The points of some rows around this centre, float64 [rows, d]. Each depends on its row alone, to the bit."""
        x = np.asarray(points(vectors, metric))
        if metric != "inner_product":
            x -= self.mean
        x *= self.scale
        return x


def too_far(x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which centred points are too far out for the product: bool [rows]."""
    return np.asarray(np.abs(x).max(axis=1, initial=0.0) > _FARTHEST)


def _widest(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """About the axes along which points vary most, float64 [d, at most `_AXES`], by powers of XᵀX."""
    axes = np.random.default_rng(0).standard_normal((x.shape[1], min(_AXES, x.shape[1])))
    for _ in range(_POWERS):
        axes = np.linalg.qr(x.T @ (x @ axes))[0]
    return axes


@dataclass(frozen=True)
class Augmented:
    """Augmented rows and what their bounds consist of: lower = product − slopeᵢ · errorⱼ − ownᵢ.

    Attributes
    ----------
    matrix : [rows, d + 2], as a row j of the product has it.
    error, slope, own : [rows].
    """

    matrix: Floats
    error: Floats
    slope: Floats
    own: Floats
    metric: Metric

    @classmethod
    def empty(cls, rows: int, d: int, metric: Metric, dtype: DTypeLike) -> Augmented:
        error, slope, own = np.empty((3, rows), dtype)
        return cls(np.empty((rows, d + 2), dtype), error, slope, own, metric)

    def fill(self, these: slice, x: NDArray[np.float64]) -> None:
        """Set some rows to the centred and scaled points x, float64 [these, d]."""
        rows, kappa = self.matrix[these], self.kappa
        rows[:, :-2] = x
        lengths = np.einsum("ij,ij->i", rows[:, :-2], rows[:, :-2], dtype=np.float64)
        length, constant = _SMALLEST[rows.dtype.itemsize]
        if self.metric == "inner_product":
            lengths = np.sqrt(lengths) + length
            rows[:, -2], rows[:, -1] = lengths, 0.0
            self.slope[these], self.own[these] = lengths, constant
        else:
            rows[:, -2], rows[:, -1] = 1.0, -(0.5 - kappa) * lengths
            self.slope[these], self.own[these] = 1.0, 2 * kappa * lengths + constant
        self.error[these] = 2 * kappa * lengths

    @property
    def kappa(self) -> float:
        d = self.matrix.shape[1] - 2
        return float(1.02 * ((d + 10) * np.finfo(self.matrix.dtype).epsneg + (d + 4) * 2.0**-53))

    def strip(self, these: slice) -> Floats:
        """A copy of some rows, as a row i of the product has them."""
        rows = self.matrix[these].copy()
        if self.metric == "inner_product":
            rows[:, -2] *= rows.dtype.type(self.kappa)
        else:
            rows[:, -2:] = rows[:, :-3:-1].copy()
        return rows


class Prepared:
    """Dense rows of one side of the join, or a shard of them.

    Identical rows are joined once, as one *point*, and told apart again in the end. Points stand in cells of the space,
    a cell beside another, and in a cell in the order of a hash of their bytes, whatever order the rows came in: so a
    point meets those near it early, and few others reach what it then knows. That takes a third off the selection's
    time on embeddings.

    Memory of a row: 4(d + 2) bytes of the augmented matrix and some 60 of tables beside the vectors, which are kept.

    Parameters
    ----------
    ids : int64 [rows], distinct.
    vectors : float32 [rows, d].
    metric : what near means.
    centre : both sides of a join have the same one. None makes one from these rows.
    run : does the work of runs of rows, in threads of the caller's.

    Attributes
    ----------
    points : how many distinct rows.
    first : intp [points]; a row that holds the point.
    group : intp [rows]; the point that a row holds.
    rank : int64 [points]; the place of the smallest id of a point's rows among those of all points. Ties are decided by
        it as they would be by the ids.
    sizes : int64 [points]; how many rows hold the point of each rank.
    near : points in the products; those after them are too far out.
    augmented : of the near points.

    Raises
    ------
    FloatingPointError : a vector is not finite or, for the cosine, zero; names its id.
    ValueError : the centre has another dimension.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        metric: Metric = "euclidean",
        centre: Centre | None = None,
        run: Run = in_turn,
    ) -> None:
        run(lambda these: refuse_unusable(ids[these], vectors[these], metric), runs(len(ids), _RUN_ROWS))
        self.ids, self.vectors, self.metric = np.asarray(ids, np.int64), vectors, metric
        self.centre = Centre.of(vectors, metric) if centre is None else centre
        if len(self.centre.mean) != vectors.shape[1]:
            raise ValueError(f"the vectors have {vectors.shape[1]} dimensions and the centre {len(self.centre.mean)}")
        self.first, self.group = _distinct(vectors, run)
        self._arrange(run)
        self._augment(run)
        self._number()

    def __len__(self) -> int:
        return len(self.ids)

    def alike(self, ids: NDArray[np.int64], vectors: Features) -> Prepared:
        """Other rows, prepared to meet these; sparse ones are taken as dense."""
        dense = vectors if isinstance(vectors, np.ndarray) else vectors.toarray()
        return Prepared(ids, dense, self.metric, self.centre)

    @property
    def points(self) -> int:
        return len(self.first)

    def _arrange(self, run: Run) -> None:
        """Put points of a cell beside each other, and those too far out last."""
        places, out = np.empty((self.points, self.centre.axes.shape[1])), np.empty(self.points, bool)

        def place(these: slice) -> None:
            x = self.centre.centred(self.vectors[self.first[these]], self.metric)
            out[these] = too_far(x)
            x[out[these]] = 0.0
            places[these] = x @ self.centre.axes

        run(place, runs(self.points, _RUN_ROWS))
        order = np.lexsort((_cells(places), out))
        where = np.empty_like(order)
        where[order] = np.arange(len(order))
        self.first, self.group = self.first[order], where[self.group]
        self.near = self.points - int(np.count_nonzero(out))

    def _augment(self, run: Run) -> None:
        self.augmented = Augmented.empty(self.near, self.vectors.shape[1], self.metric, np.float32)

        def fill(these: slice) -> None:
            self.augmented.fill(these, self.centre.centred(self.vectors[self.first[these]], self.metric))

        run(fill, runs(self.near, _RUN_ROWS))

    def _number(self) -> None:
        smallest = np.full(self.points, np.iinfo(np.int64).max)
        np.minimum.at(smallest, self.group, self.ids)
        order = np.argsort(smallest, kind="stable")
        self.rank = np.empty(self.points, np.int64)
        self.rank[order] = np.arange(self.points)
        rank = self.rank[self.group]
        self._members = self.ids[np.lexsort((self.ids, rank))]
        self.sizes = np.bincount(rank, minlength=self.points)
        self._starts = np.cumsum(self.sizes) - self.sizes

    def smallest(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The smallest ids of the rows that hold the points of some ranks."""
        return np.asarray(self._members[self._starts[ranks]])

    def members(self, ranks: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(ids, how many of each) of the rows that hold the points of some ranks: the `most` smallest ids of each."""
        counts = np.minimum(self.sizes[ranks], most)
        return self._members[ranges(self._starts[ranks], counts)], counts


Base = Prepared | SparseRows
"""Rows that can be searched."""


def prepare(
    ids: NDArray[np.int64],
    vectors: Features,
    metric: Metric = "euclidean",
    centre: Centre | None = None,
    run: Run = in_turn,
) -> Base:
    """Rows ready for a search: dense ones, or CSR ones, whose products are float64 and need no centre."""
    if sp.issparse(vectors):
        return SparseRows(ids, vectors, metric)
    return Prepared(ids, vectors, metric, centre, run)


def _cells(places: NDArray[np.float64]) -> NDArray[np.intp]:
    """The cell of every point, by its places on the axes. Numbers that follow each other are those of neighbours."""
    cell = np.zeros(len(places), np.intp)
    for of_axis in places.T if len(places) else ():
        bounds = np.quantile(of_axis[:: max(1, len(of_axis) // _SAMPLE_ROWS)], np.arange(1, _CELLS) / _CELLS)
        place = np.searchsorted(bounds, of_axis)
        cell = cell * _CELLS + np.where(cell % 2, _CELLS - 1 - place, place)
    return cell


def _distinct(vectors: NDArray[np.float32], run: Run) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(first, group) of the distinct rows, in the order of their hashes.

    Rows with equal hashes are compared. Equal rows that a collision keeps apart are two points, which is right as well.
    """
    several = run(lambda these: _hashes(vectors[these]), runs(len(vectors), _RUN_ROWS))
    hashes = np.concatenate([np.zeros(0, np.uint64), *several])
    order = np.argsort(hashes, kind="stable")
    new = np.ones(len(vectors), bool)
    maybe = 1 + np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    for these in runs(len(maybe), _RUN_ROWS):
        some = maybe[these]
        new[some] = (vectors[order[some]] != vectors[order[some - 1]]).any(axis=1)
    group = np.empty(len(vectors), np.intp)
    group[order] = np.cumsum(new) - 1
    return order[new], group


def _hashes(vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A multiply-and-add hash of every row's bytes, −0 taken for 0; its bits mixed as in splitmix64."""
    words = np.ascontiguousarray(vectors + np.float32(0)).view(np.uint32).astype(np.uint64)
    factors = np.random.default_rng(0).integers(1 << 63, size=vectors.shape[1], dtype=np.uint64) * np.uint64(2)
    hashes: NDArray[np.uint64] = np.einsum("ij,j->i", words, factors + np.uint64(1))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes ^= hashes >> np.uint64(shift)
        hashes *= np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(31))

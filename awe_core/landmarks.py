"""x in the space of a kernel, by landmarks: a linear model of φ(x) is one of the kernel, and no longer linear in x.

Of a sample of train, the landmarks l₁ … lₘ, with k(x, l) = exp(−γ ‖x − l‖²), Kᵢⱼ = k(lᵢ, lⱼ) = VΛVᵀ:

    φ(x) = Λ^(−½) Vᵀ [k(x, l₁), …, k(x, lₘ)]ᵀ,   of the r largest eigenvalues

so that φ(x)ᵀφ(x') approximates k(x, x'), exactly between landmarks where r = m (Nyström's method; Williams and Seeger,
2001). The x of the 2013 paper are of that kind: kernel principal components of images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.utils.extmath import row_norms
from threadpoolctl import threadpool_limits

from awe_core.arrangement import hash_fractions, hash_ids
from awe_core.examples import Features

_STREAM = "landmarks"
_ROWS = 1024
"""Mapped at once: [rows, m] float64 beside x."""
_ROUNDING = 1e-10
"""Of the largest eigenvalue, or norm: what is below it is no eigenvalue and no distance, and must not be divided by."""
_DEVIATIONS = 6
"""By which the sample that is drawn exceeds the landmarks that are wanted: of 10⁹ samples one has too few."""


def in_sample(seed: int, ids: NDArray[np.int64], count: int, rows: int) -> NDArray[np.bool_]:
    """Whether a row may be one of `count` landmarks: bool, as `ids`, which are some of so many rows."""
    drawn = hash_fractions(seed, _STREAM, ids) * rows < count + _DEVIATIONS * math.sqrt(count)
    return np.asarray(drawn)


@dataclass(frozen=True)
class Landmarks:
    """φ, as fitted on train.

    Attributes
    ----------
    points : float32 [m, d], the landmarks, dense or CSR.
    projection : float64 [m, r], V Λ^(−½); columns of 0 where there is no eigenvalue left.
    gamma : γ, in 1 / (unit of x)².
    """

    points: Features
    projection: NDArray[np.float64]
    gamma: float

    @classmethod
    def fit(
        cls, seed: int, ids: NDArray[np.int64], features: Features, count: int, components: int, gamma: float
    ) -> Landmarks:
        """Fit φ on a sample of train.

        Memory: three matrices of count² float64.

        Parameters
        ----------
        seed : of the hash of the ids by which landmarks are chosen.
        ids, features : int64 [rows] and x [rows, d] of the sample, in any order.
        count : m, 2 or more; all rows where there are fewer.
        components : r.
        gamma : γ in units of 1 / (the median of ‖lᵢ − lⱼ‖²).

        Raises
        ------
        ValueError
            There are fewer rows than components, or most landmarks are alike.
        """
        order = np.lexsort((ids, hash_ids(seed, _STREAM, ids)))[:count]
        last = len(order) - 1
        if last < 1 or last + 1 < components:
            raise ValueError(
                f"{last + 1:,} rows of train make no {components:,} components; lower data.components, or leave "
                "data.landmarks out"
            )
        points = features[order]
        moved = _moved(points, _centre(points))
        with threadpool_limits(limits=1, user_api="blas"):  # or the last bits depend on the number of threads
            median = float(np.median(squareform(euclidean_distances(moved, squared=True), checks=False)))
            if not median > _ROUNDING * float(np.median(row_norms(moved, squared=True))):
                raise ValueError(
                    f"half of the pairs of {len(order):,} landmarks, or more, have the same x; leave out rows that "
                    "stand there again and again, or data.landmarks"
                )
            kernel = rbf_kernel(moved, gamma=gamma / median)
            values, vectors = scipy.linalg.eigh(
                kernel, subset_by_index=(last - components + 1, last), overwrite_a=True, check_finite=False
            )
        values, vectors = values[::-1], vectors[:, ::-1]
        # LAPACK may give a vector or its negative.
        signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(components)])
        kept = values > _ROUNDING * values[0]
        scale = np.where(kept, 1 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
        return cls(points, np.ascontiguousarray(vectors * (signs * scale)), gamma / median)

    @property
    def dimension(self) -> int:
        """r."""
        return int(self.projection.shape[1])

    def map(self, features: Features) -> NDArray[np.float32]:
        """φ(x) of a block of rows, [rows, d]: float32 [rows, r]."""
        found = np.empty((features.shape[0], self.dimension), dtype=np.float32)
        with threadpool_limits(limits=1, user_api="blas"):
            for start in range(0, len(found), _ROWS):
                some = slice(start, start + _ROWS)
                moved = _moved(features[some], self._centre)
                found[some] = rbf_kernel(moved, self._moved_points, self.gamma) @ self.projection
        return found

    @cached_property
    def _centre(self) -> NDArray[np.float64] | None:
        return _centre(self.points)

    @cached_property
    def _moved_points(self) -> NDArray[np.float64] | sp.csr_matrix:
        return _moved(self.points, self._centre)


def _centre(points: Features) -> NDArray[np.float64] | None:
    """The mean of dense landmarks. Distances are ‖x‖² + ‖l‖² − 2xᵀl, of which nothing is left far from 0."""
    return None if sp.issparse(points) else points.mean(axis=0, dtype=np.float64)


def _moved(features: Features, centre: NDArray[np.float64] | None) -> NDArray[np.float64] | sp.csr_matrix:
    """x − centre; sparse x, which that would fill, as it is."""
    return features.astype(np.float64) if centre is None else features - centre

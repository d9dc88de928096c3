"""The low-rank affinity: a matrix over (feature, label) pairs, the sigmoid of a product of two tensors of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from awe_core.affinities.feature_products import FeatureProducts, PoolProducts, row_products
from awe_core.affinities.joint import Joint, JointGradient, Point
from awe_core.kernels.feature_runs import FeatureRuns, Floats, Index
from awe_core.kernels.kernel import Kernel


@dataclass(frozen=True)
class LowRank(Joint):
    """f(x, y) = Σᵢ σ(gᵢᵀh_y) zᵢ, zᵢ = xᵢUᵢᵀVy (Weston, Weiss, Yee 2014), g [d, rank] and h [Y, rank] its own.

    Attributes
    ----------
    rank : 1 or more. g and h start normal, with mean 0 and standard deviation 1/√rank, as U and V do.
    """

    kind: ClassVar[str] = "low-rank"
    rank: int = 8

    def __post_init__(self) -> None:
        if self.rank < 1 or self.rank != int(self.rank):
            raise ValueError(f"affinity.rank must be 1 or more and whole, not {self.rank}")

    @property
    def compiled(self) -> bool:
        return True

    @property
    def width(self) -> int:
        return self.rank

    def first_tensors(self, dimension: int, labels: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        g = rng.standard_normal((dimension, self.rank), dtype=np.float32)
        h = rng.standard_normal((labels, self.rank), dtype=np.float32)
        return {"g": g * np.float32(self.rank**-0.5), "h": h * np.float32(self.rank**-0.5)}

    def scores(self, x: FeatureRuns, at: Point, labels: Index, kernel: Kernel) -> Floats:
        z, w = self._of_rows(x, at, labels, kernel)
        return x.sums(expit(w.z) * z.z)

    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        return _gradient(*self._of_rows(x, at, labels, kernel), weight[x.row])

    def pool_scores(self, x: FeatureRuns, U: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        z, w = self._of_pool(x, U, at, pool)
        if kernel.feature_blocks:
            return kernel.feature_blocks.joined(x, z.of_touched, w.of_touched, self.largest)
        return x.sums(expit(w.z) * z.z)

    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        return _gradient(*self._of_pool(x, at.U[x.touched], at, pool), weight[x.row])

    def _of_rows(
        self, x: FeatureRuns, at: Point, labels: Index, kernel: Kernel
    ) -> tuple[FeatureProducts, FeatureProducts]:
        """The products zᵢ and gᵢᵀh_y of every row with labels of its own."""
        w = row_products(x, at.own["g"], at.own["h"], labels, np.ones_like(x.value), kernel)
        return row_products(x, at.U, at.V, labels, x.value, kernel), w

    def _of_pool(self, x: FeatureRuns, U: Floats, at: Point, pool: slice | Index) -> tuple[PoolProducts, PoolProducts]:
        """The same with all labels of a pool."""
        w = PoolProducts(x, at.own["g"][x.touched], at.own["h"], pool, np.ones_like(x.value))
        return PoolProducts(x, U, at.V, pool, x.value), w


def _gradient(z: FeatureProducts, w: FeatureProducts, weight: Floats) -> JointGradient:
    """Gradient of Σ weight · σ(w) z; `weight` is in the shape of z."""
    G = expit(w.z)
    by_g, by_h = w.through(weight * G * (1 - G) * z.z)
    return JointGradient(*z.through(weight * G), {"g": by_g, "h": by_h})

"""The low-rank affinity: a matrix over (feature, label) pairs, the sigmoid of a product of two tensors of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from awe_core.affinities.joint import (
    FeatureRuns,
    Floats,
    Index,
    Joint,
    JointGradient,
    Point,
    products,
    through_pool,
    through_products,
)
from awe_core.kernels import Kernel


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
        if self.rank < 1:
            raise ValueError(f"affinity.rank must be 1 or more, not {self.rank}")

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
        z = products(x.embedded(at.U), at.V, labels[x.row], kernel)
        w = products(at.own["g"][x.feature], at.own["h"], labels[x.row], kernel)
        return x.sums(expit(w) * z)

    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        embedded, g, h = x.embedded(at.U), at.own["g"][x.feature], at.own["h"]
        z = products(embedded, at.V, labels[x.row], kernel)
        G = expit(products(g, h, labels[x.row], kernel))
        by_z = weight[x.row] * G
        U, V = through_products(x, by_z, embedded, x.value, at.V, labels)
        by_g, by_h = through_products(x, by_z * (1 - G) * z, g, np.ones_like(x.value), h, labels)
        return JointGradient(U, V, {"g": by_g, "h": by_h})

    def pool_scores(self, x: FeatureRuns, embedded: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        z = embedded @ at.V[pool].T
        w = at.own["g"][x.feature] @ at.own["h"][pool].T
        if kernel.feature_blocks:
            return kernel.feature_blocks.joined(x.starts, x.dimension, z, w, self.largest)
        return x.sums(expit(w) * z)

    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        embedded, V, g, h = x.embedded(at.U), at.V[pool], at.own["g"][x.feature], at.own["h"][pool]
        G = expit(g @ h.T)
        by_z = weight[x.row] * G
        U, V_parts = through_pool(x, by_z, embedded, x.value, V, pool)
        by_w = by_z * (1 - G) * (embedded @ V.T)
        by_g, by_h = through_pool(x, by_w, g, np.ones_like(x.value), h, pool)
        return JointGradient(U, V_parts, {"g": by_g, "h": by_h})

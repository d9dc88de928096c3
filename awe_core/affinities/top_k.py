"""The top-k affinity: how well the best features of x fit the label."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from awe_core.affinities.joint import OfFeatures
from awe_core.affinities.kth_largest import kth_largest
from awe_core.kernels.feature_runs import FeatureRuns, Floats


class OfLargest(OfFeatures):
    """f(x, y) = G · Σᵢ zᵢ, G the sum of the largest zᵢ = xᵢUᵢᵀVy (Weston, Weiss, Yee 2014).

    All d features are compared, and those that x lacks have zᵢ = 0: where there are enough of them G is never negative.
    """

    of_features: ClassVar[bool] = True

    @property
    @abstractmethod
    def largest(self) -> int:
        """How many are added up."""

    def joined(self, x: FeatureRuns, z: Floats) -> Floats:
        return self._affinity(x, z, kth_largest(x, z, self.largest)) * x.sums(z)

    def slopes(self, x: FeatureRuns, z: Floats) -> Floats:
        kth = kth_largest(x, z, self.largest)
        of_affinity = x.sums(z)[x.row] * (z >= kth[x.row])
        return self._affinity(x, z, kth)[x.row] + of_affinity

    def _affinity(self, x: FeatureRuns, z: Floats, kth: Floats) -> Floats:
        """Equal ones are interchangeable, so what lies above the k-th is added to k times it."""
        above = z - kth[x.row]
        above[above < 0] = 0
        lacking = x.dimension - np.diff(x.starts)[:, None].astype(z.dtype)
        return x.sums(above) + lacking * np.maximum(-kth, 0) + min(self.largest, x.dimension) * kth


@dataclass(frozen=True)
class TopK(OfLargest):
    """G is the sum of the k largest.

    Attributes
    ----------
    k : 1 or more; from d on all are added up.
    """

    kind: ClassVar[str] = "top-k"
    k: int = 5

    def __post_init__(self) -> None:
        if self.k < 1 or self.k != int(self.k):
            raise ValueError(f"affinity.k must be 1 or more and whole, not {self.k}")

    @property
    def largest(self) -> int:
        return self.k

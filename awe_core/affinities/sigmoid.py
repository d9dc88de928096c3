"""The sigmoid affinity: every feature is weighed by the sigmoid of its own score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from awe_core.affinities.joint import OfFeatures
from awe_core.kernels.feature_runs import FeatureRuns, Floats


@dataclass(frozen=True)
class Sigmoid(OfFeatures):
    """f(x, y) = Σᵢ σ(zᵢ) zᵢ, zᵢ = xᵢUᵢᵀVy (Weston, Weiss, Yee 2014)."""

    kind: ClassVar[str] = "sigmoid"

    def joined(self, x: FeatureRuns, z: Floats) -> Floats:
        return x.sums(expit(z) * z)

    def slopes(self, x: FeatureRuns, z: Floats) -> Floats:
        G = expit(z)
        return np.asarray(G + z * G * (1 - G))

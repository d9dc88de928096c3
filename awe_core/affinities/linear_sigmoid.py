"""The linear sigmoid affinity: G is the linear score, cut off below β and above α."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from awe_core.affinities.joint import OfScore


@dataclass(frozen=True)
class LinearSigmoid(OfScore):
    """f(x, y) = clip(z, β, α) · z, z = xᵀUᵀVy (Weston, Weiss, Yee 2014).

    Attributes
    ----------
    alpha, beta : α > β. With β = 0 a pair whose score is below 0 has no gradient until others have raised it: a warm
        start, whose true pairs lie above, serves it better than a cold one.
    """

    kind: ClassVar[str] = "linear-sigmoid"
    alpha: float = 1.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.alpha) and np.isfinite(self.beta) and self.alpha > 0 and self.alpha > self.beta):
            raise ValueError(
                f"affinity.alpha must be above 0 and above affinity.beta, not {self.alpha} with a beta of {self.beta}"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        return self.beta, self.alpha

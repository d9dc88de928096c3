"""The constant affinity, G = c: Wsabie but for a factor, and so the check of all that is built around the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from awe_core.affinities.joint import OfScore


@dataclass(frozen=True)
class Constant(OfScore):
    """f(x, y) = c · xᵀUᵀVy.

    Attributes
    ----------
    c : more than 0.
    """

    kind: ClassVar[str] = "constant"
    c: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.c < np.inf:
            raise ValueError(f"the constant of an affinity must be a positive number, not {self.c}")

    @property
    def bounds(self) -> tuple[float, float]:
        return self.c, self.c

"""The max affinity: how well the best feature of x fits the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from awe_core.affinities.top_k import OfLargest


@dataclass(frozen=True)
class Max(OfLargest):
    """f(x, y) = maxᵢ(zᵢ) · Σᵢ zᵢ."""

    kind: ClassVar[str] = "max"

    @property
    def largest(self) -> int:
        return 1

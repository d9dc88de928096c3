"""The linear model without an embedding: what every baseline that learns a full d × Y matrix ends in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from awe_core.examples import BlockSource, Features
from awe_core.metrics import add, length_of, means, sums
from awe_core.ranking import rank_all


@dataclass(frozen=True)
class Linear:
    """scores = x W + intercept: W float32 [d, Y], intercept float32 [Y]."""

    weights: NDArray[np.float32]
    intercept: NDArray[np.float32]

    def scores(self, features: Features) -> NDArray[np.float32]:
        """float32 [rows, Y]."""
        return np.asarray(features @ self.weights) + self.intercept


def quality(scores: Callable[[Features], NDArray[np.floating]], validation: BlockSource, metric: str) -> float:
    """`metric` of all labels ranked by a function of the features, [rows, d] → [rows, Y]; 0 where no row has labels."""
    k, parts = length_of(metric), []
    for index in range(len(validation.rows_of_block)):
        block = validation[index]
        parts.append(sums(rank_all(scores(block.features), block.seen, k), block.labels, block.seen, None, k))
    total = add(parts)
    return means(total)[metric] if total.get("scored") else 0.0

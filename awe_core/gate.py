"""The gate s·G + b by which the affinity enters f."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from awe_core.examples import BlockSource
from awe_core.rows import entry_positions, row_of_entry


@dataclass(frozen=True)
class Gate:
    """f(x, y) = (s·G(x, y) + b)·(xᵀUᵀVy + c).

    Attributes
    ----------
    scale : s > 0, see `affinity_scale`.
    bias : b ≥ 0. With b = 0 an example's labels are its candidates; with b > 0 every label has a gate of b or more.
    """

    scale: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"the scale of the affinity must be a positive number, not {self.scale}")
        if not (math.isfinite(self.bias) and self.bias >= 0):
            raise ValueError(f"affinity.bias must be 0 or more, not {self.bias}")

    def of(self, affinity: NDArray[np.float32]) -> NDArray[np.float32]:
        """The gate of stored affinities, in their shape."""
        return affinity * np.float32(self.scale) + np.float32(self.bias)


def affinity_scale(source: BlockSource) -> float:
    """The scale s = 1 / mean of G(x, y) over the true pairs, so that margin and learning rate keep their meaning.

    A true label that is no candidate counts 0.

    Parameters
    ----------
    source : the training blocks, with their affinity.

    Raises
    ------
    ValueError
        A block has no affinity, there is no pair, or G is 0 on all of them.
    """
    pairs = 0
    sums: list[float] = []
    for index in range(len(source.rows_of_block)):
        block = source[index]
        if block.affinity is None:
            raise ValueError(f"block {index} has no affinity: a scale needs the examples of the reweighted set")
        at = entry_positions(block.affinity, row_of_entry(block.labels), block.labels.indices)
        sums.append(math.fsum(block.affinity.data[at[at >= 0]].tolist()))
        pairs += len(at)
    if not pairs:
        raise ValueError("no training example has a label: there is nothing to scale the affinity by")
    total = math.fsum(sums)
    if not total > 0:
        raise ValueError(
            "the affinity is 0 on every training pair: raise affinity.n or lower affinity.lambda_x; of clusters raise "
            "affinity.leaf_rows"
        )
    return pairs / total

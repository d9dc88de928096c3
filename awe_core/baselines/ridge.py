"""Ridge regression on the label indicators: the linear baseline without an embedding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.baselines.linear import Linear, quality
from awe_core.examples import Block, BlockSource

PENALTIES = tuple(10.0**power for power in range(-3, 4))
"""Penalties tried, as multiples of the mean of the diagonal of the features' scatter matrix."""

BYTES_AT_MOST = 4 * 2**30


def bytes_needed(dimension: int, labels: int) -> int:
    """Bytes at the peak of a fit, while the scatter matrix is centred: 8 (3d² + 2dY)."""
    return 8 * dimension * (3 * dimension + 2 * labels)


@dataclass(frozen=True)
class RidgeFits:
    """The solutions of one data set for any penalty, from one eigendecomposition of its scatter matrix.

    With `leave_one_out` x is a list of labels (feature j stands for label j), and a label is regressed on all features
    but its own, the penalty that of them all: EASE (Steck 2019), weighted and with an intercept.
    """

    values: NDArray[np.float64]
    rotated: NDArray[np.float64]
    vectors: NDArray[np.float64]
    mean_x: NDArray[np.float64]
    mean_y: NDArray[np.float64]
    leave_one_out: bool = False

    @classmethod
    def fit(cls, blocks: Iterable[Block], dimension: int, labels: int, leave_one_out: bool = False) -> RidgeFits:
        """Accumulate XᵀX and XᵀY in float64, block by block, the weight column as weights, and centre both.

        Memory: `bytes_needed` and one block. Raises ValueError where that is over 4 GiB or there is no row.
        """
        if bytes_needed(dimension, labels) > BYTES_AT_MOST:
            raise ValueError(
                f"ridge needs {bytes_needed(dimension, labels):,} bytes for d = {dimension} and Y = {labels}; "
                "leave it out of evaluate.methods"
            )
        gram, cross = np.zeros((dimension, dimension)), np.zeros((dimension, labels))
        sum_x, sum_y, total = np.zeros(dimension), np.zeros(labels), 0.0
        for block in blocks:
            x = (block.features if sp.issparse(block.features) else np.asarray(block.features)).astype(np.float64)
            y = sp.csr_matrix(
                (np.ones(block.labels.nnz), block.labels.indices, block.labels.indptr), shape=block.labels.shape
            )
            weight = block.weight.astype(np.float64)
            weighted = sp.diags_array(weight) @ x if sp.issparse(x) else x * weight[:, None]
            product: Any = weighted.T @ x
            gram += product.toarray() if sp.issparse(product) else product
            cross += (y.T @ weighted).T if not sp.issparse(x) else (weighted.T @ y).toarray()
            sum_x += np.asarray(weighted.sum(axis=0)).ravel()
            sum_y += np.asarray((sp.diags_array(weight) @ y).sum(axis=0)).ravel()
            total += float(weight.sum())
        if not total:
            raise ValueError("there is no training example with a weight above 0")
        mean_x, mean_y = sum_x / total, sum_y / total
        gram -= total * np.outer(mean_x, mean_x)
        cross -= total * np.outer(mean_x, mean_y)
        values, vectors = scipy.linalg.eigh(gram, overwrite_a=True)
        return cls(np.maximum(values, 0.0), vectors.T @ cross, vectors, mean_x, mean_y, leave_one_out)

    def solve(self, penalty: float) -> Linear:
        """The solution for a penalty in units of the mean eigenvalue."""
        ridge = penalty * max(float(self.values.mean()), np.finfo(np.float64).tiny)
        damped = self.values + ridge
        weights = self.vectors @ (self.rotated / damped[:, None])
        if self.leave_one_out:
            # With P = (XᵀX + λ)⁻¹ the best w_y whose own entry is 0 is w_y − P_y · w_yy / P_yy; here it is λP, which
            # stays finite where all x are the same.
            moved = (self.vectors * (ridge / damped)) @ self.vectors.T[:, : weights.shape[1]]
            moved *= weights.diagonal() / moved.diagonal()
            weights -= moved
            np.fill_diagonal(weights, 0.0)  # but for rounding it is
        intercept = self.mean_y - self.mean_x @ weights
        return Linear(weights.astype(np.float32), intercept.astype(np.float32))


def choose_penalty(
    fits: RidgeFits, validation: BlockSource, metric: str, penalties: Sequence[float] = PENALTIES
) -> float:
    """The penalty with the best `metric` on validation; the larger one of equals."""
    return max((quality(fits.solve(penalty).scores, validation, metric), penalty) for penalty in penalties)[1]

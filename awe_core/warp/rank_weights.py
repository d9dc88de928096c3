"""L(k), what a pair whose label has an estimated rank of k weighs: Σ_{j ≤ k} α_j with α₁ ≥ α₂ ≥ … ≥ 0."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Alpha = Literal["1/j", "constant", "top-k"]


def rank_losses(alphas: NDArray[np.float64]) -> NDArray[np.float64]:
    """L(k) = Σ_{j ≤ k} α_j for k = 0 … len(alphas); α₁ ≥ α₂ ≥ … ≥ 0."""
    return np.concatenate(([0.0], np.cumsum(alphas)))


def harmonic_losses(labels: int) -> NDArray[np.float64]:
    """L(k) = Σ_{j ≤ k} 1 / j for k = 0 … Y: the paper's choice."""
    return rank_losses(1.0 / np.arange(1, labels + 1))


def losses_named(alpha: Alpha, labels: int, top_k: int = 1) -> NDArray[np.float64]:
    """The table L of a configuration, for k = 0 … Y.

    Parameters
    ----------
    alpha : "1/j"; "constant", αⱼ = 1 / (Y − 1), under which the loss is 1 − AUC with a hinge; "top-k", αⱼ = 1 / top_k
        for j ≤ top_k and 0 after, under which a label below rank top_k weighs no more than one at it.
    labels : Y.
    top_k : for "top-k" alone.

    Returns
    -------
    float64 [Y + 1].
    """
    if alpha == "1/j":
        return harmonic_losses(labels)
    if alpha == "constant":
        return rank_losses(np.full(labels, 1.0 / max(1, labels - 1)))
    return np.minimum(np.arange(labels + 1), top_k) / top_k

"""The model: U embeds an example, V a label."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from awe_core.arrangement import generator
from awe_core.examples import Features


@dataclass(frozen=True)
class Model:
    """The linear function f(x, y) = xᵀUᵀVy, and what a warm start needs beside it.

    Attributes
    ----------
    U : float32 [d, D], one row a feature.
    V : float32 [Y, D], one row a label.
    offset : c of f = (s·G + b)·(xᵀUᵀVy + c); of no effect where there is no affinity.
    accumulators : AdaGrad's sums of squared gradients by parameter ("U", "V", "offset"), each in the shape of its
        parameter; empty for SGD. Carried over by a warm start.
    """

    U: NDArray[np.float32]
    V: NDArray[np.float32]
    offset: float = 0.0
    accumulators: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def labels(self) -> int:
        """Y."""
        return int(self.V.shape[0])

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.U.shape[1])

    def embed(self, features: Features) -> NDArray[np.float32]:
        """Embed a block of examples: Ux.

        Parameters
        ----------
        features : x, float32 [rows, d], dense or CSR.

        Returns
        -------
        float32 [rows, D], contiguous.

        Raises
        ------
        ValueError
            The features do not have d columns.
        FloatingPointError
            An embedding is not finite.
        """
        if features.shape[1] != self.U.shape[0]:
            raise ValueError(f"features of {features.shape[1]} columns for a model trained on {self.U.shape[0]}")
        with np.errstate(over="ignore", invalid="ignore"):
            embedding = np.ascontiguousarray(features @ self.U, dtype=np.float32)
        finite = np.isfinite(embedding).all(axis=1)
        if not finite.all():
            raise FloatingPointError(f"the embedding of row {int(np.argmin(finite))} of the block is not finite")
        return embedding


def initial_model(dimension: int, labels: int, D: int, seed: int, iteration: int) -> Model:
    """A model to train from scratch: U and V normal with mean 0 and standard deviation 1/√D.

    Parameters
    ----------
    dimension : d, number of features.
    labels : Y, number of labels.
    D : dimension of the embedding.
    seed, iteration : name the random stream.
    """
    rng = generator(seed, "init", iteration)
    deviation = np.float32(D**-0.5)
    U = rng.standard_normal((dimension, D), dtype=np.float32) * deviation
    V = rng.standard_normal((labels, D), dtype=np.float32) * deviation
    return Model(U, V)

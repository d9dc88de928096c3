"""The model: U embeds an example, V a label."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from awe_core.affinities.joint import Joint, Point
from awe_core.arrangement import generator
from awe_core.examples import Features
from awe_core.kernels.choice import kernel_named
from awe_core.kernels.kernel import KernelName
from awe_core.similarity import Similarity, all_similarities


@dataclass(frozen=True)
class Model:
    """The function f(x, y) = s(Ux, Vy), xᵀUᵀVy by default, and what a warm start needs beside it.

    Attributes
    ----------
    U : float32 [d, D], one row a feature.
    V : float32 [Y, D], one row a label.
    offset : c of f = (s·G + b)·(xᵀUᵀVy + c); of no effect where there is no affinity.
    accumulators : AdaGrad's sums of squared gradients by parameter ("U", "V", "offset"), each in the shape of its
        parameter; empty for SGD. Carried over by a warm start.
    similarity : s.
    joint : an affinity that was learnt jointly, so that f(x, y) = Σᵢ Gᵢ xᵢUᵢᵀVy; None where f is s(Ux, Vy).
    own : that affinity's own tensors, float32 or int32, by name.
    kernel : the one that it is trained by, which its f has too: theirs differ in the last bits.
    """

    U: NDArray[np.float32]
    V: NDArray[np.float32]
    offset: float = 0.0
    accumulators: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    similarity: Similarity = "dot"
    joint: Joint | None = None
    own: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    kernel: KernelName = "numpy"

    @property
    def labels(self) -> int:
        """Y."""
        return int(self.V.shape[0])

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.U.shape[1])

    def f(self, features: Features, labels: slice | None = None) -> NDArray[np.float32]:
        """f of a block of examples and all labels, or those of a slice: float32 [rows, labels].

        Raises what `embed` raises, and ModuleNotFoundError where its kernel is numba's, which is not installed.
        """
        if self.joint is None:
            V = self.V if labels is None else self.V[labels]
            return np.asarray(all_similarities(self.similarity, self.embed(features), V), dtype=np.float32)
        self._check(features)
        at = Point(self.U, self.V, self.own)
        return np.asarray(self.joint.all_scores(features, at, kernel_named(self.kernel), labels), dtype=np.float32)

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
        self._check(features)
        with np.errstate(over="ignore", invalid="ignore"):
            embedding = np.ascontiguousarray(features @ self.U, dtype=np.float32)
        finite = np.isfinite(embedding).all(axis=1)
        if not finite.all():
            raise FloatingPointError(f"the embedding of row {int(np.argmin(finite))} of the block is not finite")
        return embedding

    def _check(self, features: Features) -> None:
        if features.shape[1] != self.U.shape[0]:
            raise ValueError(f"features of {features.shape[1]} columns for a model trained on {self.U.shape[0]}")


def initial_model(dimension: int, labels: int, D: int, seed: int, iteration: int, label_bias: bool = False) -> Model:
    """A model to train from scratch: U and V normal with mean 0 and standard deviation 1/√D.

    Parameters
    ----------
    dimension : d, number of features.
    labels : Y, number of labels.
    D : dimension of the embedding.
    seed, iteration : name the random stream.
    label_bias : the last coordinate is 1 in U and 0 in V, see `awe_core.training.settings`.
    """
    rng = generator(seed, "init", iteration)
    U = rng.standard_normal((dimension, D), dtype=np.float32)
    V = rng.standard_normal((labels, D), dtype=np.float32)
    for rows in (U, V):  # in place: at 10⁶ labels a copy is 256 MB
        rows *= np.float32(D**-0.5)
    if label_bias:
        U[:, -1], V[:, -1] = 1, 0
    return Model(U, V)


DIMENSION_FACTOR = 20
"""The geometric mean of D / Y^¼ over what did well: the papers' D = 100 for 160 tags and 128 for 21,000 classes, and
the settings found on validation for 100, 159 and 983 labels (128, 64 and 100)."""


def automatic_dimension(labels: int) -> int:
    """A starting point for D: round(20 · Y^¼), which grows as slowly as the tables' own choices do."""
    return round(DIMENSION_FACTOR * math.sqrt(math.sqrt(labels)))

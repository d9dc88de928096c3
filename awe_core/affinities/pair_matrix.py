"""The pair matrix: an affinity of every (feature, label) pair, given before the training and not changed by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit

from awe_core.affinities.feature_products import products
from awe_core.affinities.joint import Joint, JointGradient, Point
from awe_core.kernels.feature_rows import RowGradient
from awe_core.kernels.feature_runs import FeatureRuns, Floats, Index
from awe_core.kernels.kernel import Kernel
from awe_core.ranking import rank_all
from awe_core.rows import distinct, row_of_entry, runs

STARTS, LABELS, WEIGHTS = "pair_starts", "pair_labels", "pair_weights"
_FEATURES_AT_ONCE = 1024
_PAIRS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class PairMatrix(Joint):
    """f(x, y) = Σᵢ G_iy zᵢ, zᵢ = xᵢUᵢᵀVy, with a sparse G [d, Y] (Weston, Weiss, Yee 2014).

    Scoring all labels costs D for every listed pair of x's features, and a product with V where `other` is not 0.

    Attributes
    ----------
    other : G of the pairs that are not listed, 0 or more.
    source : what the listed ones are, as a recipe names it.
    listed : CSR float32 [d, Y], indices sorted: what a training begins with. A trained model has them as tensors.
    """

    kind: ClassVar[str] = "pair-matrix"
    by_entry: ClassVar[bool] = False
    fixed: ClassVar[tuple[str, ...]] = (STARTS, LABELS, WEIGHTS)
    other: float = 0.0
    source: str = ""
    listed: sp.csr_matrix | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.other < np.inf:
            raise ValueError(f"affinity.other must be 0 or more, not {self.other}")
        if self.listed is not None and not ((self.listed.data >= 0) & (self.listed.data < np.inf)).all():
            raise ValueError("the weights of pairs must be numbers of 0 or more")

    @property
    def fixed_bytes(self) -> int:
        return 0 if self.listed is None else 8 * self.listed.nnz + 4 * self.listed.shape[0]

    def described(self) -> dict[str, Any]:
        return {"kind": self.kind, "other": self.other, "source": self.source}

    def first_tensors(self, dimension: int, labels: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Raises ValueError where no pairs are given, or pairs of other features and labels."""
        given = None if self.listed is None else self.listed.shape
        if self.listed is None or given != (dimension, labels):
            raise ValueError(f"the pairs are of {given} features and labels, and the data of {(dimension, labels)}")
        parts = self.listed.indptr, self.listed.indices, self.listed.data
        kinds = np.int32, np.int32, np.float32
        return {name: part.astype(kind) for name, part, kind in zip(self.fixed, parts, kinds, strict=True)}

    def scores(self, x: FeatureRuns, at: Point, labels: Index, kernel: Kernel) -> Floats:
        some, column = distinct(labels, len(at.V))
        rows = np.broadcast_to(np.arange(len(x))[:, None], labels.shape)
        f = np.asarray((x.narrow @ self._products(x, at.U[x.touched], at, some))[rows, column].todense())
        if self.other:
            f += at.V.dtype.type(self.other) * products(x.narrow @ at.U[x.touched], at.V, labels, kernel)
        return f

    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        some, column = distinct(labels, len(at.V))
        rows = np.repeat(np.arange(len(x)), labels.shape[1])
        return self._gradient(x, at, some, sp.csr_matrix((weight.ravel(), (rows, column.ravel())), (len(x), len(some))))

    def pool_scores(self, x: FeatureRuns, U: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        f = np.asarray((x.narrow @ self._products(x, U, at, pool)).todense())
        if self.other:
            f += at.V.dtype.type(self.other) * ((x.narrow @ U) @ at.V[pool].T)
        return f

    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        return self._gradient(x, at, pool, weight)

    def _gradient(self, x: FeatureRuns, at: Point, some: Index, weight: Floats | sp.csr_matrix) -> JointGradient:
        """Gradient of Σ weight · f over the rows and some distinct labels; `weight` is [rows, some]."""
        U, V, back = at.U[x.touched], at.V[some], x.narrow.T
        by_product = sp.csr_matrix(self._above_other(x, at, some).multiply(back @ weight))
        by_U, by_V = by_product @ V, by_product.T @ U
        if self.other:
            rest = weight * V.dtype.type(self.other)
            by_U += back @ (rest @ V)
            by_V += rest.T @ (x.narrow @ U)
        return JointGradient(RowGradient(x.touched, by_U), RowGradient(some, by_V))

    def _products(self, x: FeatureRuns, U: Floats, at: Point, some: slice | Index) -> sp.csr_matrix:
        """UᵢᵀVy of the listed pairs, times what G has above `other`: CSR [touched, some]."""
        found, V = self._above_other(x, at, some), at.V[some]
        feature = row_of_entry(found)
        for pairs in runs(found.nnz, _PAIRS_AT_ONCE):
            found.data[pairs] *= np.einsum("pd,pd->p", U[feature[pairs]], V[found.indices[pairs]])
        return found

    def _above_other(self, x: FeatureRuns, at: Point, some: slice | Index) -> sp.csr_matrix:
        """G less `other` of listed pairs, of the features that occur and some labels: CSR [touched, some]."""
        above = sp.csr_matrix(_matrix(at)[x.touched][:, some], dtype=at.V.dtype)
        above.data -= above.dtype.type(self.other)
        return above


def _matrix(at: Point) -> sp.csr_matrix:
    """The listed pairs, without a copy."""
    parts = at.own[WEIGHTS], at.own[LABELS], at.own[STARTS]
    return sp.csr_matrix(parts, shape=(len(at.U), len(at.V)))


def pairs_of_model(U: NDArray[np.float32], V: NDArray[np.float32], most: int) -> sp.csr_matrix:
    """G of an earlier model: σ(UᵢᵀVy) for the labels that go best with a feature.

    Parameters
    ----------
    U, V : float32 [d, D] and [Y, D].
    most : labels of a feature, those with the highest UᵢᵀVy, ties by label.

    Returns
    -------
    CSR float32 [d, Y], indices sorted.
    """
    rows = []
    for features in runs(len(U), _FEATURES_AT_ONCE):
        scores = (U[features] @ V.T).astype(np.float64)
        best = rank_all(scores, sp.csr_matrix(scores.shape), most)
        weights = expit(best.scores).astype(np.float32)
        rows.append(sp.csr_matrix((weights, best.labels, best.indptr), shape=scores.shape))
    pairs = sp.csr_matrix(sp.vstack(rows, format="csr"))
    pairs.sort_indices()
    return pairs

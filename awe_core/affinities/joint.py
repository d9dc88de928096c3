"""Affinities that are learnt jointly with U and V.

    f(x, y) = Σᵢ Gᵢ(x, y) zᵢ,   zᵢ = xᵢ Uᵢᵀ Vy

G is a function of the zᵢ, of their sum z = xᵀUᵀVy, or of tensors of its own; the gradient of f has G's part added.
A feature that is 0 has zᵢ = 0, whether x stores it or not: dense and sparse x give the same f.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from awe_core.affinities.feature_products import PoolProducts, products, row_products
from awe_core.examples import Features
from awe_core.kernels.feature_rows import RowGradient
from awe_core.kernels.feature_runs import FeatureRuns, Floats, Index
from awe_core.kernels.kernel import Kernel
from awe_core.rows import runs

# Products (feature, label) held at once where all labels are scored: 4 MB of float32.
_MOST_PRODUCTS = 1 << 20
_MOST_ROWS = 256


@dataclass(frozen=True)
class Point:
    """Where f is evaluated: U [d, D], V [Y, D], and by name the tensors that an affinity has of its own."""

    U: Floats
    V: Floats
    own: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class JointGradient:
    """Gradient of Σ weight · f over some pairs: rows of U, of V, and of an affinity's own tensors by name."""

    U: RowGradient
    V: RowGradient
    own: Mapping[str, RowGradient] = field(default_factory=dict)


class Joint(ABC):
    """An affinity that is learnt jointly with U and V.

    In all methods `x` has a run of features a row, `labels` are intp [rows, n], n labels for every row, and f is
    [rows, n].
    """

    kind: ClassVar[str]
    """Its name in a configuration."""
    of_features: ClassVar[bool] = False
    """Whether it compares the features of x with one another, so that an x of one feature makes no sense."""

    by_entry: ClassVar[bool] = True
    """Whether in whole arrays the scores of a pool take numbers for every stored feature of every row."""

    fixed: ClassVar[tuple[str, ...]] = ()
    """Names of own tensors that no step changes: every training begins with those that it is given."""

    @property
    def width(self) -> int:
        """Numbers that a feature, and a label, has in its own tensors."""
        return 0

    @property
    def fixed_bytes(self) -> int:
        """Bytes of its fixed tensors."""
        return 0

    @property
    def compiled(self) -> bool:
        """Whether `FeatureBlocks` have it: G is of every zᵢ by itself, or of the largest."""
        return False

    @property
    def largest(self) -> int:
        """How many of the largest zᵢ make G; 0 where it is made of all of them."""
        return 0

    def first_tensors(self, dimension: int, labels: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        """Its own tensors at the start of a training, by name; most affinities have none."""
        return {}

    @abstractmethod
    def scores(self, x: FeatureRuns, at: Point, labels: Index, kernel: Kernel) -> Floats:
        """f of every row and its labels."""

    @abstractmethod
    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        """Gradient of Σ weight · f; `weight` is [rows, n]."""

    @abstractmethod
    def pool_scores(self, x: FeatureRuns, U: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        """f of every row with every label of a pool: [rows, pool]; `U` are those of the features that occur in x."""

    @abstractmethod
    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        """Gradient of Σ weight · f; `weight` is [rows, pool], `pool` holds distinct labels."""

    def all_scores(self, x: Features, at: Point, kernel: Kernel, labels: slice | None = None) -> Floats:
        """f of every row of x [rows, d] with all labels, or with those of a slice."""
        first, stop = (0, len(at.V)) if labels is None else (labels.start, labels.stop)
        f = np.empty((x.shape[0], stop - first), dtype=at.V.dtype)
        for rows in runs(x.shape[0], _MOST_ROWS):
            part = FeatureRuns.of(x[rows])
            U = at.U[part.touched]
            for some in runs(stop, max(1, _MOST_PRODUCTS // max(1, len(part.value))), first):
                f[rows, some.start - first : some.stop - first] = self.pool_scores(part, U, at, some, kernel)
        return f

    def described(self) -> dict[str, Any]:
        """Its kind and parameters, as a model file keeps them."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


class OfScore(Joint):
    """An affinity that is the linear score between two bounds: f = φ(z) = clip(z, low, high) · z, z = xᵀUᵀVy."""

    by_entry: ClassVar[bool] = False

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """(low, high), the least and the most that G is."""

    def phi(self, z: Floats) -> Floats:
        """φ, element by element."""
        return self._clipped(z) * z

    def slope(self, z: Floats) -> Floats:
        """φ′."""
        low, high = self.bounds
        return self._clipped(z) + np.where((z > low) & (z < high), z, z.dtype.type(0))

    def _clipped(self, z: Floats) -> Floats:
        low, high = self.bounds
        return np.asarray(np.clip(z, z.dtype.type(low), z.dtype.type(high)))

    def scores(self, x: FeatureRuns, at: Point, labels: Index, kernel: Kernel) -> Floats:
        return self.phi(products(x.narrow @ at.U[x.touched], at.V, labels, kernel))

    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        embedding = x.narrow @ at.U[x.touched]
        by_z = weight * self.slope(products(embedding, at.V, labels, kernel))
        by_embedding = np.einsum("rn,rnd->rd", by_z, at.V[labels])
        V = by_z[:, :, None] * embedding[:, None, :]
        return JointGradient(x.through(by_embedding), RowGradient(labels.ravel(), V.reshape(-1, V.shape[2])))

    def pool_scores(self, x: FeatureRuns, U: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        return self.phi((x.narrow @ U) @ at.V[pool].T)

    def all_scores(self, x: Features, at: Point, kernel: Kernel, labels: slice | None = None) -> Floats:
        return self.phi(np.asarray(x @ at.U) @ (at.V if labels is None else at.V[labels]).T)

    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        embedding, V = x.narrow @ at.U[x.touched], at.V[pool]
        by_z = weight * self.slope(embedding @ V.T)
        return JointGradient(x.through(by_z @ V), RowGradient(pool, by_z.T @ embedding))


class OfFeatures(Joint):
    """An affinity that is a function of the features' own scores zᵢ."""

    @property
    def compiled(self) -> bool:
        return True

    @abstractmethod
    def joined(self, x: FeatureRuns, z: Floats) -> Floats:
        """f of every row: z [entries, n] → [rows, n]."""

    @abstractmethod
    def slopes(self, x: FeatureRuns, z: Floats) -> Floats:
        """∂f/∂zᵢ in the shape of z."""

    def scores(self, x: FeatureRuns, at: Point, labels: Index, kernel: Kernel) -> Floats:
        return self.joined(x, row_products(x, at.U, at.V, labels, x.value, kernel).z)

    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        found = row_products(x, at.U, at.V, labels, x.value, kernel)
        return JointGradient(*found.through(weight[x.row] * self.slopes(x, found.z)))

    def pool_scores(self, x: FeatureRuns, U: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        z = PoolProducts(x, U, at.V, pool, x.value)
        if kernel.feature_blocks:
            return kernel.feature_blocks.joined(x, z.of_touched, None, self.largest)
        return self.joined(x, z.z)

    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        found = PoolProducts(x, at.U[x.touched], at.V, pool, x.value)
        return JointGradient(*found.through(weight[x.row] * self.slopes(x, found.z)))

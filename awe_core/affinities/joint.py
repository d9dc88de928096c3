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
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Features
from awe_core.feature_rows import RowGradient
from awe_core.kernels import Kernel
from awe_core.rows import ranges, runs

Floats = NDArray[np.floating]
Index = NDArray[np.intp]

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
class FeatureRuns:
    """The stored features of some rows of x, one run a row.

    Attributes
    ----------
    starts : intp [rows + 1], where each row's run begins.
    feature : intp [entries].
    value : xᵢ, float [entries].
    dimension : d.
    """

    starts: Index
    feature: Index
    value: Floats
    dimension: int

    @classmethod
    def of(cls, x: Features) -> FeatureRuns:
        """From features [rows, d], dense or CSR."""
        stored = sp.csr_matrix(x)
        return cls(stored.indptr.astype(np.intp), stored.indices.astype(np.intp), stored.data, stored.shape[1])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def row(self) -> Index:
        """The row of every entry: intp [entries]."""
        return np.repeat(np.arange(len(self), dtype=np.intp), np.diff(self.starts))

    def take(self, rows: Index) -> FeatureRuns:
        """Some rows, in the order given; one may stand there several times."""
        lengths = np.diff(self.starts)[rows]
        entry = ranges(self.starts[rows], lengths)
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.intp)
        return FeatureRuns(starts, self.feature[entry], self.value[entry], self.dimension)

    def sums(self, values: Floats) -> Floats:
        """Σ over every row's entries: [entries, n] → [rows, n]."""
        ones = np.ones(len(values), dtype=values.dtype)
        selector = sp.csr_matrix((ones, np.arange(len(values)), self.starts), (len(self), len(values)))
        return np.asarray(selector @ values)

    def by_feature(self, values: Floats) -> RowGradient:
        """Σ over the entries of every feature that occurs: values [entries, D] → a part of U's gradient."""
        touched, place = np.unique(self.feature, return_inverse=True)
        shape = (len(touched), len(values))
        selector = sp.csr_matrix((np.ones(len(values), values.dtype), (place, np.arange(len(values)))), shape)
        return RowGradient(touched, np.asarray(selector @ values))

    def embedded(self, U: Floats) -> Floats:
        """xᵢ Uᵢ of every entry: [entries, D]."""
        return np.asarray(U[self.feature] * self.value[:, None])


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
    def pool_scores(self, x: FeatureRuns, embedded: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        """f of every row with every label of a pool, by matrix products: [rows, pool]; `embedded` is that of x."""

    @abstractmethod
    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        """Gradient of Σ weight · f; `weight` is [rows, pool], `pool` holds distinct labels."""

    def all_scores(self, x: Features, at: Point, kernel: Kernel, labels: slice | None = None) -> Floats:
        """f of every row of x [rows, d] with all labels, or with those of a slice."""
        first, stop = (0, len(at.V)) if labels is None else (labels.start, labels.stop)
        f = np.empty((x.shape[0], stop - first), dtype=at.V.dtype)
        for rows in runs(x.shape[0], _MOST_ROWS):
            part = FeatureRuns.of(x[rows])
            embedded = part.embedded(at.U)
            for some in runs(stop, max(1, _MOST_PRODUCTS // max(1, len(part.value))), first):
                f[rows, some.start - first : some.stop - first] = self.pool_scores(part, embedded, at, some, kernel)
        return f

    def described(self) -> dict[str, Any]:
        """Its kind and parameters, as a model file keeps them."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


class OfScore(Joint):
    """An affinity that is the linear score between two bounds: f = φ(z) = clip(z, low, high) · z, z = xᵀUᵀVy."""

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
        return self.phi(products(x.sums(x.embedded(at.U)), at.V, labels, kernel))

    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        embedding = x.sums(x.embedded(at.U))
        by_z = weight * self.slope(products(embedding, at.V, labels, kernel))
        by_embedding = np.einsum("rn,rnd->rd", by_z, at.V[labels])
        U = x.by_feature(x.value[:, None] * by_embedding[x.row])
        V = by_z[:, :, None] * embedding[:, None, :]
        return JointGradient(U, RowGradient(labels.ravel(), V.reshape(-1, V.shape[2])))

    def pool_scores(self, x: FeatureRuns, embedded: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        return self.phi(x.sums(embedded) @ at.V[pool].T)

    def all_scores(self, x: Features, at: Point, kernel: Kernel, labels: slice | None = None) -> Floats:
        return self.phi(np.asarray(x @ at.U) @ (at.V if labels is None else at.V[labels]).T)

    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        embedding, V = x.sums(x.embedded(at.U)), at.V[pool]
        by_z = weight * self.slope(embedding @ V.T)
        by_U = x.by_feature(x.value[:, None] * (by_z @ V)[x.row])
        return JointGradient(by_U, RowGradient(pool, by_z.T @ embedding))


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
        return self.joined(x, products(x.embedded(at.U), at.V, labels[x.row], kernel))

    def gradient(self, x: FeatureRuns, at: Point, labels: Index, weight: Floats, kernel: Kernel) -> JointGradient:
        embedded = x.embedded(at.U)
        by_z = weight[x.row] * self.slopes(x, products(embedded, at.V, labels[x.row], kernel))
        return JointGradient(*through_products(x, by_z, embedded, x.value, at.V, labels))

    def pool_scores(self, x: FeatureRuns, embedded: Floats, at: Point, pool: slice | Index, kernel: Kernel) -> Floats:
        z = embedded @ at.V[pool].T
        if kernel.feature_blocks:
            return kernel.feature_blocks.joined(x.starts, x.dimension, z, z, self.largest)
        return self.joined(x, z)

    def pool_gradient(self, x: FeatureRuns, at: Point, pool: Index, weight: Floats) -> JointGradient:
        embedded, V = x.embedded(at.U), at.V[pool]
        by_z = weight[x.row] * self.slopes(x, embedded @ V.T)
        return JointGradient(*through_pool(x, by_z, embedded, x.value, V, pool))


def products(rows: Floats, V: Floats, labels: Index, kernel: Kernel) -> Floats:
    """Every row with labels of its own: [n, D], [Y, D], intp [n, k] → [n, k]."""
    row = np.repeat(np.arange(len(rows), dtype=np.intp), labels.shape[1])
    return kernel.dots(rows, row, V, labels.ravel()).reshape(labels.shape)


def through_products(
    x: FeatureRuns, by_product: Floats, embedded: Floats, value: Floats, V: Floats, labels: Index
) -> tuple[RowGradient, RowGradient]:
    """Gradients of U and V from those of the products vᵢ·UᵢᵀVy of every entry and the labels of its row.

    Parameters
    ----------
    by_product : [entries, n].
    embedded : vᵢ Uᵢ, [entries, D]; value : vᵢ, [entries].
    V : [Y, D].
    labels : intp [rows, n].
    """
    by_U = np.zeros_like(embedded)
    by_V = np.empty((*labels.shape, V.shape[1]), dtype=V.dtype)
    for place in range(labels.shape[1]):
        weighed = by_product[:, place, None]
        by_U += weighed * V[labels[x.row, place]]
        by_V[:, place] = x.sums(weighed * embedded)
    by_U *= value[:, None]
    return x.by_feature(by_U), RowGradient(labels.ravel(), by_V.reshape(-1, V.shape[1]))


def through_pool(
    x: FeatureRuns, by_product: Floats, embedded: Floats, value: Floats, V: Floats, pool: Index
) -> tuple[RowGradient, RowGradient]:
    """The same for every entry and all labels of a pool: by_product [entries, pool], V [pool, D]."""
    return x.by_feature(value[:, None] * (by_product @ V)), RowGradient(pool, by_product.T @ embedded)

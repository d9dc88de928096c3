"""zᵢ = vᵢ·UᵢᵀVy of the features of some rows with labels, and the way back from ∂/∂zᵢ to the gradients of U and V.

Rows share features and labels. The products UᵢᵀVy of the distinct ones are one matrix product, of which an entry takes
its own and multiplies it by vᵢ; so is the way back. Only where rows with labels of their own share too little, as
sparse ones do, has every entry a product of D multiplications with each of its labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from awe_core.kernels.feature_rows import RowGradient
from awe_core.kernels.feature_runs import FeatureRuns, Floats, Index
from awe_core.kernels.kernel import Kernel
from awe_core.rows import distinct


class FeatureProducts(ABC):
    """The products of every entry with its labels."""

    @property
    @abstractmethod
    def z(self) -> Floats:
        """[entries, n], n labels for every entry."""

    @abstractmethod
    def through(self, by_z: Floats) -> tuple[RowGradient, RowGradient]:
        """The gradients of U and V from that of z."""


class PoolProducts(FeatureProducts):
    """With all labels of a pool.

    Parameters
    ----------
    x : the rows.
    U : those of the features that occur, [touched, D].
    V : all labels', [Y, D].
    pool : distinct labels.
    value : vᵢ, [entries].

    Attributes
    ----------
    of_touched : UᵢᵀVy, [touched, pool].
    """

    def __init__(self, x: FeatureRuns, U: Floats, V: Floats, pool: slice | Index, value: Floats) -> None:
        self._x, self._U, self._V, self._pool, self._value = x, U, V[pool], pool, value[:, None]
        self.of_touched = U @ self._V.T

    @cached_property
    def z(self) -> Floats:
        found: Floats = self.of_touched[self._x.place]
        found *= self._value
        return found

    def through(self, by_z: Floats) -> tuple[RowGradient, RowGradient]:
        assert not isinstance(self._pool, slice)
        by_product = self._x.sums_by_feature(by_z * self._value)
        return RowGradient(self._x.touched, by_product @ self._V), RowGradient(self._pool, by_product.T @ self._U)


def row_products(x: FeatureRuns, U: Floats, V: Floats, labels: Index, value: Floats, kernel: Kernel) -> FeatureProducts:
    """With labels of every row's own.

    Parameters
    ----------
    x : the rows.
    U, V : of all features and labels, [d, D] and [Y, D].
    labels : intp [rows, n].
    value : vᵢ, [entries].
    kernel : has the products one by one.
    """
    some, place = distinct(labels, len(V))
    if len(some) * len(x.touched) <= len(value) * labels.shape[1]:
        return _Shared(x, U[x.touched], V, some, place, value)
    return _OneByOne(x, U, V, labels, value, kernel)


class _Shared(FeatureProducts):
    """`U` is [touched, D], `place` [rows, n] in the distinct labels `some`."""

    def __init__(self, x: FeatureRuns, U: Floats, V: Floats, some: Index, place: Index, value: Floats) -> None:
        self._x, self._U, self._V, self._some, self._value = x, U, V[some], some, value[:, None]
        self._at = x.place[:, None] * len(some) + place[x.row]

    @cached_property
    def z(self) -> Floats:
        found: Floats = (self._U @ self._V.T).ravel()[self._at]
        found *= self._value
        return found

    def through(self, by_z: Floats) -> tuple[RowGradient, RowGradient]:
        shape = len(self._U), len(self._some)
        summed = np.bincount(self._at.ravel(), (by_z * self._value).ravel(), minlength=shape[0] * shape[1])
        by_product = summed.reshape(shape).astype(self._V.dtype)
        return RowGradient(self._x.touched, by_product @ self._V), RowGradient(self._some, by_product.T @ self._U)


class _OneByOne(FeatureProducts):
    def __init__(self, x: FeatureRuns, U: Floats, V: Floats, labels: Index, value: Floats, kernel: Kernel) -> None:
        self._x, self._V, self._labels, self._value, self._kernel = x, V, labels, value[:, None], kernel
        self._embedded = U[x.feature] * self._value

    @cached_property
    def z(self) -> Floats:
        return products(self._embedded, self._V, self._labels[self._x.row], self._kernel)

    def through(self, by_z: Floats) -> tuple[RowGradient, RowGradient]:
        x, V, labels = self._x, self._V, self._labels
        by_U = np.zeros_like(self._embedded)
        by_V = np.empty((*labels.shape, V.shape[1]), dtype=V.dtype)
        for place in range(labels.shape[1]):
            weighed = by_z[:, place, None]
            by_U += weighed * V[labels[x.row, place]]
            by_V[:, place] = x.sums(weighed * self._embedded)
        U = RowGradient(x.touched, x.sums_by_feature(by_U * self._value))
        return U, RowGradient(labels.ravel(), by_V.reshape(-1, V.shape[1]))


def products(rows: Floats, V: Floats, labels: Index, kernel: Kernel) -> Floats:
    """Every row with labels of its own: [n, D], [Y, D], intp [n, k] → [n, k]."""
    row = np.repeat(np.arange(len(rows), dtype=np.intp), labels.shape[1])
    return kernel.dots(rows, row, V, labels.ravel()).reshape(labels.shape)

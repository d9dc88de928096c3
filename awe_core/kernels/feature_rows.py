"""x of a few rows in a step: to Ux and back to the gradient of U."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.examples import Features

Floats: TypeAlias = NDArray[np.floating]


@dataclass(frozen=True)
class OneEntry:
    """Rows with one stored feature each (a one-hot user): a gather in place of a product.

    Attributes
    ----------
    indices : the feature, int [rows].
    values : its value, float32 [rows].
    """

    indices: NDArray[np.integer]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class RowGradient:
    """Gradient of some rows of a parameter; a row that stands there twice has two parts. None stands for all rows."""

    rows: NDArray[np.intp] | None
    values: Floats


@dataclass(frozen=True)
class LeftOut:
    """Rows that are examples without one feature each, several of one example: what they share is computed once.

    Attributes
    ----------
    x : the examples, CSR [examples, d].
    row : the example of every row, ascending, intp [rows].
    feature, value : what is left out, intp and float [rows]; a value of 0 is nothing.
    """

    x: sp.csr_matrix
    row: NDArray[np.intp]
    feature: NDArray[np.intp]
    value: Floats

    def embed(self, U: Floats) -> Floats:
        """Ux of every row: its example's, less what is left out."""
        embedding = np.asarray(self.x @ U)[self.row]
        embedding -= self.value[:, None] * U[self.feature]
        return embedding

    def back(self, by_embedding: Floats) -> RowGradient:
        """Gradient of U from that of every row's embedding."""
        shape = (self.x.shape[0], len(self.row))
        ends = np.searchsorted(self.row, np.arange(shape[0] + 1))
        sums = sp.csr_matrix((np.ones(shape[1], by_embedding.dtype), np.arange(shape[1]), ends), shape)
        of_examples = through_features(self.x, np.asarray(sums @ by_embedding))
        assert of_examples.rows is not None
        less = -self.value[:, None] * by_embedding
        return RowGradient(np.concatenate((of_examples.rows, self.feature)), np.concatenate((of_examples.values, less)))


FeatureRows: TypeAlias = Features | OneEntry | LeftOut


def one_entry(x: Features) -> OneEntry | None:
    """x as one feature a row, or None where some row has another number of them."""
    if not isinstance(x, sp.csr_matrix) or not (np.diff(x.indptr) == 1).all():
        return None
    return OneEntry(x.indices, x.data)


def embed_rows(x: FeatureRows, U: Floats) -> Floats:
    """Ux: float [rows, D]."""
    if isinstance(x, OneEntry):
        return np.asarray(U[x.indices] * x.values[:, None])
    if isinstance(x, LeftOut):
        return x.embed(U)
    return np.asarray(x @ U)


def through_features(x: FeatureRows, embedding_gradient: Floats) -> RowGradient:
    """Gradient of U from the gradient of Ux: xᵀ · ∂/∂(Ux), on the features that occur."""
    if isinstance(x, OneEntry):
        return RowGradient(x.indices.astype(np.intp), x.values[:, None] * embedding_gradient)
    if isinstance(x, LeftOut):
        return x.back(embedding_gradient)
    if not isinstance(x, sp.csr_matrix):
        return RowGradient(None, x.T @ embedding_gradient)
    touched, column = np.unique(x.indices, return_inverse=True)
    narrow = sp.csr_matrix((x.data, column, x.indptr), shape=(x.shape[0], len(touched)))
    return RowGradient(touched.astype(np.intp), np.asarray(narrow.T @ embedding_gradient))

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


FeatureRows: TypeAlias = Features | OneEntry


@dataclass(frozen=True)
class RowGradient:
    """Gradient of some rows of a parameter; a row that stands there twice has two parts. None stands for all rows."""

    rows: NDArray[np.intp] | None
    values: Floats


def one_entry(x: Features) -> OneEntry | None:
    """x as one feature a row, or None where some row has another number of them."""
    if not isinstance(x, sp.csr_matrix) or not (np.diff(x.indptr) == 1).all():
        return None
    return OneEntry(x.indices, x.data)


def embed_rows(x: FeatureRows, U: Floats) -> Floats:
    """Ux: float [rows, D]."""
    if isinstance(x, OneEntry):
        return np.asarray(U[x.indices] * x.values[:, None])
    return np.asarray(x @ U)


def through_features(x: FeatureRows, embedding_gradient: Floats) -> RowGradient:
    """Gradient of U from the gradient of Ux: xᵀ · ∂/∂(Ux), on the features that occur."""
    if isinstance(x, OneEntry):
        return RowGradient(x.indices.astype(np.intp), x.values[:, None] * embedding_gradient)
    if not isinstance(x, sp.csr_matrix):
        return RowGradient(None, x.T @ embedding_gradient)
    touched, column = np.unique(x.indices, return_inverse=True)
    narrow = sp.csr_matrix((x.data, column, x.indptr), shape=(x.shape[0], len(touched)))
    return RowGradient(touched.astype(np.intp), np.asarray(narrow.T @ embedding_gradient))

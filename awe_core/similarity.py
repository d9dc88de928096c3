"""The similarity of an embedded example Ux and a label's row Vy, by which the linear f ranks.

    dot                          UxᵀVy
    negative-squared-distance    −‖Ux − Vy‖²
    negative-distance            −‖Ux − Vy‖

A distance is never positive, so an affinity G ≥ 0 would punish what it should lift: distances are for iteration 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Similarity = Literal["dot", "negative-distance", "negative-squared-distance"]
Floats = NDArray[np.floating]


def all_similarities(similarity: Similarity, embedding: Floats, V: Floats) -> Floats:
    """Every row with every label by one matrix product: [rows, D], [labels, D] → [rows, labels]."""
    products: Floats = np.asarray(embedding @ V.T)
    if similarity == "dot":
        return products
    products *= 2
    products -= np.einsum("ld,ld->l", V, V)
    products -= np.einsum("rd,rd->r", embedding, embedding)[:, None]
    # Rounding may leave a distance of 0 a little above it.
    np.minimum(products, 0, out=products)
    if similarity == "negative-distance":
        np.sqrt(-products, out=products)
        np.negative(products, out=products)
    return products


def pair_similarities(similarity: Similarity, embedding: Floats, V: Floats) -> Floats:
    """Each row with labels of its own: [n, D] with [n, D] → [n], or with [n, k, D] → [n, k]."""
    form = "nd,nd->n" if V.ndim == 2 else "nd,nkd->nk"
    if similarity == "dot":
        return np.asarray(np.einsum(form, embedding, V))
    apart = V - (embedding if V.ndim == 2 else embedding[:, None, :])
    squares: Floats = np.asarray(np.einsum("...d,...d->...", apart, apart))
    return -squares if similarity == "negative-squared-distance" else -np.sqrt(squares)


def slope(similarity: Similarity, coefficients: Floats, similarities: Floats) -> Floats:
    """The factor k of ∂s/∂Ux = k·(Vy − p·Ux) and ∂s/∂Vy = k·(Ux − p·Vy), times `coefficients`; p is 0 for dot, else 1.

    k is 1 for dot, 2 for the squared distance and 1 / ‖Ux − Vy‖ for the distance, whose slope at 0 is taken as 0.
    """
    if similarity == "dot":
        return coefficients
    if similarity == "negative-squared-distance":
        return 2 * coefficients
    distances = -similarities
    return np.where(distances > 0, coefficients / np.where(distances > 0, distances, 1), 0)

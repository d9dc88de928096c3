"""The exact nearest neighbours, by comparing every query with every row of the base."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

Neighbours = list[tuple[float, int]]  # (distance, id), nearest first


def squared_distance(a: ArrayLike, b: ArrayLike) -> float:
    """‖a − b‖² = Σⱼ (aⱼ − bⱼ)², by direct differences in float64."""
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return float(np.sum(difference * difference))


def cosine_distance(a: ArrayLike, b: ArrayLike) -> float:
    """1 − cos(a, b) = ‖a/‖a‖ − b/‖b‖‖² / 2, in the form that does not cancel."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return squared_distance(a / np.sqrt(np.sum(a * a)), b / np.sqrt(np.sum(b * b))) / 2


def negative_product(a: ArrayLike, b: ArrayLike) -> float:
    """−aᵀb: the larger the product, the nearer."""
    return 0.0 - float(np.sum(np.asarray(a, dtype=np.float64) * np.asarray(b, dtype=np.float64)))


DISTANCES = {"euclidean": squared_distance, "cosine": cosine_distance, "inner_product": negative_product}


def neighbours(
    base_ids: Sequence[int],
    base_x: ArrayLike,
    query_ids: Sequence[int],
    query_x: ArrayLike,
    n: int,
    metric: str = "euclidean",
) -> list[Neighbours]:
    """The n nearest examples to every query in the embedding space (Weston, Weiss, Yee 2013, section 2).

    Neighbours are ordered by (‖Ux − Uxₘ‖², id). The row with the query's own id is left out, or every training
    example would vouch for its own labels; a duplicate under another id stays. There are fewer than n neighbours where
    the base has fewer rows.

    Parameters
    ----------
    base_ids, base_x : ids [rows] and points [rows, D] that are searched.
    query_ids, query_x : ids [queries] and points [queries, D].
    n : neighbours to keep.
    metric : one of `DISTANCES`.

    Returns
    -------
    one list of (distance, id) a query, nearest first
    """
    found = []
    for query_id, query in zip(query_ids, np.asarray(query_x), strict=True):
        others = [
            (DISTANCES[metric](query, row), int(base_id))
            for base_id, row in zip(base_ids, np.asarray(base_x), strict=True)
            if base_id != query_id
        ]
        found.append(sorted(others)[:n])
    return found

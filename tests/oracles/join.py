"""The exact nearest neighbours, by comparing every query with every row of the base."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

Neighbours = list[tuple[float, int]]  # (squared distance, id), nearest first


def squared_distance(a: ArrayLike, b: ArrayLike) -> float:
    """‖a − b‖² = Σⱼ (aⱼ − bⱼ)², by direct differences in float64."""
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return float(np.sum(difference * difference))


def neighbours(
    base_ids: Sequence[int], base_x: ArrayLike, query_ids: Sequence[int], query_x: ArrayLike, n: int
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

    Returns
    -------
    one list of (squared distance, id) a query, nearest first
    """
    found = []
    for query_id, query in zip(query_ids, np.asarray(query_x), strict=True):
        others = [
            (squared_distance(query, row), int(base_id))
            for base_id, row in zip(base_ids, np.asarray(base_x), strict=True)
            if base_id != query_id
        ]
        found.append(sorted(others)[:n])
    return found

"""The loops over tiles: a strip of rows against the columns, a product at a time that stays in the cache.

Which products are made is all that is decided here. In a thread of its own each loop wants BLAS at one thread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from awe_core.knn.prepared import Augmented
from awe_core.knn.selection import LOWEST, Pools, Selection
from awe_core.rows import runs

STRIP_ROWS, TILE_COLUMNS = 1024, 256
"""A tile of float32 scores is 1 MiB. One thread made 159 GFLOP/s of it at 130 columns, of which 1024 × 512 made 149,
512 × 512 153, 1536 × 384 119 and 384 × 1536 100; both selections are as fast or faster with it."""

SAMPLE_COLUMNS = 1024
"""Columns from which thresholds start."""


def start(pools: Pools, rows: Augmented, columns: Augmented, some: slice) -> None:
    """Raise the thresholds of some rows that have none to what a sample of the columns says.

    Of rows that meet themselves, those that stand beside them; of others, columns evenly spaced.
    """
    count = len(columns.matrix)
    every = max(1, count // SAMPLE_COLUMNS)
    spread = slice(0, every * SAMPLE_COLUMNS, every)
    scores = np.empty(STRIP_ROWS * SAMPLE_COLUMNS, np.float32)
    for these in _strips(some):
        if (pools.threshold[these] > LOWEST[4]).all():
            continue
        first = max(0, min(these.start, count - SAMPLE_COLUMNS))
        sample = slice(first, first + SAMPLE_COLUMNS) if rows is columns else spread
        pools.start_from(these.start, sample, _product(rows.strip(these), columns.matrix[sample], scores))


def one_way(pools: Pools, rows: Augmented, columns: Augmented, some: slice, selection: Selection) -> None:
    """Some rows meet every column."""
    scores = np.empty(STRIP_ROWS * TILE_COLUMNS, np.float32)
    for these in _strips(some):
        strip = rows.strip(these)
        for tile in _tiles(0, len(columns.matrix)):
            selection.rows(pools, _product(strip, columns.matrix[tile], scores), these.start, tile.start)


def both_ways(
    by_row: Pools,
    by_column: Pools,
    rows: Augmented,
    columns: Augmented,
    some: slice,
    others: slice,
    selection: Selection,
) -> None:
    """Some rows meet some columns, and those columns those rows, in one product."""
    scores = np.empty(STRIP_ROWS * TILE_COLUMNS, np.float32)
    for these in _strips(some):
        strip = rows.strip(these)
        for tile in _tiles(others.start, others.stop):
            product = _product(strip, columns.matrix[tile], scores)
            selection.both(by_row, by_column, product, these.start, tile.start)


def within(pools: Pools, rows: Augmented, some: slice, selection: Selection) -> None:
    """Some rows meet each other and themselves. A strip meets itself one way and those after it both ways."""
    scores = np.empty(STRIP_ROWS * TILE_COLUMNS, np.float32)
    for these in _strips(some):
        strip = rows.strip(these)
        for tile in _tiles(these.start, these.stop):
            selection.rows(pools, _product(strip, rows.matrix[tile], scores), these.start, tile.start)
        for tile in _tiles(these.stop, some.stop):
            selection.both(pools, pools, _product(strip, rows.matrix[tile], scores), these.start, tile.start)


def _strips(rows: slice) -> list[slice]:
    return runs(rows.stop, STRIP_ROWS, rows.start)


def _tiles(first: int, stop: int) -> list[slice]:
    return runs(stop, TILE_COLUMNS, first)


def _product(
    strip: NDArray[np.float32], columns: NDArray[np.float32], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    shape = (len(strip), len(columns))
    return np.matmul(strip, columns.T, out=scores[: shape[0] * shape[1]].reshape(shape))

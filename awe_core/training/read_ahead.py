"""The blocks of an epoch, each read while the one before it is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from awe_core.examples import Block, BlockSource


def read_ahead(
    source: BlockSource, order: Iterable[tuple[int, NDArray[np.intp]]]
) -> Iterator[tuple[int, NDArray[np.intp], Block]]:
    """Read blocks in an order, one ahead: at most two are held at a time beside what the source itself keeps.

    Parameters
    ----------
    source : read in one thread of its own, one block after the other.
    order : (index of the block, its rows in the order of the visit), from `awe_core.arrangement.epoch_order`.

    Yields
    ------
    (index, rows, block)
    """
    remaining = iter(order)
    with ThreadPoolExecutor(1, thread_name_prefix="awe-read") as reader:
        following = next(remaining, None)
        waiting = reader.submit(source.__getitem__, following[0]) if following else None
        while following is not None and waiting is not None:
            index, rows = following
            block = waiting.result()
            following = next(remaining, None)
            waiting = reader.submit(source.__getitem__, following[0]) if following else None
            yield index, rows, block
            del block

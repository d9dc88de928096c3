"""Small blocks of examples for tests, written as lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from awe_core.examples import Block, Features


class InMemory:
    """A list of blocks as a BlockSource."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = list(blocks)

    @property
    def rows_of_block(self) -> list[int]:
        return [len(block) for block in self.blocks]

    def __getitem__(self, index: int) -> Block:
        return self.blocks[index]


def lists(
    rows: Sequence[Sequence[int]], columns: int, values: Sequence[Sequence[float]] | None = None
) -> sp.csr_matrix:
    """CSR of sorted lists, with ones or the given values, zeros kept."""
    ends = np.cumsum([0, *map(len, rows)])
    indices = np.array([entry for row in rows for entry in row], dtype=np.int32)
    data = np.ones(len(indices)) if values is None else np.array([value for row in values for value in row])
    return sp.csr_matrix((data.astype(np.float32), indices, ends), (len(rows), columns))


def block(
    features: Features | np.ndarray,
    labels: Sequence[Sequence[int]],
    count: int,
    seen: Sequence[Sequence[int]] | None = None,
    affinity: Sequence[dict[int, float]] | None = None,
    weight: Sequence[float] | None = None,
) -> Block:
    """A block of `count` labels with ids 0, 1, …"""
    rows = len(labels)
    G = None
    if affinity is not None:
        G = lists([sorted(row) for row in affinity], count, [[row[y] for y in sorted(row)] for row in affinity])
    return Block(
        ids=np.arange(rows, dtype=np.int64),
        features=features.astype(np.float32),
        labels=lists(labels, count),
        seen=lists(seen or [[]] * rows, count),
        weight=np.array(weight if weight is not None else [1.0] * rows, dtype=np.float32),
        affinity=G,
    )

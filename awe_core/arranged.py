"""Examples in memory, in the parts and blocks that ingest would cut them into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arrangement import arrange, block_slices
from awe_core.examples import Block
from awe_core.ranking import Ranking

Result = TypeVar("Result")


@dataclass(frozen=True)
class ArrangedBlocks:
    """`awe_core.examples.BlockSource` over a data set in memory.

    Attributes
    ----------
    whole : all examples, in the caller's order.
    seed, rows_per_part, block_rows : as in a run's configuration.
    affinities : G of every block, in the order of the blocks; none where there is no affinity yet.
    """

    whole: Block
    seed: int
    rows_per_part: int
    block_rows: int
    affinities: Sequence[sp.csr_matrix] | None = None

    @cached_property
    def positions(self) -> list[NDArray[np.intp]]:
        """Rows of the caller's order by block."""
        parts = arrange(self.seed, self.whole.ids, self.rows_per_part)
        return [part[rows] for part in parts for rows in block_slices(len(part), self.block_rows)]

    @property
    def rows_of_block(self) -> Sequence[int]:
        return [len(rows) for rows in self.positions]

    def __getitem__(self, index: int) -> Block:
        block = take(self.whole, self.positions[index])
        return block if self.affinities is None else replace(block, affinity=self.affinities[index])

    def with_affinities(self, affinities: Sequence[sp.csr_matrix]) -> ArrangedBlocks:
        """The same examples, reweighted."""
        return replace(self, affinities=list(affinities))

    def map(self, function: Callable[[Block], Result]) -> list[Result]:
        """A function of every block, in their order."""
        return [function(self[index]) for index in range(len(self.positions))]

    def restore(self, rankings: Sequence[Ranking]) -> Ranking:
        """Rankings by block as one ranking in the caller's order."""
        lengths = np.zeros(len(self.whole), np.int64)
        for rows, ranking in zip(self.positions, rankings, strict=True):
            lengths[rows] = np.diff(ranking.indptr)
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        labels, scores = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        for rows, ranking in zip(self.positions, rankings, strict=True):
            owner = np.repeat(np.arange(len(rows)), np.diff(ranking.indptr))
            target = indptr[rows][owner] + np.arange(len(owner)) - ranking.indptr[:-1][owner]
            labels[target], scores[target] = ranking.labels, ranking.scores
        return Ranking(indptr, labels, scores)


def take(block: Block, rows: NDArray[np.intp]) -> Block:
    """Some rows of a block, in the order given."""
    return Block(
        ids=block.ids[rows],
        features=block.features[rows],
        labels=block.labels[rows],
        seen=block.seen[rows],
        weight=block.weight[rows],
        affinity=None if block.affinity is None else block.affinity[rows],
    )

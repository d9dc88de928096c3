"""A dataset of vectors as the join sees it, and how the join names a block of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from awe_core.examples import Features
from awe_core.neighbours import Neighbours
from pipelines.datasets.stored_dataset import StoredDataset
from schemas import convert
from schemas.parts import PartReader

BlockKey: TypeAlias = tuple[int, int, int]
"""(position of the dataset among the queries, part, block)."""
Found: TypeAlias = tuple[BlockKey, Neighbours]


class VectorDataset(StoredDataset):
    """A dataset as the join sees it: `embedding` vectors, or the features of examples."""

    @property
    def block_rows(self) -> int:
        """Rows of a block, as the dataset was written."""
        return int(self.manifest.facts["block_rows"])

    @property
    def dimension(self) -> int:
        return int(self.manifest.facts["dimension"])

    @property
    def sparse(self) -> bool:
        return "indices" in self.manifest.columns

    def ids(self, reader: PartReader, block: int) -> NDArray[np.int64]:
        """Ids of one block."""
        return convert.integers(reader.block(block, ["id"]), "id", reader.where(block))

    def vectors(self, reader: PartReader, block: int) -> Features:
        """Vectors of one block, float32, dense or CSR."""
        where = reader.where(block)
        wanted = {"embedding", "features", "indices", "values"} & self.manifest.columns
        table = reader.block(block, sorted(wanted))
        if "embedding" in wanted:
            return convert.dense(table, "embedding", self.dimension, where)
        return convert.features(table, self.dimension, where)


def joins_itself(base: Sequence[VectorDataset], queries: Sequence[VectorDataset]) -> bool:
    """Whether all of the base is among the queries."""
    return {dataset.directory for dataset in base} <= {dataset.directory for dataset in queries}

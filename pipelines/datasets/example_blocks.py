"""From parts on disk to the blocks that the kernels take."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa
import scipy.sparse as sp

from awe_core.examples import Block
from pipelines.jobs.memory import Memory
from schemas import convert
from schemas.errors import DataError
from schemas.filesystem import Readable
from schemas.manifest import Manifest
from schemas.parts import PartReader

OPEN_PARTS = 64
"""Parts that stay open: some 100 kB each, and a file of the 256 that a process may have on some systems."""


def read_examples(reader: PartReader, index: int, facts: Mapping[str, Any]) -> Block:
    """Block `index` of a part of `examples` or `reweighted`; `facts` are the manifest's."""
    table, where, labels = reader.block(index), reader.where(index), int(facts["labels"])
    affinity = None
    if "candidates" in table.column_names:
        affinity = convert.weighted_lists(table, "candidates", "affinity", labels, where)
    return Block(
        ids=convert.integers(table, "id", where),
        features=convert.features(table, int(facts["dimension"]), where),
        labels=convert.lists(table, "labels", labels, where),
        seen=convert.lists(table, "seen", labels, where),
        weight=convert.floats(table, "weight", where),
        affinity=affinity,
    )


def read_truth(reader: PartReader, index: int, facts: Mapping[str, Any]) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Labels and seen labels of a block, without its features."""
    table, where, labels = reader.block(index, ["labels", "seen"]), reader.where(index), int(facts["labels"])
    return convert.lists(table, "labels", labels, where), convert.lists(table, "seen", labels, where)


def block_bytes(block: Block) -> int:
    """Bytes that the arrays of a block hold."""
    arrays: list[Any] = [block.ids, block.weight]
    matrices: list[Any] = [block.features, block.labels, block.seen, block.affinity]
    for matrix in matrices:
        if matrix is None:
            continue
        arrays += [matrix.data, matrix.indices, matrix.indptr] if sp.issparse(matrix) else [matrix]
    return sum(int(array.nbytes) for array in arrays)


class DatasetBlocks:
    """The blocks of one or more datasets as the trainer walks them: `awe_core.examples.BlockSource`.

    Blocks that were read stay decoded while the memory has room for them. The others are read again in every epoch, a
    row group at a time; parts stay open, for opening one takes as long as reading a fifth of a block. Several trainings
    may share them: one reads, the others that have to wait.
    """

    def __init__(self, fs: Readable, datasets: Sequence[tuple[str, Manifest]], memory: Memory) -> None:
        self._fs = fs
        self._parts = [(directory, part, manifest) for directory, manifest in datasets for part in manifest.parts]
        self._memory = memory
        self._kept: dict[int, Block] = {}
        self._reader = lru_cache(OPEN_PARTS)(self._opened)
        self._lock = threading.Lock()

    @cached_property
    def _blocks(self) -> list[tuple[int, int, int]]:
        """(part, block in the part, rows) of every block that has rows."""
        found = []
        for position, (directory, part, _) in enumerate(self._parts):
            with PartReader(self._fs, directory, part) as reader:
                found += [(position, block, rows) for block, rows in enumerate(reader.rows_of_block) if rows]
        return found

    @property
    def rows_of_block(self) -> Sequence[int]:
        return [rows for _, _, rows in self._blocks]

    def __getitem__(self, index: int) -> Block:
        with self._lock:
            if index in self._kept:
                return self._kept[index]
            position, block_index, _ = self._blocks[index]
            block = read_examples(self._reader(position), block_index, self._parts[position][2].facts)
            if self._memory.take(block_bytes(block)):
                self._kept[index] = block
            return block

    def _opened(self, position: int) -> PartReader:
        directory, part, _ = self._parts[position]
        return PartReader(self._fs, directory, part)


def same_ids(left: pa.ChunkedArray, right: pa.ChunkedArray, where: str) -> None:
    """Refuse parts that are not aligned: the id columns of one block of each. Raises DataError."""
    if not left.equals(right):
        raise DataError(f"{where}: its rows are not those of the examples' part; run 'awe run' to make both anew")

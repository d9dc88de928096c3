"""What stands beside the neighbours: a column of the base, looked up by their ids."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa

from awe_core.neighbours import NOBODY, Neighbours
from pipelines.datasets.vector_dataset import BlockKey, Found, VectorDataset
from pipelines.jobs.process_cache import ProcessCache
from schemas import convert
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.parts import PartReader

_COLUMNS: ProcessCache[_Column] = ProcessCache(2)

Payload = tuple[BlockKey, tuple[Neighbours, pa.Array]]


class AttachPayload(beam.PTransform):
    """((dataset, part, block), Neighbours) → ((dataset, part, block), (Neighbours, values)).

    `values` is an Arrow array with the column of every neighbour in the order of `Neighbours.ids.ravel()`, and null
    where there is nobody. Nothing of it crosses a shuffle before: each process keeps the column as a mapped file.

    Memory of a process: 16 bytes a row of the base, and what of the file is in use.

    Parameters
    ----------
    fs : where the base lies.
    base : what was joined with.
    column : of all its datasets, of one type.
    """

    def __init__(self, fs: FileSystem, base: Sequence[VectorDataset], column: str) -> None:
        super().__init__()
        self._fs, self._base, self._column = fs, tuple(base), column

    def expand(self, found: beam.PCollection) -> beam.PCollection:
        return found | "look up" >> beam.Map(_look_up, self._fs, self._base, self._column)


def _look_up(item: Found, fs: FileSystem, base: Sequence[VectorDataset], column: str) -> Payload:
    key, neighbours = item
    name = (column, *(dataset.fingerprint for dataset in base))
    values = _COLUMNS.get(name, lambda: _Column(fs, base, column))
    return key, (neighbours, values.of(neighbours.ids.ravel()))


class _Column:
    """A column by id; its file goes with this object."""

    def __init__(self, fs: FileSystem, base: Sequence[VectorDataset], column: str) -> None:
        for dataset in base:
            if column not in dataset.manifest.columns:
                raise DataError(f"{dataset.directory}: has no column '{column}'; it has {_listed(dataset)}")
        self._folder = tempfile.TemporaryDirectory(prefix="awe-payload-")
        path = Path(self._folder.name) / "column.arrow"
        ids = [np.zeros(0, np.int64)]
        writer = None
        for dataset in base:
            for part in dataset.manifest.parts:
                with PartReader(fs, dataset.directory, part) as reader:
                    for block in range(reader.blocks):
                        table = reader.block(block, ["id", column])
                        ids.append(convert.integers(table, "id", reader.where(block)))
                        values = table.select([column])
                        writer = writer or pa.ipc.new_file(str(path), values.schema)
                        writer.write_table(values)
        if writer is not None:
            writer.close()
        joined = np.concatenate(ids)
        self._order = np.argsort(joined, kind="stable")
        self._ids = joined[self._order]
        self._values = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column(0) if len(joined) else None

    def of(self, ids: np.ndarray) -> pa.Array:
        if self._values is None:
            return pa.nulls(len(ids))
        place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        missing = (self._ids[place] != ids) & (ids != NOBODY)
        if missing.any():
            raise DataError(f"neighbour {ids[missing.argmax()]} is no row of the base that the payload is read from")
        taken = self._values.take(pa.array(self._order[place], mask=ids == NOBODY))
        return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken


def _listed(dataset: VectorDataset) -> str:
    return ", ".join(sorted(dataset.manifest.columns))

"""Datasets that `awe knn` reads and writes, and the same as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from awe_core.neighbours import Neighbours
from pipelines.datasets.neighbour_dataset import NeighbourDataset
from pipelines.filesystems.filesystem import BeamFileSystem
from schemas import convert, tables
from schemas.manifest import MANIFEST, Manifest, read_manifest
from schemas.parts import PartReader, PartWriter

FS, D, BLOCK_ROWS = BeamFileSystem(), 6, 64


def write(folder: Path, ids: np.ndarray, vectors: np.ndarray, rows_of_part: tuple[int, ...]) -> str:
    """A dataset of embeddings."""
    schema, parts, start = tables.embeddings(vectors.shape[1]), [], 0
    for index, rows in enumerate(rows_of_part):
        with PartWriter(FS, str(folder), index, schema) as writer:
            for first in range(start, start + rows, BLOCK_ROWS):
                these = slice(first, min(first + BLOCK_ROWS, start + rows))
                labels = pa.array([[0]] * (these.stop - these.start), tables.LIST_INT)
                columns = {"id": pa.array(ids[these]), "embedding": convert.vector_array(vectors[these])}
                writer.write(pa.table({**columns, "labels": labels}))
        parts.append(writer.part)
        start += rows
    facts = {"dimension": vectors.shape[1], "labels": 1, "block_rows": BLOCK_ROWS}
    (folder / MANIFEST).write_bytes(Manifest.of(folder.name, parts, schema, facts).to_bytes())
    return str(folder)


def read(directory: str) -> tuple[np.ndarray, Neighbours]:
    dataset = NeighbourDataset(directory, read_manifest(FS, directory, "knn"))
    ids, found = [np.zeros(0, np.int64)], []
    for part in dataset.manifest.parts:
        with PartReader(FS, directory, part) as reader:
            for block in range(reader.blocks):
                ids.append(convert.integers(reader.block(block), "id", "here"))
                found.append(dataset.block(reader, block))
    return np.concatenate(ids), Neighbours(
        np.concatenate([one.ids for one in found]), np.concatenate([one.distances for one in found])
    )


def same(found: Neighbours, expected: Neighbours) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)

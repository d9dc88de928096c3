"""A dataset on disk that is far larger than the memory for it, in the format of the examples."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from awe_core.examples import Block
from awe_core.training.settings import TrainSettings
from pipelines.datasets.example_blocks import DatasetBlocks
from pipelines.jobs.memory import Memory, held_beside_examples
from schemas import convert, tables
from schemas.filesystem import LocalFileSystem
from schemas.manifest import MANIFEST, Manifest, read_manifest
from schemas.parts import PartWriter


def write(directory: str, parts: Iterable[Iterable[Block]], dimension: int, labels: int) -> None:
    """Write dense examples, a part at a time."""
    fs, schema, written = LocalFileSystem(), tables.examples(dimension, sparse=False), []
    for index, blocks in enumerate(parts):
        with PartWriter(fs, directory, index, schema) as writer:
            for block in blocks:
                writer.write(_table(block))
        assert writer.part is not None
        written.append(writer.part)
    manifest = Manifest.of("benchmark", written, schema, {"dimension": dimension, "labels": labels})
    fs.put(fs.join(directory, MANIFEST), manifest.to_bytes())


def read(directory: str, memory: int, settings: TrainSettings) -> DatasetBlocks:
    """The blocks as the stage `train` reads them for these settings within `memory` bytes."""
    fs = LocalFileSystem()
    manifest = read_manifest(fs, directory, "benchmark")
    held = held_beside_examples(manifest.facts["dimension"], manifest.facts["labels"], settings, started=False)
    return DatasetBlocks(fs, [(directory, manifest)], Memory(memory, held))


def _table(block: Block) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(block.ids),
            **convert.feature_arrays(block.features),
            "labels": convert.list_array(block.labels),
            "seen": convert.list_array(block.seen),
            "weight": pa.array(block.weight),
        }
    )

"""RUN/landmarks: the map of x to the space of a kernel, a row a landmark."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from awe_core.arrangement import block_slices
from awe_core.landmarks import Landmarks
from pipelines.datasets.dataset_writer import DatasetPlan
from pipelines.jobs.process_cache import ProcessCache
from schemas import convert
from schemas.filesystem import FileSystem
from schemas.parts import Part, PartReader, PartWriter

_BLOCK_ROWS = 1024

_LOADED: ProcessCache[Landmarks] = ProcessCache(1)


def write_landmarks(fitted: Landmarks, fs: FileSystem, dataset: DatasetPlan) -> Part:
    """Write a map that was fitted."""
    with PartWriter(fs, dataset.directory, 0, dataset.schema) as writer:
        for some in block_slices(fitted.points.shape[0], _BLOCK_ROWS):
            projection = pa.array(fitted.projection[some].ravel())
            writer.write(
                pa.table(
                    {
                        **convert.feature_arrays(fitted.points[some]),
                        "projection": pa.FixedSizeListArray.from_arrays(projection, fitted.dimension),
                        "gamma": np.full(some.stop - some.start, fitted.gamma),
                    },
                    schema=dataset.schema,
                )
            )
    return writer.part


def load_landmarks(fs: FileSystem, directory: str, part: Part, d: int) -> Landmarks:
    """The map, read once a process; x has d columns."""
    return _LOADED.get((directory, part.sha256), lambda: _load(fs, directory, part, d))


def _load(fs: FileSystem, directory: str, part: Part, d: int) -> Landmarks:
    with PartReader(fs, directory, part) as reader:
        blocks = [(reader.block(number), reader.where(number)) for number in range(reader.blocks)]
    rows = [convert.features(table, d, where) for table, where in blocks]
    projection = [table.column("projection").combine_chunks() for table, _ in blocks]
    return Landmarks(
        sp.vstack(rows, format="csr") if sp.issparse(rows[0]) else np.concatenate(rows),
        np.concatenate([column.flatten().to_numpy().reshape(len(column), -1) for column in projection]),
        float(blocks[0][0].column("gamma")[0].as_py()),
    )

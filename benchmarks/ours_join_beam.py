"""Our join through Beam's in-process runner, in a process of its own: one line of JSON.

python -m benchmarks.ours_join_beam BASE.npy FOLDER --n=20
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from awe_core.knn import knn_join
from benchmarks.processes import own_peak_bytes
from benchmarks.training import THREADS, say
from pipelines import knn
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs.job import pipeline_options
from pipelines.knn import Request
from pipelines.planning.join_plan import plan_join
from schemas import convert, tables
from schemas.filesystem import LocalFileSystem
from schemas.manifest import MANIFEST, Manifest
from schemas.parts import PartWriter

ROWS_PER_PART, BLOCK_ROWS = 16384, 4096
WORKER_BYTES = 2 * 2**30


@click.command()
@click.argument("base", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--n", type=int, required=True)
def main(base: Path, folder: Path, n: int) -> None:
    """Base × itself by the in-process runner: Parquet in, Parquet out; what is planned and probed is not counted."""
    vectors = np.load(base)
    knn_join(np.arange(3000), vectors[:3000], n)  # what is compiled was compiled before
    dataset = stored(vectors, folder / "base")
    del vectors
    fs, options = BeamFileSystem(), pipeline_options("in-process", [f"--direct_num_workers={THREADS}"])
    plan, predicted = plan_join(fs, [dataset], [dataset], n, options, WORKER_BYTES)
    say(predicted=predicted)
    request = Request((dataset.directory,), (), str(folder / "neighbours"), n, shards=plan.shards)
    began = time.perf_counter()
    knn.main(fs, options, request)
    seconds = time.perf_counter() - began
    say(seconds=seconds, predicted=predicted, peak_bytes=own_peak_bytes())


def stored(vectors: NDArray[np.float32], folder: Path) -> VectorDataset:
    """The vectors as a dataset of embeddings on disk."""
    schema, parts = tables.embeddings(vectors.shape[1]), []
    for index, start in enumerate(range(0, len(vectors), ROWS_PER_PART)):
        stop = min(start + ROWS_PER_PART, len(vectors))
        with PartWriter(LocalFileSystem(), str(folder), index, schema) as writer:
            for first in range(start, stop, BLOCK_ROWS):
                ids = np.arange(first, min(first + BLOCK_ROWS, stop), dtype=np.int64)
                embedding, labels = convert.vector_array(vectors[ids]), pa.array([[0]] * len(ids), tables.LIST_INT)
                writer.write(pa.table({"id": pa.array(ids), "embedding": embedding, "labels": labels}))
        assert writer.part is not None
        parts.append(writer.part)
    facts = {"dimension": vectors.shape[1], "labels": 1, "block_rows": BLOCK_ROWS}
    manifest = Manifest.of("benchmark", parts, schema, facts)
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return VectorDataset(str(folder), manifest)


if __name__ == "__main__":
    main()

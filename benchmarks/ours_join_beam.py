"""Our join through Beam's in-process runner, in a process of its own: one line of JSON.

python -m benchmarks.ours_join_beam BASE.npy FOLDER --n=20
"""

from __future__ import annotations

import time
from pathlib import Path

import apache_beam as beam
import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from awe_core.neighbours import Neighbours
from benchmarks.processes import own_peak_bytes
from benchmarks.training import THREADS, say
from pipelines.job import make_runner, pipeline_options
from pipelines.knn_join import KnnJoin, VectorDataset
from schemas import convert, tables
from schemas.filesystem import LocalFileSystem
from schemas.manifest import Manifest
from schemas.parts import PartWriter

ROWS_PER_PART, BLOCK_ROWS = 16384, 4096
SHARDS = 8


@click.command()
@click.argument("base", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--n", type=int, required=True)
def main(base: Path, folder: Path, n: int) -> None:
    """Base × itself by the in-process runner: Parquet in, Parquet out; writing the input is not counted."""
    dataset = stored(np.load(base), folder / "base")
    (folder / "neighbours").mkdir()
    options = pipeline_options("in-process", [f"--direct_num_workers={THREADS}"])
    began = time.perf_counter()
    with beam.Pipeline(runner=make_runner(options), options=options) as pipeline:
        found = pipeline | KnnJoin(LocalFileSystem(), [dataset], [dataset], n, SHARDS)
        _ = found | "write" >> beam.Map(write_neighbours, str(folder / "neighbours"))
    seconds = time.perf_counter() - began
    rows = sum(pq.read_metadata(path).num_rows for path in (folder / "neighbours").iterdir())
    if rows != dataset.manifest.rows:
        raise click.ClickException(f"{rows} of {dataset.manifest.rows} rows were written")
    say(seconds=seconds, peak_bytes=own_peak_bytes())


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
    return VectorDataset(str(folder), Manifest.of("benchmark", parts, schema, facts))


def write_neighbours(keyed: tuple[tuple[int, int, int], Neighbours], folder: str) -> None:
    """One block's neighbours as a file of Parquet."""
    (_, part, block), found = keyed
    width = found.ids.shape[1]
    ids = pa.FixedSizeListArray.from_arrays(pa.array(found.ids.ravel()), width)
    distances = pa.FixedSizeListArray.from_arrays(pa.array(found.distances.ravel()), width)
    pq.write_table(pa.table({"ids": ids, "distances": distances}), f"{folder}/part-{part:05d}-{block:05d}.parquet")


if __name__ == "__main__":
    main()

"""What a join is planned for, from the datasets it is asked of."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from awe_core.affinities.beside_neighbours import SAMPLE_ROWS
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.errors import ConfigError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs.job import pipeline_options
from pipelines.planning.join_plan import plan_join
from pipelines.planning.run_plan import PROCESS_BYTES, Cluster, Run, Speeds, run_plan
from schemas import tables
from schemas.manifest import Manifest
from schemas.parts import PartWriter

FS = BeamFileSystem()


def sparse(folder: Path, rows: int, dimension: int, stored: int) -> VectorDataset:
    """Rows of x with so many values that are not 0, behind a part without rows."""
    schema, parts = tables.examples(dimension, sparse=True), []
    lists = {"indices": [list(range(stored))], "values": [[1.0] * stored], "labels": [[0]], "seen": [[]]}
    for index, of_part in enumerate((0, rows)):
        with PartWriter(FS, str(folder), index, schema) as writer:
            columns = {name: pa.array(one * of_part, schema.field(name).type) for name, one in lists.items()}
            numbers = {"id": pa.array(range(of_part), pa.int64()), "weight": pa.array([1.0] * of_part, pa.float32())}
            writer.write(pa.table({**numbers, **columns}))
        parts.append(writer.part)
    facts = {"dimension": dimension, "labels": 1, "block_rows": rows}
    return VectorDataset(str(folder), Manifest.of("recipe", parts, schema, facts))


def worker_bytes(base: VectorDataset, allowed: int = 2**30) -> int:
    plan, _ = plan_join(FS, [base], [base], 5, pipeline_options("in-process", ["--direct_num_workers=2"]), allowed)
    return plan.worker_bytes


def test_sparse_rows_need_memory_for_what_they_store_whatever_their_dimension(tmp_path: Path) -> None:
    wide, narrow = sparse(tmp_path / "wide", 300, 10**7, 8), sparse(tmp_path / "narrow", 300, 10, 8)
    assert worker_bytes(wide) == worker_bytes(narrow)


def test_sparse_rows_that_store_more_need_more(tmp_path: Path) -> None:
    few, many = sparse(tmp_path / "few", 300, 1000, 8), sparse(tmp_path / "many", 300, 1000, 800)
    # A value takes 8 bytes as it is read, and 12 more in float64.
    assert worker_bytes(many) - worker_bytes(few) >= 300 * 20 * (800 - 8)
    with pytest.raises(ConfigError, match="give the join more memory"):
        worker_bytes(many, allowed=300 * 20 * 800)


def test_the_plan_of_a_run_has_the_join_that_its_sparse_rows_are_joined_by(tmp_path: Path) -> None:
    rows, stored, n = 3000, 33, 5
    base = sparse(tmp_path / "x", rows, 1000, stored)
    options = pipeline_options("multi-processing", ["--direct_num_workers=2"])
    cluster = Cluster(2, 1, PROCESS_BYTES + 2**30)
    plan, _ = plan_join(FS, [base], [base], n, options, 2**30, sampled=SAMPLE_ROWS)
    run = Run(rows, 0, 0, 1000, stored, 8, 1, 1.0, n, 5, kind="rbf", rows_per_part=rows)
    (planned,) = next(stage for stage in run_plan(run, cluster, Speeds()) if stage.name == "affinity").joins
    assert planned == plan

"""What a worker reads of a dataset is what its job was planned by."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets.stored_dataset import StoredDataset
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.jobs.process_cache import clear_all
from schemas import tables
from schemas.errors import DataError
from schemas.manifest import MANIFEST, Manifest, digest
from schemas.parts import Part

D = 8


def of_a_part(folder: Path) -> tuple[str, Manifest]:
    """A manifest of a part that is not there."""
    parts = [Part(f"part-00000-{digest(0)[:16]}.parquet", 16_384, 9_000_000, digest(0))]
    return str(folder), Manifest.of(folder.name, parts, tables.embeddings(D), {"dimension": D, "block_rows": 1024})


def test_a_worker_reads_the_manifest_that_the_job_was_planned_by(tmp_path: Path) -> None:
    folder, manifest = of_a_part(tmp_path)
    (tmp_path / MANIFEST).write_bytes(manifest.to_bytes())
    planned = VectorDataset(folder, manifest)
    arrived = VectorDataset.__new__(VectorDataset)
    arrived.__dict__.update(planned.__getstate__())
    clear_all()  # as in another process
    assert arrived == planned
    assert arrived.manifest == manifest


def test_a_dataset_that_was_replaced_is_not_read_as_if_it_were_the_one_planned_for(tmp_path: Path) -> None:
    folder, manifest = of_a_part(tmp_path)
    arrived = StoredDataset(folder, manifest)
    clear_all()
    with pytest.raises(DataError, match="replaced while a job read it"):
        _ = arrived.manifest

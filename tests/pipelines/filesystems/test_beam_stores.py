"""Stores that Beam knows: what cannot hold a run directory is refused before anything is written there."""

from __future__ import annotations

import pytest

from pipelines.filesystems.filesystem import BeamFileSystem
from schemas.errors import StoreError


def test_hdfs_replaces_no_file_whole_and_is_written_to_by_nobody() -> None:
    fs = BeamFileSystem()
    with pytest.raises(StoreError, match="hdfs://host/run/run.toml: .* name a folder, s3:// or gs://"):
        fs.put("hdfs://host/run/run.toml", b"")
    with pytest.raises(StoreError, match="hdfs://host/run/model-0"):
        fs.draft("hdfs://host/run/model-0")

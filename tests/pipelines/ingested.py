"""Running ingest in this process, and reading what it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines import ingest
from pipelines.config import Config
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs.job import pipeline_options
from pipelines.run_directory import RunDirectory
from pipelines.stage import Context
from schemas.manifest import Manifest, read_manifest
from schemas.parts import PartReader

DATASETS = ("examples/train", "examples/validation", "examples/test", "labels", "rejects", "scaling")


def context(root: Path, /, *flags: str, **sections: Mapping[str, Any]) -> Context:
    """What stages are called with: a configuration's sections; one worker unless Beam's flags say otherwise."""
    options = pipeline_options("in-process", flags or ["--direct_num_workers=1"])
    return Context(Config.model_validate(sections), RunDirectory(str(root)), BeamFileSystem(), options)


def run(root: Path, /, *flags: str, seed: int = 0, **data: Any) -> None:
    """Ingest with the keys of the data section."""
    ingest.main(context(root, *flags, run={"seed": seed}, data=data))


def manifest(root: Path, dataset: str) -> Manifest:
    return read_manifest(BeamFileSystem(), str(root / dataset), "ingest")


def parts(root: Path) -> dict[str, list[str]]:
    """Names of the parts of every dataset; they carry the checksums."""
    return {dataset: [part.name for part in manifest(root, dataset).parts] for dataset in DATASETS}


def part_tables(root: Path, dataset: str) -> list[pa.Table]:
    """The rows of every part."""
    tables = []
    for part in manifest(root, dataset).parts:
        with PartReader(BeamFileSystem(), str(root / dataset), part) as reader:
            blocks = [reader.block(block) for block in range(reader.blocks)]
        tables.append(pa.concat_tables(blocks) if blocks else pa.table({}))
    return tables


def rows(root: Path, dataset: str) -> list[dict[str, Any]]:
    """All rows, parts in order."""
    return [row for table in part_tables(root, dataset) for row in table.to_pylist()]


def by_id(root: Path, split: str) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in rows(root, f"examples/{split}")}


def names(root: Path) -> list[str]:
    return [row["name"] for row in rows(root, "labels")]


def counters(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "log" / "ingest.json").read_text())["counters"])


def write_npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)

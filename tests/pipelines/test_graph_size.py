"""A job's graph stays small however many parts and rows there are: Dataflow takes none above 10 MB."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

from pipelines import affinity, embed
from pipelines.config import Config, load_config
from pipelines.datasets.stored_dataset import StoredDataset
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.join import knn_join
from schemas import tables
from schemas.manifest import Manifest, digest
from schemas.model_file import ModelFile
from schemas.parts import Part

FS, PARTS, SHARDS, D = BeamFileSystem(), 10_000, 100, 8
"""Parts of 10⁸ rows and more."""


def many_parts(folder: Path, columns: object) -> tuple[str, Manifest]:
    """A manifest of parts that are not there: wiring a job reads none of them."""
    checksums = [digest(k) for k in range(PARTS)]
    parts = [Part(f"part-{k:05d}-{c[:16]}.parquet", 16_384, 9_000_000, c) for k, c in enumerate(checksums)]
    names = ("sparse", "key", "one_hot", "history")
    facts = {"dimension": D, "labels": 9, "block_rows": 1024, **dict.fromkeys(names, False)}
    return str(folder), Manifest.of(folder.name, parts, columns, facts)


def graph_bytes(transform: beam.PTransform) -> int:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | transform
    return int(pipeline.to_runner_api().ByteSize())


def test_embedding_ten_thousand_parts(tmp_path: Path) -> None:
    model = ModelFile("recipe", {}, {"settings": {"D": D}})
    examples = StoredDataset(*many_parts(tmp_path / "examples", tables.examples(D, False, False)))
    config = Config.model_validate({"data": {"format": "digits"}})
    split = embed.plan_split(config, examples, str(tmp_path / "out"), model, {})
    assert graph_bytes(embed.Embed(FS, [split], "model", model)) < 1_000_000


def reweighted_splits(folder: Path, config: Config) -> list[affinity.AffinitySplit]:
    examples = StoredDataset(*many_parts(folder / "examples", tables.examples(D, False, False)))
    vectors = {
        name: VectorDataset(*many_parts(folder / f"embeddings-{name}", tables.embeddings(D)))
        for name in ("train", "test")
    }
    return [
        affinity.plan_split(config.affinity, 0, examples, vectors[name], str(folder / name), {}) for name in vectors
    ]


@pytest.mark.parametrize("recall", [1.0, 0.9])
def test_reweighting_ten_thousand_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recall: float) -> None:
    monkeypatch.setattr(knn_join, "_centre", lambda *_: knn_join.Centre.of(np.zeros((2, D), np.float32), "euclidean"))
    config = load_config(FS, None, {"data": {"format": "digits"}, "affinity": {"recall": recall}})
    splits = reweighted_splits(tmp_path, config)
    source = affinity.Source([splits[0].vectors], 9)
    assert graph_bytes(affinity.Reweight(FS, source, splits, config, SHARDS)) < 2_000_000


def test_clusters_of_ten_thousand_parts(tmp_path: Path) -> None:
    config = load_config(FS, None, {"data": {"format": "digits"}, "affinity": {"kind": "cluster"}})
    splits = reweighted_splits(tmp_path, config)
    source = affinity.Source([splits[0].vectors], 9)
    assert graph_bytes(affinity.ReweightByLeaves(FS, source, splits, config)) < 2_000_000

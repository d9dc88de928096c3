"""A run that finds not all neighbours of its training examples: it says how many, and nothing else changes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from awe_core.estimator import AffinityWeightedEmbedding
from pipelines.filesystems.filesystem import BeamFileSystem
from schemas.manifest import MANIFEST
from tests.end_to_end.runs import DIGITS, awe, models, parts
from tests.end_to_end.test_invariance import ONE_WORKER, _examples

RECALL = "--affinity.recall=0.8"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("recall") / "run"
    awe("run", f"--run={run}", *DIGITS, RECALL, "--affinity.shards=1", ONE_WORKER)
    return run


def facts(run: Path, split: str) -> dict[str, float]:
    return dict(json.loads((run / "reweighted-1" / split / MANIFEST).read_text())["facts"])


def test_the_reweighted_set_says_what_share_of_the_neighbours_was_found(run: Path) -> None:
    train = facts(run, "train")
    assert train["recall_asked"] == 0.8 <= train["recall_low"] <= train["recall"] <= train["recall_high"] < 1
    assert 1 < train["nprobe"] < train["lists"]
    assert "recall" not in facts(run, "test")
    assert "median" in facts(run, "test")


def test_new_rows_are_annotated_as_those_of_test(run: Path, tmp_path: Path) -> None:
    ids, x, _ = _examples(BeamFileSystem(), run, "test")
    np.savez(tmp_path / "new.npz", X=x)
    awe("annotate", f"--run={run}", f"--input={tmp_path / 'new.npz'}", f"--output={tmp_path / 'out'}", "--k=10")
    found = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out").glob("part-*")))
    of_row = dict(zip(found.column("id").to_pylist(), found.column("labels").to_pylist(), strict=True))
    predicted = pa.concat_tables(
        pq.read_table(path) for path in (run / "predictions-1" / "awe" / "test").glob("part-*")
    )
    stage = dict(zip(predicted.column("id").to_pylist(), predicted.column("labels").to_pylist(), strict=True))
    assert [of_row[row] for row in range(len(ids))] == [stage[id] for id in ids.tolist()]


def test_shards_workers_and_what_stood_there_before_change_nothing(run: Path, tmp_path: Path) -> None:
    more = *DIGITS, RECALL, "--affinity.shards=5", "--direct_num_workers=2"
    before = parts(run)
    (run / "reweighted-1" / "test" / MANIFEST).unlink()
    (run / "reweighted-1" / "validation" / MANIFEST).unlink()
    awe("affinity", f"--run={run}", *more, "--iteration=1")
    assert parts(run) == before
    (run / "reweighted-1" / "train" / MANIFEST).unlink()
    awe("affinity", f"--run={run}", *more, "--iteration=1")
    assert parts(run) == before


def test_the_twin_on_arrays_gives_the_same_models_and_affinities(run: Path) -> None:
    examples = {split: _examples(BeamFileSystem(), run, split) for split in ("train", "validation", "test")}
    fit = [np.concatenate([examples["train"][i], examples["validation"][i]]) for i in range(3)]
    how = {"D": 8, "batch": 64, "epochs": 8, "learning_rate": 0.1, "n": 10, "rows_per_part": 80, "block_rows": 32}
    twin = AffinityWeightedEmbedding(**how, recall=0.8).fit(fit[1], fit[2], ids=fit[0])
    tensors = safetensors.numpy.load(models(run)["model-1/model.safetensors"])
    assert np.array_equal(tensors["U"], twin.models_[1].U)
    assert np.array_equal(tensors["V"], twin.models_[1].V)
    assert not np.array_equal(
        tensors["U"], AffinityWeightedEmbedding(**how).fit(fit[1], fit[2], ids=fit[0]).models_[1].U
    )
    stored = pq.read_table(sorted((run / "reweighted-1" / "test").glob("part-*")))
    found = twin.affinity(examples["test"][1], ids=examples["test"][0])
    assert np.array_equal(found.data, stored.column("affinity").combine_chunks().flatten().to_numpy())

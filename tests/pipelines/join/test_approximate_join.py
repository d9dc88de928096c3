"""The join by lists through Beam: what it finds in memory, how much it says it found, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from awe_core.knn import approximate
from awe_core.knn.approximate import Measured, approximate_join
from awe_core.knn.join import knn_join
from pipelines.join import approximate_join as through_beam
from schemas import tables
from schemas.manifest import MANIFEST, Manifest, read_manifest
from schemas.parts import PartWriter
from tests.pipelines.conftest import Awe
from tests.pipelines.joined import BLOCK_ROWS, FS, D, read, same, write

N = 5
PARTS = (300, 0, 250, 90, 260)


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "QUERIES", 150)


def clustered(first_id: int = 0, rows: int = sum(PARTS)) -> tuple[np.ndarray, np.ndarray]:
    """Rows around sixty centres, some of them twice."""
    rng = np.random.default_rng(first_id)
    vectors = (3 * rng.standard_normal((60, D)))[rng.integers(0, 60, rows)] + 0.3 * rng.standard_normal((rows, D))
    vectors[rows // 2 : rows // 2 + 40] = vectors[:40]
    return first_id + rng.permutation(rows).astype(np.int64), vectors.astype(np.float32)


def facts(directory: str) -> dict[str, float]:
    return dict(read_manifest(FS, directory, "knn").facts)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_it_finds_what_its_twin_finds_whatever_the_shards_and_workers(tmp_path: Path, awe: Awe, metric: str) -> None:
    ids, vectors = clustered()
    base = write(tmp_path / "train", ids, vectors, PARTS)
    twin, said = approximate_join(ids, vectors, N, 0.9, seed=0, metric=metric)
    assert said.nprobe < said.lists
    fingerprints = set()
    for shards, workers in ((1, 1), (3, 2), (7, 2)):
        output = tmp_path / f"found-{shards}"
        how = f"--n={N}", "--recall=0.9", f"--metric={metric}", f"--shards={shards}", f"--direct_num_workers={workers}"
        assert awe(f"--base={base}", f"--output={output}", *how) == 0
        same(read(f"{output}/train")[1], twin)
        fingerprints.add(read_manifest(FS, f"{output}/train", "knn").fingerprint)
        found = facts(f"{output}/train")
        told = (found["recall"], found["recall_low"], found["recall_high"], found["recall_queries"])
        assert Measured(*told, found["nprobe"], found["lists"]) == said
    assert len(fingerprints) == 1


def test_it_reaches_the_recall_that_was_asked_for_and_says_so(tmp_path: Path, awe: Awe) -> None:
    ids, vectors = clustered()
    base = write(tmp_path / "train", ids, vectors, PARTS)
    assert awe(f"--base={base}", f"--output={tmp_path}/found", f"--n={N}", "--recall=0.8") == 0
    found, wanted = read(f"{tmp_path}/found/train")[1], knn_join(ids, vectors, N)
    recall = float((found.distances <= wanted.distances[:, -1:]).mean())
    said = facts(f"{tmp_path}/found/train")
    assert 0.8 <= recall < 1
    assert said["recall_asked"] == 0.8 <= said["recall_low"] <= said["recall"] <= said["recall_high"] <= 1
    assert said["recall"] == pytest.approx(recall, abs=0.05)
    assert awe(f"--base={base}", f"--output={tmp_path}/found", f"--n={N}", "--recall=0.8") == 0
    assert "up to date" in awe.err
    assert awe(f"--base={base}", f"--output={tmp_path}/found", f"--n={N}") == 0
    same(read(f"{tmp_path}/found/train")[1], wanted)
    assert "recall" not in facts(f"{tmp_path}/found/train")


def test_visits_to_all_lists_find_all(tmp_path: Path, awe: Awe, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, vectors = clustered()
    base = write(tmp_path / "train", ids, vectors, PARTS)
    monkeypatch.setattr(through_beam, "fewest_probes", lambda depth, present, recall, lists: lists)
    assert awe(f"--base={base}", f"--output={tmp_path}/found", f"--n={N}", "--recall=0.9", "--shards=3") == 0
    same(read(f"{tmp_path}/found/train")[1], knn_join(ids, vectors, N))
    assert facts(f"{tmp_path}/found/train")["recall"] == 1


def test_other_queries_beside_the_base_are_joined_exactly(tmp_path: Path, awe: Awe) -> None:
    (ids, vectors), (query_ids, queries) = clustered(), clustered(10_000, 130)
    base, asked = write(tmp_path / "train", ids, vectors, PARTS), write(tmp_path / "test", query_ids, queries, (130,))
    both = f"--queries={base}", f"--queries={asked}"
    assert awe(f"--base={base}", *both, f"--output={tmp_path}/found", f"--n={N}", "--recall=0.8", "--shards=3") == 0
    same(read(f"{tmp_path}/found/test")[1], knn_join(ids, vectors, N, query_ids, queries))
    assert "recall" not in facts(f"{tmp_path}/found/test")
    same(read(f"{tmp_path}/found/train")[1], approximate_join(ids, vectors, N, 0.8)[0])


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_few_rows_have_all_the_neighbours_there_are(tmp_path: Path, awe: Awe, rows: int) -> None:
    ids, vectors = clustered(rows=100)
    base = write(tmp_path / "train", ids[:rows], vectors[:rows], (rows,))
    assert awe(f"--base={base}", f"--output={tmp_path}/found", f"--n={N}", "--recall=0.9") == 0
    if rows:
        same(read(f"{tmp_path}/found/train")[1], knn_join(ids[:rows], vectors[:rows], N))
    assert facts(f"{tmp_path}/found/train")["recall"] == 1


def test_what_is_not_joined_by_lists_is_refused_in_one_line(tmp_path: Path, awe: Awe) -> None:
    base = write(tmp_path / "train", *clustered(), PARTS)
    asked = write(tmp_path / "test", *clustered(10_000, 130), (130,))
    begin = f"--base={base}", f"--output={tmp_path}/found", f"--n={N}", "--recall=0.9"
    for more, why in {
        "--metric=inner_product": "not of inner products",
        f"--queries={asked}": "a base that is joined with itself",
        f"--known={tmp_path}/train": "leave out --known",
    }.items():
        assert awe(*begin, more) == 2
        assert why in awe.err
        assert awe.err.count("\n") == 1
    for recall in ("0", "1.1"):
        assert awe(*begin[:3], f"--recall={recall}") == 2
    assert awe(f"--base={sparse(tmp_path / 'sparse')}", *begin[1:]) == 2
    assert "for dense vectors" in awe.err


def test_neighbours_that_are_not_all_are_not_known_neighbours(tmp_path: Path, awe: Awe) -> None:
    base = write(tmp_path / "train", *clustered(), PARTS)
    new = write(tmp_path / "arrived", *clustered(10_000, 130), (130,))
    assert awe(f"--base={base}", f"--output={tmp_path}/before", f"--n={N}", "--recall=0.8") == 0
    more = f"--output={tmp_path}/after", f"--n={N}", f"--known={tmp_path}/before"
    assert awe(f"--base={base}", f"--base={new}", *more) == 1
    assert "not all; join all anew" in awe.err


def sparse(folder: Path) -> str:
    """One row of sparse features."""
    schema = tables.examples(D, sparse=True, key=False)
    row = {"id": [0], "indices": [[1]], "values": [[1.0]], "labels": [[0]], "seen": [[]], "weight": [1.0]}
    with PartWriter(FS, str(folder), 0, schema) as writer:
        writer.write(pa.table(row, schema=schema))
    manifest = Manifest.of("sparse", [writer.part], schema, {"dimension": D, "labels": 1, "block_rows": BLOCK_ROWS})
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return str(folder)

"""What must not change a result: shards, workers, runners, and the way through Beam itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from awe_core import metrics as kernel
from awe_core.estimator import AffinityWeightedEmbedding
from pipelines.datasets.example_blocks import read_examples
from pipelines.filesystems.filesystem import BeamFileSystem
from schemas.manifest import MANIFEST, Manifest, find_manifest
from schemas.parts import PartReader, PartWriter
from tests.end_to_end.runs import DIGITS, awe, counters, metrics, models, parts

ONE_WORKER = "--direct_num_workers=1"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shard, one worker, both iterations."""
    run = tmp_path_factory.mktemp("reference") / "run"
    awe("run", f"--run={run}", *DIGITS, "--run.iterations=2", "--affinity.shards=1", ONE_WORKER)
    return run


@pytest.mark.parametrize(
    "how",
    [
        ("--affinity.shards=3", "--direct_num_workers=4"),
        ("--affinity.shards=16", "--direct_num_workers=4"),
    ],
    ids=lambda how: " ".join(how),
)
def test_shards_and_workers_do_not_change_a_byte(reference: Path, tmp_path: Path, how: tuple[str, ...]) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *DIGITS, *how)
    for found, expected in (
        (parts(run), parts(reference)),
        (models(run), models(reference)),
        (metrics(run), metrics(reference)),
    ):
        assert found == {key: expected[key] for key in found}
    assert len(parts(run)) == 6 + 3 + 3 + 8 + 6  # examples and their like, embeddings, reweighted, predictions


def test_workers_that_are_processes_do_not_change_a_byte(reference: Path, tmp_path: Path) -> None:
    """Of the join's stages: every job starts its processes anew, which takes longer than its work."""
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    made = ("embeddings-0", "reweighted-1", "predictions-1/awe")
    for directory in made:
        shutil.rmtree(run / directory)
    processes = ("--runner=multi-processing", "--direct_num_workers=2", "--affinity.shards=3")
    awe("run", f"--run={run}", *DIGITS, *processes)
    found = {key: names for key, names in parts(run).items() if key.startswith(made)}
    assert len(found) == 3 + 3 + 2
    assert found == {key: parts(reference)[key] for key in found}


def test_the_beam_side_does_the_work_in_blocks_shards_and_workers(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    shutil.rmtree(run / "reweighted-1")
    awe("affinity", f"--run={run}", *DIGITS, "--iteration=1", "--affinity.shards=16", "--direct_num_workers=4")
    seen = counters(run, "affinity-1")
    assert len(seen["base_shards"]) == 16
    assert seen["query_blocks"] > 10
    assert seen["rows_reweighted"] == 1797
    assert seen["element_bytes"]["max"] < 10_000_000
    assert len(seen["kernel_workers"]) > 1
    assert parts(run)["reweighted-1/test"] == parts(reference)["reweighted-1/test"]


def test_every_shard_of_the_base_matters(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    shutil.rmtree(run / "reweighted-1")
    directory = run / "embeddings-0" / "train"
    manifest = find_manifest(BeamFileSystem(), str(directory))
    assert manifest is not None
    _rewrite_last_part_shifted(directory, manifest)
    awe("affinity", f"--run={run}", *DIGITS, "--iteration=1", "--affinity.shards=3")
    assert parts(run)["reweighted-1/test"] != parts(reference)["reweighted-1/test"]


def test_a_part_that_was_damaged_is_refused(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    shutil.rmtree(run / "reweighted-1")
    part = sorted((run / "embeddings-0" / "train").glob("part-*"))[-1]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    done = awe("affinity", f"--run={run}", *DIGITS, "--iteration=1", check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"awe: {part}: the content is not what its manifest says")
    assert not (run / "reweighted-1" / "test" / MANIFEST).exists()


def test_neighbours_are_those_of_float64_brute_force(reference: Path) -> None:
    """G of a test row, recomputed from scikit-learn's neighbours in the written embeddings."""
    _base_ids, base, base_labels = _embeddings(reference, "train")
    ids, queries, _ = _embeddings(reference, "test")
    distances, positions = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(base).kneighbors(queries)
    facts = json.loads((reference / "reweighted-1" / "test" / MANIFEST).read_text())["facts"]
    weights = np.exp(-facts["lambda_x"] / facts["median"] * distances**2)
    stored = pq.read_table(sorted((reference / "reweighted-1" / "test").glob("part-*"))).to_pydict()
    assert stored["id"] == ids.tolist()
    for row in range(len(ids)):
        expected: dict[int, float] = {}
        for neighbour, weight in zip(positions[row], weights[row], strict=True):
            for label in base_labels[neighbour]:
                expected[label] = expected.get(label, 0.0) + weight
        assert stored["candidates"][row] == sorted(expected)
        assert stored["affinity"][row] == pytest.approx([expected[label] for label in sorted(expected)], rel=1e-5)


def test_the_twin_on_arrays_gives_the_same_models_affinities_and_metrics(reference: Path) -> None:
    fs = BeamFileSystem()
    examples = {split: _examples(fs, reference, split) for split in ("train", "validation", "test")}
    fit = [np.concatenate([examples["train"][i], examples["validation"][i]]) for i in range(3)]
    how = {"D": 8, "batch": 64, "epochs": 8, "learning_rate": 0.1, "n": 10, "rows_per_part": 80, "block_rows": 32}
    twin = AffinityWeightedEmbedding(**how, iterations=2)
    # The pipeline held validation out of what was left after test; the same hash of the same ids does it again.
    twin.fit(fit[1], fit[2], ids=fit[0])
    written = models(reference)
    for iteration in range(3):
        tensors = safetensors.numpy.load(written[f"model-{iteration}/model.safetensors"])
        assert np.array_equal(tensors["U"], twin.models_[iteration].U)
        assert np.array_equal(tensors["V"], twin.models_[iteration].V)
    ids, x, y = examples["test"]
    for iteration in (1, 2):
        stored = pq.read_table(sorted((reference / f"reweighted-{iteration}" / "test").glob("part-*")))
        affinity = twin.affinity(x, ids=ids, iteration=iteration)
        assert np.array_equal(affinity.indices, stored.column("candidates").combine_chunks().flatten().to_numpy())
        assert np.array_equal(affinity.data, stored.column("affinity").combine_chunks().flatten().to_numpy())
    truth, nothing = sp.csr_matrix(y), sp.csr_matrix(y.shape)
    for (iteration, method), name in {(0, "wsabie"): "wsabie", (1, "gxf"): "gxf", (2, "awe"): "awe"}.items():
        ranking = twin.rank(x, k=10, method=name, iteration=iteration, ids=ids)
        found = kernel.means(kernel.sums(ranking, truth, nothing, None, 10))
        assert found == pytest.approx(metrics(reference)["test", iteration, method], abs=1e-12)


def _examples(fs: BeamFileSystem, run: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    directory = str(run / "examples" / split)
    manifest = find_manifest(fs, directory)
    assert manifest is not None
    blocks = []
    for part in manifest.parts:
        with PartReader(fs, directory, part) as reader:
            blocks += [read_examples(reader, index, manifest.facts) for index in range(reader.blocks)]
    return (
        np.concatenate([block.ids for block in blocks]),
        np.concatenate([block.features for block in blocks]),
        np.concatenate([block.labels.toarray() for block in blocks]),
    )


def _embeddings(run: Path, split: str) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    table = pq.read_table(sorted((run / "embeddings-0" / split).glob("part-*")))
    vectors = np.array(table.column("embedding").to_pylist(), np.float64)
    return table.column("id").to_numpy(), vectors, table.column("labels").to_pylist()


def _rewrite_last_part_shifted(directory: Path, manifest: Manifest) -> None:
    """Another content of the last part under a manifest that fits it: what only a reader of that part can notice."""
    fs, last = BeamFileSystem(), manifest.parts[-1]
    table = pq.read_table(directory / last.name)
    moved = pa.FixedSizeListArray.from_arrays(
        pa.array(table.column("embedding").combine_chunks().flatten().to_numpy() + np.float32(3)),
        type=table.schema.field("embedding").type,
    )
    table = table.set_column(1, table.schema.field("embedding"), moved)
    with PartWriter(fs, str(directory), len(manifest.parts) - 1, table.schema) as writer:
        for start in range(0, len(table), 32):
            writer.write(table.slice(start, 32))
    changed = Manifest(manifest.recipe, (*manifest.parts[:-1], writer.part), manifest.schema, manifest.facts)
    (directory / MANIFEST).write_bytes(changed.to_bytes())
    (directory / last.name).unlink()

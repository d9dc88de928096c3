"""Every member whose G is stored, in memory and through Beam: the same bytes for any number of shards."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.affinities.stored import STORED_KINDS
from awe_core.estimator import AffinityWeightedEmbedding
from pipelines import affinity, annotate, embed, train
from pipelines.datasets.example_blocks import read_examples
from pipelines.datasets.models import load_model, model_file
from pipelines.errors import ConfigError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.stage import Context
from schemas.manifest import Manifest
from schemas.parts import PartReader
from tests.pipelines import ingested

KINDS: dict[str, dict[str, Any]] = {
    "knn": {},
    "knn-max": {"mode": "max"},
    "rbf": {"kind": "rbf"},
    "rbf-smooth": {"kind": "rbf", "lambda_y": 4.0},
    "hybrid": {"kind": "hybrid", "lambda_y": 3.0},
    "hybrid-max": {"kind": "hybrid", "lambda_y": 3.0, "mode": "max"},
    "latent-rbf": {"kind": "latent-rbf", "lambda_y": 2.0, "near_labels": 2},
    "latent-rbf-max": {"kind": "latent-rbf", "lambda_y": 2.0, "near_labels": 2, "mode": "max"},
    "cluster": {"kind": "cluster", "leaf_rows": 20, "leaf_labels": 4},
}
LABELS, CUT = 9, {"rows_per_part": 50, "block_rows": 16}
TRAINED: dict[str, Any] = {"D": 4, "batch": 32, "epochs": 2, "validation_sample": 9}


def context(root: Path, workers: int, **settings: Any) -> Context:
    data = {"train": str(root.parent / "data.npz"), **CUT}
    affinity = {"n": 6, **settings}
    return ingested.context(root, f"--direct_num_workers={workers}", data=data, train=TRAINED, affinity=affinity)


def examples(folder: Path) -> Path:
    """A run of 400 examples up to ingest."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    y = (x @ rng.normal(size=(5, LABELS)) + rng.normal(size=(400, LABELS)) > 2.5).astype(np.int8)
    data = ingested.write_npz(folder / "data.npz", X=x, Y=y, label_names=np.array([f"l{y}" for y in range(LABELS)]))
    ingested.run(folder / "run", train=data, **CUT)
    return folder / "run"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to its first embeddings."""
    root = examples(tmp_path_factory.mktemp("stored"))
    made = context(root, 1)
    (lane,) = made.lanes()
    train.main(made, lane, 0)
    embed.main(made, lane, 0)
    return root


def reweight(embedded: Path, root: Path, workers: int, **settings: Any) -> Path:
    shutil.copytree(embedded, root, dirs_exist_ok=True)
    shutil.copy(embedded.parent / "data.npz", root.parent)
    made = context(root, workers, **settings)
    (lane,) = made.lanes()
    affinity.main(made, lane, 1)
    return root


def read(root: Path, dataset: str) -> tuple[np.ndarray, np.ndarray, sp.csr_matrix, sp.csr_matrix | None, Manifest]:
    """Ids, x, labels and G of a dataset of examples."""
    manifest, blocks = ingested.manifest(root, dataset), []
    for part in manifest.parts:
        with PartReader(BeamFileSystem(), str(root / dataset), part) as reader:
            blocks += [read_examples(reader, index, manifest.facts) for index in range(reader.blocks)]
    ids, x = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("ids", "features"))
    G = None if blocks[0].affinity is None else sp.vstack([block.affinity for block in blocks], format="csr")
    return ids, x, sp.vstack([block.labels for block in blocks], format="csr"), G, manifest


def fitted_twin(root: Path, settings: dict[str, Any]) -> AffinityWeightedEmbedding:
    examples = [read(root, f"examples/{split}") for split in ("train", "validation")]
    ids, x = (np.concatenate([one[i] for one in examples]) for i in range(2))
    y = sp.vstack([one[2] for one in examples])
    return AffinityWeightedEmbedding(**{**TRAINED, **CUT, **settings}).fit(x, y, ids=ids)


@pytest.mark.parametrize("kind", ["knn", "rbf", "cluster"])
def test_a_query_reaches_the_model_and_what_its_neighbours_are_found_by(
    embedded: Path, tmp_path: Path, kind: str
) -> None:
    root = reweight(embedded, tmp_path / "run", 1, **KINDS[kind])
    made = context(root, 1, **KINDS[kind])
    (lane,) = made.lanes()
    for stage in (train.main, annotate.main):
        stage(made, lane, 1)
    rows, D = made.examples("train").rows, TRAINED["D"]
    x = sum(part.bytes for part in made.examples("train").parts)
    leaves = math.ceil(rows / KINDS["cluster"]["leaf_rows"])
    beside = {"knn": 4 * D * rows, "rbf": x, "cluster": 4 * (D + KINDS["cluster"]["leaf_labels"]) * leaves}
    cost = json.loads((root / "log" / "rank-1-awe-test.json").read_text())
    assert cost["bytes"] == 4 * D * (5 + LABELS) + beside[kind]


def test_every_stored_kind_is_among_them() -> None:
    assert {settings.get("kind", "knn") for settings in KINDS.values()} == set(STORED_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_and_workers_change_no_byte_and_the_twin_gives_the_same(
    embedded: Path, tmp_path: Path, kind: str
) -> None:
    settings = KINDS[kind]
    one = reweight(embedded, tmp_path / "one", 1, shards=1, **settings)
    several = reweight(embedded, tmp_path / "several", 3, shards=3, **settings)
    for split in ("train", "validation", "test"):
        parts = [ingested.manifest(root, f"reweighted-1/{split}").parts for root in (one, several)]
        assert [part.name for part in parts[0]] == [part.name for part in parts[1]]
    assert len(ingested.manifest(one, "reweighted-1/train").parts) > 3

    twin = fitted_twin(one, {"n": 6, **settings})
    for split in ("train", "validation", "test"):
        stored_ids, x, _, G, manifest = read(one, f"reweighted-1/{split}")
        assert G is not None
        assert manifest.facts["kind"] == settings.get("kind", "knn")
        if split != "train" or kind != "cluster":  # there rows of the base are not counted for themselves
            expected = twin.affinity(x, ids=stored_ids)
            assert np.array_equal(G.indptr, expected.indptr)
            assert np.array_equal(G.indices, expected.indices)
            assert np.array_equal(G.data, expected.data)
        assert G.nnz


def test_a_model_that_was_trained_on_clusters_says_so_and_is_the_twins(embedded: Path, tmp_path: Path) -> None:
    root = reweight(embedded, tmp_path / "run", 2, **KINDS["cluster"])
    made = context(root, 1, **KINDS["cluster"])
    (lane,) = made.lanes()
    train.main(made, lane, 1)
    described = model_file(made.fs, lane.model(1), 1)
    assert described.facts["kind"] == "cluster"
    assert described.facts["leaf_labels"] == 4
    assert "median" not in described.facts
    twin = fitted_twin(root, KINDS["cluster"])
    model = load_model(made.fs, lane.model(1), described)
    assert np.array_equal(model.U, twin.models_[1].U)
    assert np.array_equal(model.V, twin.models_[1].V)


def test_the_first_embedding_stays_the_one_that_neighbours_are_looked_for_in(embedded: Path, tmp_path: Path) -> None:
    root = reweight(embedded, tmp_path / "run", 1, embedding="first")
    made = context(root, 1, embedding="first")
    (lane,) = made.lanes()
    affinity.main(made, lane, 2)  # there is no model-1
    names = [[part.name for part in ingested.manifest(root, f"reweighted-{t}/test").parts] for t in (1, 2)]
    assert names[0] == names[1]


def test_users_have_no_input_space_to_look_for_neighbours_in(tmp_path: Path) -> None:
    for item, split in enumerate(("train", "valid", "test")):
        ingested.write(tmp_path / f"{split}.txt", "".join(f"{user} {(user + item) % 7}\n" for user in range(20)))
    data = {"format": "interactions", "train": str(tmp_path / "train.txt"), "test": str(tmp_path / "test.txt")}
    ingested.run(tmp_path / "run", **data, validation=str(tmp_path / "valid.txt"))
    made = context(tmp_path / "run", 1, kind="rbf")
    (lane,) = made.lanes()
    with pytest.raises(ConfigError, match="x names the user and nothing else"):
        affinity.main(made, lane, 1)

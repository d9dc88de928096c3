"""Neighbours in Ux with x beside it: through Beam, in memory, and of rows that were never in the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import affinity, annotate, embed, train
from pipelines.config import Config
from pipelines.datasets.models import load_model, model_file
from pipelines.errors import ConfigError
from pipelines.questions.loaded_run import load
from pipelines.stage import Context
from schemas.errors import DataError
from tests.pipelines import ingested
from tests.pipelines.affinities.test_stored_affinities import LABELS, TRAINED, context, examples, fitted_twin, read

N, D, d = 6, TRAINED["D"], 5
KINDS: dict[str, dict[str, Any]] = {
    "knn": {"input_weight": 0.7},
    "hybrid": {"input_weight": 1.5, "kind": "hybrid", "lambda_y": 3.0},
    "folds": {"input_weight": 0.7, "folds": 2},
    "cluster": {"input_weight": 0.7, "kind": "cluster", "leaf_rows": 20, "leaf_labels": 4},
}


def stages(made: Context) -> None:
    (lane,) = made.lanes()
    train.main(made, lane, 0)
    embed.main(made, lane, 0)
    affinity.main(made, lane, 1)
    train.main(made, lane, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_and_workers_change_no_byte_and_the_twin_trains_the_same_model(tmp_path: Path, kind: str) -> None:
    roots = []
    for workers in (1, 3):
        (tmp_path / str(workers)).mkdir()
        roots.append(examples(tmp_path / str(workers)))
        stages(context(roots[-1], workers, shards=workers, **KINDS[kind]))
    for dataset in ("embeddings-0/train", "reweighted-1/train", "reweighted-1/test"):
        one, several = (ingested.manifest(root, dataset).parts for root in roots)
        assert [part.name for part in one] == [part.name for part in several]
    assert ingested.manifest(roots[0], "embeddings-0/train").facts["dimension"] == D + d

    twin = fitted_twin(roots[0], {"n": N, **KINDS[kind]})
    made = context(roots[0], 1, **KINDS[kind])
    (lane,) = made.lanes()
    model = load_model(made.fs, lane.model(1), model_file(made.fs, lane.model(1), 1))
    assert model_file(made.fs, lane.model(1), 1).facts["input_weight"] == KINDS[kind]["input_weight"]
    assert np.array_equal(model.U, twin.models_[1].U)
    assert np.array_equal(model.V, twin.models_[1].V)


def test_g_is_of_the_distances_in_both(tmp_path: Path) -> None:
    root = examples(tmp_path)
    made = context(root, 1, **KINDS["knn"])
    stages(made)
    (lane,) = made.lanes()
    scale = ingested.manifest(root, "embeddings-0/train").facts["input_scale"]
    median = ingested.manifest(root, "reweighted-1/train").facts["median"]
    U = load_model(made.fs, lane.model(0), model_file(made.fs, lane.model(0), 0)).U.astype(np.float64)
    ids, x, y, _, _ = read(root, "reweighted-1/train")
    queries, of_queries, _, G, _ = read(root, "reweighted-1/test")
    assert G is not None
    base = {int(row): np.concatenate([v @ U, scale * v]) for row, v in zip(ids, x.astype(np.float64), strict=True)}
    labels = {int(row): set(y[place].indices.tolist()) for place, row in enumerate(ids)}
    for place in range(0, len(queries), 7):
        q = of_queries[place].astype(np.float64)
        near = sorted((float(((np.concatenate([q @ U, scale * q]) - v) ** 2).sum()), row) for row, v in base.items())
        expected = np.zeros(LABELS)
        for distance, row in near[:N]:
            expected[list(labels[row])] += np.exp(-made.config.affinity.lambda_x / median * distance)
        assert G[place].toarray()[0] == pytest.approx(expected, rel=1e-4)
        assert set(G[place].indices.tolist()) == set(np.flatnonzero(expected).tolist())


def test_a_query_reaches_the_model_and_both_of_every_row_of_the_base(tmp_path: Path) -> None:
    root = examples(tmp_path)
    made = context(root, 1, **KINDS["knn"])
    stages(made)
    (lane,) = made.lanes()
    annotate.main(made, lane, 1)
    cost = json.loads((root / "log" / "rank-1-awe-test.json").read_text())
    assert cost["bytes"] == 4 * D * (d + LABELS) + 4 * (D + d) * made.examples("train").rows


def test_new_rows_are_annotated_as_those_of_the_run_were(tmp_path: Path) -> None:
    root = examples(tmp_path)
    made = context(root, 1, **KINDS["knn"])
    stages(made)
    made.write_configuration()
    _, x, _, _, _ = read(root, "examples/test")
    twin = fitted_twin(root, {"n": N, **KINDS["knn"]})
    found, expected = load(str(root), 1).annotate(x, 3).ranking, twin.rank(x, k=3)
    assert np.array_equal(found.labels, expected.labels)
    assert found.scores == pytest.approx(expected.scores, rel=1e-5, abs=1e-7 * float(expected.scores.max()))


def test_embeddings_of_another_weight_are_refused(tmp_path: Path) -> None:
    root = examples(tmp_path)
    stages(context(root, 1))
    for settings in ({"input_weight": 0.7}, {"input_weight": 0.7, "folds": 2}):
        made = context(root, 1, **settings)
        (lane,) = made.lanes()
        with pytest.raises(DataError, match=r"input_weight = 0, not 0.7; run 'awe embed --iteration=0' again"):
            affinity.main(made, lane, 1)


def test_embeddings_without_a_weight_are_those_of_before_there_was_one(tmp_path: Path) -> None:
    root = examples(tmp_path)
    stages(context(root, 1))
    manifest = json.loads((root / "embeddings-0" / "train" / "manifest.json").read_text())
    assert set(manifest["facts"]) == {"labels", "block_rows", "dimension"}
    assert manifest["facts"]["dimension"] == D


@pytest.mark.parametrize("kind", ["rbf", "sigmoid"])
def test_a_kind_without_neighbours_in_ux_is_refused(kind: str) -> None:
    data = {"data": {"format": "digits"}, "affinity": {"kind": kind, "input_weight": 1.0}}
    with pytest.raises(ValueError, match=r"leave out affinity\.input_weight"):
        Config.model_validate(data)


def test_x_that_cannot_stand_beside_ux_is_refused_before_any_training() -> None:
    config = Config.model_validate({"data": {"format": "digits"}, "affinity": {"input_weight": 1.0}})
    facts = {"dimension": 5000, "sparse": True, "one_hot": False, "labels": 3, "history": False}
    with pytest.raises(ConfigError, match=r"affinity\.input_weight: x has 5,000 sparse columns"):
        config.methods(0, facts)

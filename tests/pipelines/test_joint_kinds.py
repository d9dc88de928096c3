"""Affinities that are learnt with U and V: the pipeline and the estimator train the same bytes, for every kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from awe_core.affinities.joint_kinds import JOINT_KINDS
from awe_core.estimator import AffinityWeightedEmbedding
from pipelines import annotate, train
from pipelines.datasets.models import load_model, model_file
from pipelines.questions.loaded_run import load
from pipelines.run_directory import Lane
from pipelines.stage import Context
from tests.pipelines import ingested
from tests.pipelines.affinities.test_stored_affinities import read

LABELS, FEATURES = 6, 8
CUT: dict[str, Any] = {"rows_per_part": 80, "block_rows": 32}
TRAINED: dict[str, Any] = {"D": 4, "batch": 32, "epochs": 2, "validation_sample": 9, "metric": "map@3"}
KINDS: dict[str, dict[str, Any]] = {
    "constant": {},
    "linear-sigmoid": {"alpha": 1.0, "beta": 0.25},
    "sigmoid": {},
    "max": {},
    "top-k": {"k": 3},
    "low-rank": {"rank": 2},
    "pair-matrix": {"pair_labels": 3, "other": 0.25},
}
PAIRS = sp.random(FEATURES, LABELS, 0.5, format="csr", random_state=0, dtype=np.float32)


def context(root: Path, kind: str, **settings: Any) -> Context:
    data = {"train": str(root.parent / "rows.npz"), **CUT}
    return ingested.context(root, data=data, train=TRAINED, affinity={"kind": kind, **settings})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to model-0, with x of several non-negative features a row."""
    root = tmp_path_factory.mktemp("joint") / "run"
    rng = np.random.default_rng(0)
    x = (rng.random((240, FEATURES)) * (rng.random((240, FEATURES)) < 0.4)).astype(np.float32)
    y = (x @ rng.random((FEATURES, LABELS)) + rng.random((240, LABELS)) > 1.5).astype(np.int8)
    names = np.array([f"l{label}" for label in range(LABELS)])
    ingested.run(root, train=ingested.write_npz(root.parent / "rows.npz", X=x, Y=y, label_names=names), **CUT)
    made = context(root, "constant")
    train.main(made, lane(made), 0)
    return root


def lane(made: Context) -> Lane:
    return made.lanes()[0]


def copied(trained: Path, to: Path) -> Path:
    shutil.copytree(trained, to / "run")
    shutil.copy(trained.parent / "rows.npz", to)
    return to / "run"


def write_pairs(path: Path, pairs: sp.csr_matrix) -> str:
    """In another order than that of the matrix, labels by name."""
    coo = pairs.tocoo()
    order = np.random.default_rng(0).permutation(pairs.nnz)
    columns = {"weight": coo.data[order], "label": [f"l{label}" for label in coo.col[order]], "feature": coo.row[order]}
    pq.write_table(pa.table(columns), path)
    return str(path)


def fitted_twin(root: Path, kind: str, params: dict[str, Any]) -> AffinityWeightedEmbedding:
    examples = [read(root, f"examples/{split}") for split in ("train", "validation")]
    ids, x = (np.concatenate([one[i] for one in examples]) for i in range(2))
    y = sp.vstack([one[2] for one in examples])
    return AffinityWeightedEmbedding(**TRAINED, **CUT, kind=kind, kind_params=params).fit(x, y, ids=ids)


def test_a_query_reaches_the_model_and_no_base(trained: Path, tmp_path: Path) -> None:
    root = copied(trained, tmp_path)
    made = context(root, "low-rank", **KINDS["low-rank"])
    for stage in (train.main, annotate.main):
        stage(made, lane(made), 1)
    cost = json.loads((root / "log" / "rank-1-awe-test.json").read_text())
    assert cost["bytes"] == 4 * (TRAINED["D"] + 2) * (FEATURES + LABELS)


@pytest.mark.parametrize("kind", [*KINDS, "given pairs"])
def test_the_twin_trains_the_same_bytes_and_ranks_the_same(trained: Path, tmp_path: Path, kind: str) -> None:
    root = copied(trained, tmp_path)
    settings: dict[str, Any] = KINDS.get(kind, {})
    params = settings
    if kind == "given pairs":
        kind, settings, params = "pair-matrix", {"pairs": write_pairs(tmp_path / "pairs", PAIRS)}, {"pairs": PAIRS}
    made = context(root, kind, **settings)
    for stage in (train.main, annotate.main):
        stage(made, lane(made), 1)

    twin = fitted_twin(root, kind, params)
    model = load_model(made.fs, lane(made).model(1), model_file(made.fs, lane(made).model(1), 1), warm=True)
    ours = twin.models_[1]
    assert model.joint == replace_source(ours.joint, model.joint)
    assert sorted(model.own) == sorted(ours.own)
    for tensor, expected in {"U": ours.U, "V": ours.V, **ours.own}.items():
        found = {"U": model.U, "V": model.V, **model.own}[tensor]
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()
    ids, x, _, _, _ = read(root, "examples/test")
    ranking = twin.rank(x, k=10, ids=ids)
    stored = [row["labels"] for row in ingested.rows(root, "predictions-1/awe/test")]
    assert [labels for row in stored for labels in row] == ranking.labels.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_new_rows_are_ranked_by_f_and_nobody_stands_behind_a_label(trained: Path, tmp_path: Path, kind: str) -> None:
    root = copied(trained, tmp_path)
    made = context(root, kind, **KINDS[kind])
    train.main(made, lane(made), 1)
    made.write_configuration()
    _, x, _, _, _ = read(root, "examples/test")
    found = load(str(root), 1).annotate(x, 5)
    expected = fitted_twin(root, kind, KINDS[kind]).rank(x, k=5)
    assert np.array_equal(found.ranking.labels, expected.labels)
    assert found.linear == pytest.approx(expected.scores, rel=1e-5, abs=1e-6)
    assert not len(found.behind.ids)


def replace_source(ours: Any, theirs: Any) -> Any:
    """The estimator has no files to name pairs by."""
    return type(ours)(**{**vars(ours), "source": theirs.source, "listed": None}) if hasattr(ours, "source") else ours


def test_every_kind_is_tested() -> None:
    assert set(KINDS) == set(JOINT_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_the_rows_beside_and_lead_to_the_ranking(trained: Path, kind: str) -> None:
    twin = fitted_twin(trained, kind, KINDS[kind])
    x = read(trained, "examples/test")[1]
    scores = twin.decision_function(x)
    alone = np.concatenate([twin.decision_function(row[None]) for row in x])
    np.testing.assert_allclose(scores, alone, rtol=1e-12, atol=1e-12)
    best = twin.rank(x, k=1).padded(1)[:, 0]
    np.testing.assert_allclose(scores[np.arange(len(x)), best], scores.max(axis=1), rtol=1e-4, atol=1e-6)
    assert twin.rank(x, k=1, iteration=0).padded(1).shape == (len(x), 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "k-means"}, "kind must be one of knn, rbf, hybrid, latent-rbf, cluster, constant, .*, not 'k-means'"),
        ({"kind": "top-k", "kind_params": {"rank": 2}}, "kind 'top-k' has no 'rank'; it has k"),
        ({"kind": "knn", "kind_params": {"n": 2}}, "kind 'knn' has no 'n'; it has none"),
        ({"kind": "low-rank", "kind_params": {"rank": 0}}, "affinity.rank must be 1 or more"),
        ({"kind": "max", "folds": 5}, "is not made of neighbours in Ux: leave out affinity.folds"),
        ({"kind": "pair-matrix", "kind_params": {"pairs": sp.identity(3, format="csr")}}, "the pairs are of"),
    ],
)
def test_what_the_estimator_does_not_accept_is_said_in_one_line(settings: dict[str, Any], words: str) -> None:
    x, y = np.eye(4, dtype=np.float32), np.arange(4) % 2
    with pytest.raises(ValueError, match=words) as refused:
        AffinityWeightedEmbedding(D=2, epochs=1, validation_fraction=0.0, **settings).fit(x, y)
    assert "\n" not in str(refused.value)


def test_what_asks_for_a_stored_g_is_refused() -> None:
    x, y = np.eye(4, dtype=np.float32), np.arange(4) % 2
    twin = AffinityWeightedEmbedding(D=2, epochs=1, validation_fraction=0.0, kind="sigmoid").fit(x, y)
    with pytest.raises(ValueError, match="method 'gxf' ranks by a G that is stored, and kind 'sigmoid' has none"):
        twin.rank(x, method="gxf")
    with pytest.raises(ValueError, match="stores no G"):
        twin.affinity(x)

"""What stands behind a label is what its score is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.affinities.beside_neighbours import LabelsById
from awe_core.annotator import Annotations, Annotator, Gated
from awe_core.estimator import AffinityWeightedEmbedding, Wsabie
from awe_core.model import Model
from awe_core.weighing import ByNeighbours

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 5)).astype(np.float32)
Y = (RNG.random((80, 7)) < 0.3).astype(int)
NEW = RNG.standard_normal((30, 5)).astype(np.float32)


def annotator_of(fitted: AffinityWeightedEmbedding) -> Annotator:
    """From the model of an estimator whose base are all of its rows."""
    gate, made = fitted.gates_[1], fitted._affinities[1]
    assert gate is not None
    assert made is not None
    return Annotator(fitted.models_[1], Gated(made.of_new(), made.where, gate))


def by_label(found: Annotations, values: np.ndarray) -> list[np.ndarray]:
    return np.split(values, found.behind.indptr[1:-1])


def rows_of(found: Annotations) -> np.ndarray:
    """The row of every ranked label."""
    return np.repeat(np.arange(len(found)), np.diff(found.ranking.indptr))


OF_EQUAL_LABELS: list[dict[str, Any]] = [
    {},
    {"mode": "max"},
    {"bias": 0.4, "offset": "learnt"},
    {"epsilon": 0.9},
    {"kind": "rbf"},
]
OF_OTHERS: list[dict[str, Any]] = [
    {"kind": "hybrid", "lambda_y": 1.5},
    {"kind": "rbf", "lambda_y": 1.5, "mode": "max"},
    {"kind": "latent-rbf", "lambda_y": 1.5, "near_labels": 2},
    {"kind": "cluster", "leaf_rows": 20, "leaf_labels": 3},
]


def fitted_as(how: dict[str, Any]) -> AffinityWeightedEmbedding:
    return AffinityWeightedEmbedding(**{"D": 3, "epochs": 3, "n": 6, "validation_fraction": 0, **how}).fit(X, Y)


@pytest.mark.parametrize("how", [*OF_EQUAL_LABELS, *OF_OTHERS])
def test_scores_labels_and_affinity_are_those_of_the_estimator(how: dict[str, Any]) -> None:
    fitted = fitted_as(how)
    found, expected = annotator_of(fitted).annotate(NEW, 4), fitted.rank(NEW, 4)
    assert np.array_equal(found.ranking.labels, expected.labels)
    assert found.ranking.scores == pytest.approx(expected.scores, rel=1e-4, abs=1e-6)
    G = np.asarray(fitted.affinity(NEW)[rows_of(found), found.ranking.labels]).ravel()
    assert found.affinity == pytest.approx(G, rel=1e-6)
    gate = fitted.gates_[1]
    assert gate is not None
    assert found.ranking.scores == pytest.approx((gate.scale * found.affinity + gate.bias) * found.linear, rel=1e-6)


@pytest.mark.parametrize("how", OF_EQUAL_LABELS)
def test_where_equal_labels_count_g_is_what_stands_behind_the_label(how: dict[str, Any]) -> None:
    found = annotator_of(fitted_as(how)).annotate(NEW, 4)
    join = np.max if how.get("mode") == "max" else np.sum
    G = [join(weights) if len(weights) else 0.0 for weights in by_label(found, found.behind.weights)]
    assert found.affinity == pytest.approx(np.array(G), rel=1e-6)


def test_where_labels_are_compared_those_who_have_the_label_are_a_part_of_g() -> None:
    of_hybrid = annotator_of(fitted_as({"kind": "hybrid", "lambda_y": 1.5})).annotate(NEW, 7)
    of_knn = annotator_of(fitted_as({"kind": "knn"})).annotate(NEW, 7)
    behind = {
        name: {
            (row, label): tuple(ids)
            for row, label, ids in zip(
                rows_of(found), found.ranking.labels.tolist(), by_label(found, found.behind.ids), strict=True
            )
        }
        for name, found in (("hybrid", of_hybrid), ("knn", of_knn))
    }
    assert behind["hybrid"] == behind["knn"]
    sums = np.array([weights.sum() for weights in by_label(of_hybrid, of_hybrid.behind.weights)])
    assert (of_hybrid.affinity > sums).all()


def test_behind_a_leaf_nobody_stands() -> None:
    found = annotator_of(fitted_as({"kind": "cluster", "leaf_rows": 20, "leaf_labels": 3})).annotate(NEW, 7)
    assert (np.diff(found.ranking.indptr) <= 3).all()
    assert (found.affinity == 1).all()
    assert not found.behind.indptr.any()


def test_behind_a_label_stand_the_neighbours_that_have_it_nearest_first() -> None:
    fitted = fitted_as({})
    found = annotator_of(fitted).annotate(NEW, 7)
    row = rows_of(found)
    queries, base = (fitted.models_[0].embed(x).astype(np.float64) for x in (NEW, X))
    near = np.argsort(((queries[:, None] - base) ** 2).sum(axis=2), axis=1)[:, :6]
    for number, neighbours in enumerate(by_label(found, found.behind.ids)):
        label = found.ranking.labels[number]
        assert neighbours.tolist() == [one for one in near[row[number]].tolist() if Y[one, label]]
    for weights in by_label(found, found.behind.weights):
        assert (np.diff(weights) <= 0).all()


def test_without_affinity_all_of_the_score_is_linear() -> None:
    model = Wsabie(D=3, epochs=2).fit(X, Y).models_[0]
    found = Annotator(model).annotate(NEW, 3)
    assert np.array_equal(found.linear, found.ranking.scores)
    assert (found.affinity == 1).all()
    assert not found.behind.indptr.any()
    assert len(found) == 30


def test_seen_labels_are_neither_ranked_nor_explained() -> None:
    fitted = fitted_as({})
    seen = sp.csr_matrix(np.tile([1, 0, 0, 0, 0, 0, 1], (30, 1)).astype(np.float32))
    found = annotator_of(fitted).annotate(NEW, 7, seen)
    assert not {0, 6} & set(found.ranking.labels.tolist())
    assert len(found.behind.indptr) == len(found.ranking.labels) + 1


def test_no_rows_and_neighbours_without_labels() -> None:
    fitted = fitted_as({})
    annotator = annotator_of(fitted)
    assert len(annotator.annotate(NEW[:0], 3)) == 0
    assert annotator.gated is not None
    weighing = annotator.gated.weighing
    assert isinstance(weighing, ByNeighbours)
    none = LabelsById.of(np.arange(80), sp.csr_matrix(Y.shape))
    weigher = replace(weighing.weigher, labels=none)
    bare = replace(annotator, gated=replace(annotator.gated, weighing=replace(weighing, weigher=weigher)))
    found = bare.annotate(NEW, 3)
    assert found.ranking.indptr.tolist() == [0] * 31
    assert found.behind.indptr.tolist() == [0]


def test_a_model_of_another_width_is_refused() -> None:
    model = Model(np.zeros((4, 2), np.float32), np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="features of 5 columns for a model trained on 4"):
        Annotator(model).annotate(NEW, 3)

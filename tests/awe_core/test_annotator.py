"""What stands behind a label is what its score is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.affinity import LabelsById
from awe_core.annotator import Annotations, Annotator, Weighing
from awe_core.estimator import AffinityWeightedEmbedding, Wsabie
from awe_core.knn import prepare
from awe_core.model import Model
from awe_core.neighbour_space import NeighbourSpace

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 5)).astype(np.float32)
Y = (RNG.random((80, 7)) < 0.3).astype(int)
NEW = RNG.standard_normal((30, 5)).astype(np.float32)


def annotator_of(fitted: AffinityWeightedEmbedding) -> Annotator:
    """From the model of an estimator whose base are all of its rows."""
    before, gate, median = fitted.models_[0], fitted.gates_[1], fitted.medians_[1]
    assert gate is not None
    assert median is not None
    space = None if fitted.kind == "rbf" else NeighbourSpace(before)
    base = prepare(np.arange(80), X if space is None else before.embed(X))
    labels = LabelsById.of(np.arange(80), sp.csr_matrix(Y))
    rate = fitted.lambda_x / median
    how = Weighing(base, labels, space, gate, fitted.n, rate, fitted.mode, fitted.epsilon)
    return Annotator(fitted.models_[1], how)


def by_label(found: Annotations, values: np.ndarray) -> list[np.ndarray]:
    return np.split(values, found.behind[1:-1])


@pytest.mark.parametrize(
    "how", [{}, {"mode": "max"}, {"bias": 0.4, "offset": "learnt"}, {"epsilon": 0.9}, {"kind": "rbf"}]
)
def test_scores_labels_and_affinity_are_those_of_the_estimator(how: dict[str, Any]) -> None:
    fitted = AffinityWeightedEmbedding(D=3, epochs=3, n=6, validation_fraction=0, **how).fit(X, Y)
    annotator = annotator_of(fitted)
    found, expected = annotator.annotate(NEW, 4), fitted.rank(NEW, 4)
    assert np.array_equal(found.ranking.labels, expected.labels)
    assert found.ranking.scores == pytest.approx(expected.scores, rel=1e-4, abs=1e-6)
    join = np.max if fitted.mode == "max" else np.sum
    G = np.array([join(weights) if len(weights) else 0.0 for weights in by_label(found, found.weights)])
    gate = fitted.gates_[1]
    assert gate is not None
    assert found.ranking.scores == pytest.approx((gate.scale * G + gate.bias) * found.linear, rel=1e-6)
    row = np.repeat(np.arange(30), np.diff(found.ranking.indptr))
    assert G == pytest.approx(np.asarray(fitted.affinity(NEW)[row, found.ranking.labels]).ravel(), rel=1e-6)


def test_behind_a_label_stand_the_neighbours_that_have_it_nearest_first() -> None:
    fitted = AffinityWeightedEmbedding(D=3, epochs=3, n=6, validation_fraction=0).fit(X, Y)
    found = annotator_of(fitted).annotate(NEW, 7)
    row = np.repeat(np.arange(30), np.diff(found.ranking.indptr))
    queries, base = (fitted.models_[0].embed(x).astype(np.float64) for x in (NEW, X))
    near = np.argsort(((queries[:, None] - base) ** 2).sum(axis=2), axis=1)[:, :6]
    for number, neighbours in enumerate(by_label(found, found.neighbours)):
        label = found.ranking.labels[number]
        assert neighbours.tolist() == [one for one in near[row[number]].tolist() if Y[one, label]]
    for weights in by_label(found, found.weights):
        assert (np.diff(weights) <= 0).all()


def test_without_affinity_all_of_the_score_is_linear() -> None:
    model = Wsabie(D=3, epochs=2).fit(X, Y).models_[0]
    found = Annotator(model).annotate(NEW, 3)
    assert np.array_equal(found.linear, found.ranking.scores)
    assert not found.behind.any()
    assert len(found) == 30


def test_seen_labels_are_neither_ranked_nor_explained() -> None:
    fitted = AffinityWeightedEmbedding(D=3, epochs=3, n=6, validation_fraction=0).fit(X, Y)
    seen = sp.csr_matrix(np.tile([1, 0, 0, 0, 0, 0, 1], (30, 1)).astype(np.float32))
    found = annotator_of(fitted).annotate(NEW, 7, seen)
    assert not {0, 6} & set(found.ranking.labels.tolist())
    assert len(found.behind) == len(found.ranking.labels) + 1


def test_no_rows_and_neighbours_without_labels() -> None:
    fitted = AffinityWeightedEmbedding(D=3, epochs=3, n=6, validation_fraction=0).fit(X, Y)
    annotator = annotator_of(fitted)
    assert len(annotator.annotate(NEW[:0], 3)) == 0
    assert annotator.weighing is not None
    none = LabelsById.of(np.arange(80), sp.csr_matrix(Y.shape))
    bare = Annotator(annotator.model, Weighing(**{**vars(annotator.weighing), "labels": none}))
    found = bare.annotate(NEW, 3)
    assert found.ranking.indptr.tolist() == [0] * 31
    assert found.behind.tolist() == [0]


def test_a_model_of_another_width_is_refused() -> None:
    model = Model(np.zeros((4, 2), np.float32), np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="features of 5 columns for a model trained on 4"):
        Annotator(model).annotate(NEW, 3)

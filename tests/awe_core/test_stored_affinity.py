"""G of rows in memory: the equation of the k-NN, with rows of the base as they are and as if they were new."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from awe_core.affinities.beside_neighbours import LabelsById
from awe_core.affinities.latent_rbf import NearLabels
from awe_core.affinities.settings import AffinitySettings
from awe_core.arranged import ArrangedBlocks
from awe_core.examples import Block
from awe_core.folds import fold_of
from awe_core.model import Model, initial_model
from awe_core.stored_affinity import Making, StoredAffinity

ROWS, D, Y, N = 90, 4, 6, 7
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, 5)).astype(np.float32)
LABELS = sp.csr_matrix((RNG.random((ROWS, Y)) < 0.3).astype(np.float32))
IDS = RNG.permutation(1000)[:ROWS]
MODELS = [initial_model(5, Y, D, seed, 0) for seed in range(3)]


def arranged(rows: Any = slice(None), ids: np.ndarray = IDS) -> ArrangedBlocks:
    block = Block(ids[rows], X[rows], LABELS[rows], 0 * LABELS[rows], np.ones(len(ids[rows]), np.float32))
    return ArrangedBlocks(block, 0, 32, 16)


def made(**settings: Any) -> StoredAffinity:
    with threadpool_limits(1):
        return StoredAffinity.of(Making(AffinitySettings(n=N, **settings), 0, 1, 16), MODELS[0], arranged())


def by_id(blocks: list[sp.csr_matrix], rows: ArrangedBlocks) -> np.ndarray:
    """G in the order of the rows as they were given."""
    return np.asarray(sp.vstack(blocks).todense())[np.argsort(np.concatenate(rows.positions))]


def equation(queries: np.ndarray, base: np.ndarray, labels: np.ndarray, rate: float, own: np.ndarray) -> np.ndarray:
    """Σₘ exp(−λx ‖Ux − Uxₘ‖²) [y ∈ Yₘ] over the n nearest, float64; `own` are places in the base, −1: none."""
    distances = ((queries[:, None] - base[None]) ** 2).sum(axis=2)
    distances[own >= 0, own[own >= 0]] = np.inf
    near = np.argsort(distances, axis=1, kind="stable")[:, :N]
    weights = np.exp(-rate * np.take_along_axis(distances, near, axis=1))
    return np.einsum("qn,qny->qy", weights, labels[near])


def embedded(model: Model) -> np.ndarray:
    return X.astype(np.float64) @ model.U.astype(np.float64)


def test_a_row_of_the_base_says_nothing_of_itself_where_it_is_known() -> None:
    affinity, Ux, labels = made(), embedded(MODELS[0]), LABELS.toarray()
    rate = affinity.making.settings.lambda_x / affinity.median
    for ids, own, places in (
        (IDS, True, np.arange(ROWS)),
        (IDS, False, np.full(ROWS, -1)),
        (IDS + 1000, True, np.full(ROWS, -1)),
    ):
        rows = arranged(ids=ids)
        found = by_id(affinity.of_rows(rows, own), rows)
        np.testing.assert_allclose(found, equation(Ux, Ux, labels, rate, places), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kind": "rbf"},
        {"kind": "hybrid", "lambda_y": 1.0},
        {"kind": "latent-rbf", "lambda_y": 1.0, "near_labels": 2},
        {"kind": "cluster", "leaf_rows": 30},
        {"input_weight": 0.7},
    ],
)
def test_new_rows_have_the_same_g_by_their_places(settings: dict[str, Any]) -> None:
    affinity, rows = made(**settings), arranged()
    places = X if affinity.where is None else affinity.where.embed(X)
    found = affinity.of_new().of(places).affinity.toarray()
    np.testing.assert_allclose(found, by_id(affinity.of_rows(rows, own=False), rows), rtol=1e-6)


def test_near_labels_are_found_once_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    found, find = [], NearLabels.of
    monkeypatch.setattr(NearLabels, "of", lambda V, near: found.append(near) or find(V, near))
    affinity, rows = made(kind="latent-rbf", lambda_y=1.0, near_labels=2), arranged()
    assert len(affinity.of_rows(rows, own=True)) > 3
    affinity.of_new().of(X[:, :D])
    assert found == [2]


def test_out_of_fold_a_row_is_where_a_model_without_it_puts_it_among_the_others() -> None:
    affinity, rows, labels = made(folds=3), arranged(), LABELS.toarray()
    found = by_id(affinity.out_of_fold(rows, MODELS), rows)
    folds = fold_of(0, IDS, 3)
    for fold, model in enumerate(MODELS):
        own, Ux = folds == fold, embedded(model)
        rate = affinity.making.settings.lambda_x / affinity.making.median(IDS[~own], Ux[~own].astype(np.float32))
        nobody = np.full(own.sum(), -1)
        expected = equation(Ux[own], Ux[~own], labels[~own], rate, nobody)
        np.testing.assert_allclose(found[own], expected, rtol=1e-4, atol=1e-6)


def test_lists_that_look_at_all_find_all() -> None:
    rows = arranged()
    exact, by_lists = (by_id(made(recall=recall).of_fitted(rows), rows) for recall in (1.0, 0.999999))
    np.testing.assert_allclose(by_lists, exact, rtol=1e-5, atol=1e-7)


def test_labels_are_found_by_id_and_there_are_none_of_an_id_that_is_not_there() -> None:
    found = LabelsById.of(IDS, LABELS).of_rows(np.array([IDS[3], 5000, IDS[0], -1]))
    expected = np.zeros((4, Y))
    expected[[0, 2]] = LABELS.toarray()[[3, 0]]
    assert np.array_equal(found.toarray(), expected)

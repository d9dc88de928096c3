"""Ridge regression, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge as PeersRidge

from awe_core.baselines import ridge
from awe_core.baselines.ridge import PENALTIES, RidgeFits, choose_penalty
from awe_core.examples import Block
from tests.awe_core.lists import csr
from tests.oracles import metrics as oracle


def blocks(x: np.ndarray, labels: list[set[int]], weight: np.ndarray, sparse: bool, cuts: int = 3) -> list[Block]:
    width = 1 + max((label for row in labels for label in row), default=0)
    return [
        Block(
            ids=rows,
            features=sp.csr_matrix(x[rows]) if sparse else x[rows],
            labels=csr([labels[row] for row in rows], width),
            seen=csr([set() for _ in rows], width),
            weight=weight[rows],
        )
        for rows in np.array_split(np.arange(len(x)), cuts)
    ]


def case(seed: int = 0) -> tuple[np.ndarray, list[set[int]], np.ndarray]:
    rng = np.random.default_rng(seed)
    x = (3.0 + rng.standard_normal((90, 6))).astype(np.float32)
    x[rng.random(x.shape) < 0.4] = 0
    labels = [set(rng.permutation(4)[: rng.integers(0, 4)].tolist()) for _ in x]
    labels[0] = {3}
    return x, labels, rng.uniform(0.0, 3.0, 90).astype(np.float32)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_the_solution_is_scikit_learns_with_the_penalty_in_mean_eigenvalues(sparse: bool, penalty: float) -> None:
    x, labels, weight = case()
    y = csr(labels, 4).toarray()
    wide, mean = x.astype(np.float64), np.average(x, axis=0, weights=weight)
    scatter = (wide - mean).T @ ((wide - mean) * weight[:, None])
    peer = PeersRidge(alpha=penalty * np.trace(scatter) / 6).fit(wide, y, sample_weight=weight)
    found = RidgeFits.fit(blocks(x, labels, weight, sparse), 6, 4).solve(penalty)
    np.testing.assert_allclose(found.weights, peer.coef_.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.intercept, peer.intercept_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.scores(x), peer.predict(wide), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.scores(sp.csr_matrix(x)), found.scores(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_of_a_history_every_label_is_regressed_on_x_without_it(penalty: float) -> None:
    """Feature j stands for label j, as in EASE (Steck 2019); the penalty stays that of the whole x."""
    x, labels, weight = case()
    y = csr(labels, 4).toarray()
    wide, mean = x.astype(np.float64), np.average(x, axis=0, weights=weight)
    scatter = (wide - mean).T @ ((wide - mean) * weight[:, None])
    found = RidgeFits.fit(blocks(x, labels, weight, True), 6, 4, leave_one_out=True).solve(penalty)
    for label in range(4):
        others = np.delete(np.arange(6), label)
        peer = PeersRidge(alpha=penalty * np.trace(scatter) / 6).fit(wide[:, others], y[:, label], sample_weight=weight)
        assert found.weights[label, label] == 0
        np.testing.assert_allclose(found.weights[others, label], peer.coef_, rtol=1e-5, atol=1e-6)
        assert found.intercept[label] == pytest.approx(peer.intercept_, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_histories_that_are_all_the_same_leave_the_mean_of_the_labels(penalty: float) -> None:
    one = np.ones(5, np.float32)
    same = blocks(np.tile(np.array([1, 1, 0], np.float32), (5, 1)), [{0, 1}] * 4 + [{0}], one, True)
    found = RidgeFits.fit(same, 3, 2, leave_one_out=True).solve(penalty)
    np.testing.assert_array_equal(found.weights, 0)
    np.testing.assert_allclose(found.intercept, [1.0, 0.8])


def test_a_weight_counts_like_copies_and_zero_like_absence() -> None:
    x, labels, _ = case()
    weight = np.random.default_rng(1).integers(0, 4, 90)
    copies = np.repeat(np.arange(90), weight)
    one = RidgeFits.fit(blocks(x, labels, weight.astype(np.float32), False), 6, 4).solve(1.0)
    ones = np.ones(len(copies), np.float32)
    other = RidgeFits.fit(blocks(x[copies], [labels[row] for row in copies], ones, False), 6, 4).solve(1.0)
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-5)
    np.testing.assert_allclose(one.intercept, other.intercept, rtol=1e-5)


def test_the_cut_into_blocks_does_not_matter() -> None:
    x, labels, weight = case()
    one, many = (RidgeFits.fit(blocks(x, labels, weight, False, cuts), 6, 4).solve(1.0) for cuts in (1, 9))
    np.testing.assert_allclose(one.weights, many.weights, rtol=1e-5)


def test_a_constant_feature_and_collinear_ones_leave_the_solution_finite() -> None:
    x, labels, weight = case()
    x[:, 0], x[:, 1] = 5.0, x[:, 2]
    found = RidgeFits.fit(blocks(x, labels, weight, False), 6, 4).solve(PENALTIES[0])
    assert np.isfinite(found.weights).all()
    assert found.weights[0] == pytest.approx(np.zeros(4), abs=1e-6)
    np.testing.assert_allclose(found.weights[1], found.weights[2], rtol=1e-3)


def test_without_any_variance_the_mean_of_the_labels_is_what_is_left() -> None:
    found = RidgeFits.fit(
        blocks(np.ones((4, 2), np.float32), [{0}, {0}, {1}, {0}], np.ones(4, np.float32), False), 2, 2
    )
    assert found.solve(1.0).scores(np.ones((1, 2), np.float32))[0] == pytest.approx([0.75, 0.25])


def test_what_cannot_be_fitted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, weight = case()
    with pytest.raises(ValueError, match="no training example with a weight"):
        RidgeFits.fit(blocks(x, labels, np.zeros_like(weight), False), 6, 4)
    with pytest.raises(ValueError, match="no training example with a weight"):
        RidgeFits.fit([], 6, 4)
    monkeypatch.setattr(ridge, "BYTES_AT_MOST", ridge.bytes_needed(6, 4) - 1)
    with pytest.raises(ValueError, match="leave it out of evaluate.methods"):
        RidgeFits.fit(blocks(x, labels, weight, False), 6, 4)


class InMemory(list[Block]):
    @property
    def rows_of_block(self) -> list[int]:
        return [len(block) for block in self]


@pytest.mark.parametrize("metric", ["p@1", "ndcg@3"])
def test_the_penalty_with_the_best_metric_is_chosen_and_of_equals_the_largest(metric: str) -> None:
    x, labels, weight = case()
    fits = RidgeFits.fit(blocks(x, labels, weight, False), 6, 4)
    validation = InMemory(blocks(x, labels, weight, False))

    def measured(penalty: float) -> float:
        ranked = np.argsort(-fits.solve(penalty).scores(x), axis=1, kind="stable").tolist()
        of_row = {"p@1": lambda row: oracle.precision_at(ranked[row], labels[row], 1)}
        of_row["ndcg@3"] = lambda row: oracle.ndcg_at(ranked[row], labels[row], 3)
        return float(np.mean([of_row[metric](row) for row, true in enumerate(labels) if true]))

    by_penalty = {penalty: measured(penalty) for penalty in PENALTIES}
    best = max(by_penalty.values())
    assert min(by_penalty.values()) < best
    assert choose_penalty(fits, validation, metric) == max(p for p, value in by_penalty.items() if value == best)
    unlabelled = InMemory(blocks(x, [set() for _ in labels], weight, False))
    assert choose_penalty(fits, InMemory(unlabelled[:0]), metric, (1.0, 2.0)) == 2.0

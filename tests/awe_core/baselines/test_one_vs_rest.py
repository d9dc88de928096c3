"""One-vs-Rest against a plain float64 loop over the passive-aggressive update."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.baselines.one_vs_rest import choose, fit
from awe_core.baselines.passive_aggressive import Choice
from tests.awe_core.baselines.test_pamir import Y, case
from tests.awe_core.blocks import InMemory, block


def passive_aggressive(x: np.ndarray, sign: np.ndarray, C: float) -> tuple[np.ndarray, float]:
    """PA-I with an intercept that moves as if it were the weight of a constant feature, but for the norm."""
    w, b = np.zeros(x.shape[1]), 0.0
    for row, y in zip(x.astype(np.float64), sign, strict=True):
        loss = max(0.0, 1 - y * (w @ row + b))
        step = min(C, loss / (row @ row)) if loss else 0.0
        w, b = w + step * y * row, b + step * y
    return w, b


@pytest.mark.parametrize("C", [0.05, 10.0])
def test_an_epoch_of_a_classifier_is_passive_aggressive(C: float) -> None:
    """All rows are alike but in sign, so that no order of the visit matters."""
    x = np.tile(np.array([[1.0, 2.0]]), (6, 1))
    found = fit(InMemory([block(x, [[0]] * 6, 2)]), 2, 2, Choice(C, 1, False), seed=0)
    assert found.intercept.tolist() == [1.0, -1.0]  # one label is everybody's, the other nobody's
    assert not found.weights.any()
    rng = np.random.default_rng(0)
    signs = [[0], []] * 3
    rows = np.where(
        np.arange(6)[:, None] % 2 == 0, x, -x
    )  # the sign of the row goes with the label: no step undoes one
    found = fit(InMemory([block(rows, signs, 1)]), 2, 1, Choice(C, 1, False), seed=int(rng.integers(9)))
    orders = [
        passive_aggressive(rows[order], np.where(order % 2 == 0, 1, -1), C) for order in map(rng.permutation, [6] * 500)
    ]
    near = [
        np.allclose(found.weights[:, 0], w, rtol=1e-4) and np.isclose(found.intercept[0], b, atol=1e-4)
        for w, b in orders
    ]
    assert any(near)


def test_threads_and_cuts_into_blocks_do_not_matter() -> None:
    source = case()
    one = InMemory([block(np.concatenate([b.features for b in source.blocks]), [], Y)])
    whole = sp.vstack([b.labels for b in source.blocks], format="csr")
    one.blocks[0] = type(one.blocks[0])(
        ids=np.arange(40),
        features=one.blocks[0].features,
        labels=whole,
        seen=sp.csr_matrix(whole.shape, dtype=np.float32),
        weight=np.concatenate([b.weight for b in source.blocks]),
    )
    choice = Choice(0.1, 3, True)
    first = fit(source, 6, Y, choice, 5, threads=1)
    for other in (fit(source, 6, Y, choice, 5, threads=3), fit(one, 6, Y, choice, 5)):
        np.testing.assert_array_equal(first.weights, other.weights)
        np.testing.assert_array_equal(first.intercept, other.intercept)


@pytest.mark.parametrize("sparse", [False, True])
def test_it_learns_and_what_is_chosen_is_what_the_choice_gives_again(sparse: bool) -> None:
    source, validation = case(sparse, rows=200), case(sparse, seed=1, rows=200)
    model, choice = choose(source, validation, 6, Y, 0, "p@1", epochs=3)
    truth = np.concatenate([b.labels.toarray() for b in validation.blocks])
    scores = np.concatenate([model.scores(b.features) for b in validation.blocks])
    assert truth[np.arange(len(truth)), scores.argmax(axis=1)].mean() > 0.7
    np.testing.assert_array_equal(fit(source, 6, Y, choice, 0).weights, model.weights)


def test_of_a_history_every_label_is_told_by_x_without_it() -> None:
    """Feature j stands for label j."""
    source, choice = case(sparse=True), Choice(0.1, 3, True)
    found = fit(source, 6, Y, choice, 5, threads=2, leave_one_out=True)
    for label in range(Y):
        without = []
        for one in source.blocks:
            x = one.features.toarray()
            x[:, label] = 0
            without.append(replace(one, features=sp.csr_matrix(x)))
        peer = fit(InMemory(without), 6, Y, choice, 5)
        assert found.weights[label, label] == 0
        np.testing.assert_allclose(found.weights[:, label], peer.weights[:, label], rtol=1e-5, atol=1e-6)
        assert found.intercept[label] == pytest.approx(peer.intercept[label], rel=1e-5, abs=1e-6)


def test_a_weight_of_zero_is_like_absence() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    with_it = fit(InMemory([block(x, [[0], [1], [1]], 2, weight=[1, 1, 0])]), 2, 2, Choice(1.0, 1, False), 0)
    assert (with_it.scores(x.astype(np.float32))[:2].argmax(axis=1) == [0, 1]).all()

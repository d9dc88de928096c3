"""PAMIR against a plain float64 loop over its update."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.arrangement import epoch_order, generator
from awe_core.baselines import pamir
from awe_core.baselines.pamir import Pamir, choose, fit
from awe_core.baselines.passive_aggressive import Choice
from awe_core.examples import Block
from tests.awe_core.blocks import InMemory, block

Y = 5


def case(sparse: bool = False, seed: int = 0, rows: int = 40) -> InMemory:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 6)).astype(np.float32)
    x[rng.random(x.shape) < 0.4] = 0
    best = (x @ np.random.default_rng(99).standard_normal((6, Y))).argsort(axis=1)
    labels = [sorted(best[row, -int(rng.integers(1, 3)) :].tolist()) for row in range(rows)]
    seen = [[int(best[row, 0])] if row % 3 == 0 else [] for row in range(rows)]
    weight = rng.uniform(0.5, 2.0, rows)
    cuts = np.array_split(np.arange(rows), 3)
    return InMemory(
        [
            block(
                sp.csr_matrix(x[cut]) if sparse else x[cut],
                [labels[row] for row in cut],
                Y,
                seen=[seen[row] for row in cut],
                weight=weight[cut].tolist(),
            )
            for cut in cuts
        ]
    )


def lists(matrix: sp.csr_matrix, row: int) -> list[int]:
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]].tolist()


def oracle(
    source: InMemory, C: float, epochs: int, seed: int, leave_one_out: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The matrix after all steps, and the mean of the matrices after each step: one pair, one update at a time."""
    w, after = np.zeros((Y, 6)), []
    for epoch in range(1, epochs + 1):
        for index, rows in epoch_order(list(source.rows_of_block), seed, epoch):
            here: Block = source[index]
            random = generator(seed, "pamir", epoch, index)
            x = np.asarray(here.features.todense() if sp.issparse(here.features) else here.features, np.float64)
            for row in rows.tolist():
                labels, seen = lists(here.labels, row), lists(here.seen, row)
                allowed = [label for label in range(Y) if label not in labels and label not in seen]
                places = random.integers(len(allowed), size=len(labels)).tolist()
                for label, place in zip(labels, places, strict=True):
                    other, features = allowed[place], x[row].copy()
                    if leave_one_out:
                        features[label] = 0
                    loss = max(0.0, 1 - w[label] @ features + w[other] @ features)
                    step = float(here.weight[row]) * min(C, loss / (2 * (features @ features)))
                    w[label] += step * features
                    w[other] -= step * features
                    after.append(w.copy())
    return w, np.mean(after, axis=0)


@pytest.mark.parametrize(("sparse", "leave_one_out"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("C", [0.02, 10.0])
def test_the_steps_are_those_of_the_equation(sparse: bool, leave_one_out: bool, C: float) -> None:
    source = case(sparse)
    last, mean = oracle(source, C, 3, seed=7, leave_one_out=leave_one_out)
    training = Pamir(6, Y, C, seed=7, leave_one_out=leave_one_out)
    for _ in range(3):
        training.run_epoch(source)
    np.testing.assert_allclose(training.model(averaged=False).weights.T, last, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(training.model(averaged=True).weights.T, mean, rtol=1e-5, atol=1e-7)
    assert not training.model(averaged=True).intercept.any()


def test_one_step_ranks_the_label_a_margin_before_the_other_or_goes_as_far_as_c_lets_it() -> None:
    x = np.array([[3.0, 4.0]])
    free = fit(InMemory([block(x, [[0]], 2)]), 2, 2, Choice(10.0, 1, False), 0)
    scores = free.scores(x.astype(np.float32))[0]
    assert scores[0] - scores[1] == pytest.approx(1.0)
    held = fit(InMemory([block(x, [[0]], 2)]), 2, 2, Choice(0.001, 1, False), 0)
    np.testing.assert_allclose(held.weights[:, 0], 0.001 * x[0], rtol=1e-6)


def test_rows_without_features_labels_or_negatives_are_left_out() -> None:
    source = InMemory([block(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), [[0], [], [0, 1]], 2)])
    assert not fit(source, 2, 2, Choice(1.0, 2, True), 0).weights.any()


def test_of_a_history_the_own_label_says_nothing() -> None:
    """Feature j stands for label j: a user with one item has nothing left to learn it from."""
    source = InMemory([block(sp.csr_matrix([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), [[0], [1, 2]], 3)])
    found = fit(source, 3, 3, Choice(1.0, 5, False), 0, leave_one_out=True)
    assert found.weights[0].tolist() == [0, 0, 0]
    assert found.weights.diagonal().tolist() == [0, 0, 0]
    assert found.weights[1, 2] > 0 < found.weights[2, 1]
    dense = InMemory([block(np.eye(3), [[0], [1], [2]], 3)])
    with pytest.raises(ValueError, match="sparse features"):
        fit(dense, 3, 3, Choice(1.0, 1, False), 0, leave_one_out=True)


def test_what_is_chosen_is_what_the_choice_gives_again() -> None:
    source, validation = case(), case(seed=1)
    model, choice = choose(source, validation, 6, Y, 3, "ndcg@3", aggressiveness=(1e-6, 0.1), epochs=4)
    again = fit(source, 6, Y, choice, seed=3)
    np.testing.assert_array_equal(model.weights, again.weights)
    assert choice == Choice.from_json(
        {"aggressiveness": choice.aggressiveness, "epochs": choice.epochs, "averaged": choice.averaged}
    )


def test_it_learns_and_validation_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    source, validation = case(rows=200), case(seed=1, rows=200)
    model, _ = choose(source, validation, 6, Y, 0, "p@1")
    truth = np.concatenate([b.labels.toarray() for b in validation.blocks])
    x = np.concatenate([np.asarray(b.features) for b in validation.blocks])
    best = model.scores(x).argmax(axis=1)
    assert truth[np.arange(len(x)), best].mean() > 0.8
    asked: list[str] = []
    monkeypatch.setattr(pamir, "quality", lambda scores, source, metric: asked.append(metric) or float(len(asked) == 3))
    _, chosen = choose(source, validation, 6, Y, 0, "map@2", aggressiveness=(0.5,), epochs=2)
    assert chosen == Choice(0.5, 2, True)
    assert set(asked) == {"map@2"}

"""SGD, AdaGrad and the norm constraint, against `tests.oracles.warp`."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core.optimisers import AdaGrad, Sgd, optimiser_named, project
from tests.oracles import warp as oracle


def gradients(steps: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(5, 3)).astype(np.float32) for _ in range(steps)]


def by_oracle(start: np.ndarray, steps: list[np.ndarray], adagrad: bool) -> np.ndarray:
    at = {"U": start.astype(np.float64), "V": np.zeros((1, 1)), "c": np.zeros(())}
    sums = {"U": np.zeros_like(at["U"])} if adagrad else None
    for gradient in steps:
        at, sums = oracle.step(at, {"U": gradient.astype(np.float64)}, 0.1, accumulators=sums)
    return at["U"]


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
@pytest.mark.parametrize("rows", [None, np.arange(5)])
def test_steps_on_all_rows(name, rows):
    parameter = np.ones((5, 3), dtype=np.float32)
    optimiser = optimiser_named(name, 0.1)
    for gradient in gradients(4):
        optimiser.update("U", parameter, rows, gradient)
    assert parameter == pytest.approx(by_oracle(np.ones((5, 3)), gradients(4), name == "adagrad"), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_a_step_on_some_rows_is_one_with_no_gradient_elsewhere(name):
    some, whole = np.ones((5, 3), dtype=np.float32), np.ones((5, 3), dtype=np.float32)
    rows = np.array([1, 4])
    one, other = optimiser_named(name, 0.1), optimiser_named(name, 0.1)
    for gradient in gradients(3):
        full = np.zeros_like(gradient)
        full[rows] = gradient[rows]
        one.update("V", some, rows, gradient[rows])
        other.update("V", whole, None, full)
    assert some.tobytes() == whole.tobytes()
    assert (some[[0, 2, 3]] == 1).all()
    assert not (some[rows] == 1).any()


def test_the_first_step_of_adagrad_has_the_length_of_the_learning_rate():
    parameter = np.zeros((1, 3), dtype=np.float32)
    AdaGrad(0.1).update("U", parameter, None, np.array([[1e-6, -50.0, 0.0]], dtype=np.float32))
    assert parameter.tolist() == [pytest.approx([-0.1, 0.1, 0.0], rel=1e-3)]


def test_adagrad_goes_on_from_given_sums_and_leaves_them_alone():
    given = {"U": np.full((1, 1), 3.0, dtype=np.float32)}
    parameter = np.zeros((1, 1), dtype=np.float32)
    optimiser = AdaGrad(0.1, given)
    optimiser.update("U", parameter, None, np.ones((1, 1), dtype=np.float32))
    assert parameter.item() == pytest.approx(-0.05)
    assert optimiser.accumulators["U"].item() == 4.0
    assert given["U"].item() == 3.0


def test_sgd_keeps_no_sums():
    optimiser = Sgd(0.1)
    optimiser.update("U", np.zeros((1, 1), np.float32), None, np.ones((1, 1), np.float32))
    assert optimiser.accumulators == {}


def test_long_rows_are_shortened_and_others_stay():
    start = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    rows = start.copy()
    project(rows, None, 1.2)
    assert rows == pytest.approx(oracle.project(start.astype(np.float64), 1.2), rel=1e-6)
    short = np.linalg.norm(start, axis=1) <= 1.2
    assert 0 < short.sum() < 6
    assert (rows[short] == start[short]).all()


def test_only_the_given_rows_are_projected_and_none_without_a_constraint():
    rows = np.full((3, 1), 5.0, dtype=np.float32)
    project(rows, None, np.inf)
    assert rows.ravel().tolist() == [5, 5, 5]
    project(rows, np.array([2]), 2.0)
    assert rows.ravel().tolist() == [5, 5, 2]

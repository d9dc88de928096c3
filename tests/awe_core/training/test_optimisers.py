"""SGD, AdaGrad and the norm constraint, against `tests.oracles.warp`."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core.kernels.choice import kernel_named
from awe_core.kernels.kernel import Kernel
from awe_core.kernels.sorted_rows import SortedRows
from awe_core.threads import Workers
from awe_core.training.optimisers import AdaGrad, Optimiser, Sgd, move_rows, optimiser_named, project
from tests.compiled import needs_numba
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


def step(optimiser: Optimiser, parameter: np.ndarray, rows: np.ndarray | None, gradient: np.ndarray) -> None:
    if rows is None:
        optimiser.update("U", parameter, gradient)
    else:
        with Workers(2) as workers:
            move_rows(optimiser, "U", parameter, SortedRows.of([rows], [gradient], len(parameter)), np.inf, workers)


@pytest.fixture(params=["numpy", "numba"])
def kernel(request) -> Kernel:
    if request.param == "numba":
        needs_numba()
    return kernel_named(request.param)


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
@pytest.mark.parametrize("rows", [None, np.arange(5)])
def test_steps_on_all_rows(name, rows, kernel):
    parameter = np.ones((5, 3), dtype=np.float32)
    optimiser = optimiser_named(name, 0.1, kernel=kernel)
    for gradient in gradients(4):
        step(optimiser, parameter, rows, gradient)
    assert parameter == pytest.approx(by_oracle(np.ones((5, 3)), gradients(4), name == "adagrad"), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_a_step_on_some_rows_is_one_with_no_gradient_elsewhere(name, kernel):
    some, whole = np.ones((5, 3), dtype=np.float32), np.ones((5, 3), dtype=np.float32)
    rows = np.array([1, 4])
    one, other = optimiser_named(name, 0.1, kernel=kernel), optimiser_named(name, 0.1, kernel=kernel)
    for gradient in gradients(3):
        full = np.zeros_like(gradient)
        full[rows] = gradient[rows]
        step(one, some, rows, gradient[rows])
        step(other, whole, None, full)
    assert some == pytest.approx(whole, rel=1e-6)
    assert (some[[0, 2, 3]] == 1).all()
    assert not (some[rows] == 1).any()


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_the_parts_of_a_rows_gradient_are_added_up_before_the_step(name, kernel):
    rng = np.random.default_rng(8)
    rows = [rng.integers(0, 9, size=40), rng.integers(0, 9, size=30)]
    values = [rng.normal(size=(len(part), 3)).astype(np.float32) for part in rows]
    total = np.zeros((9, 3), dtype=np.float64)
    for part, gradient in zip(rows, values, strict=True):
        np.add.at(total, part, gradient.astype(np.float64))
    parameter, expected = np.ones((9, 3), np.float32), np.ones((9, 3), np.float32)
    with Workers(1) as workers:
        move_rows(
            optimiser_named(name, 0.1, kernel=kernel), "U", parameter, SortedRows.of(rows, values, 9), 1.2, workers
        )
    optimiser_named(name, 0.1).update("U", expected, total.astype(np.float32))
    project(expected, None, 1.2)
    assert parameter == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_the_number_of_threads_does_not_change_a_bit(name, kernel):
    rng = np.random.default_rng(9)
    rows, values = rng.integers(0, 5000, size=20_000), rng.normal(size=(20_000, 4)).astype(np.float32)
    results = set()
    for threads in (1, 2, 4):
        parameter = np.ones((5000, 4), np.float32)
        optimiser = optimiser_named(name, 0.1, kernel=kernel)
        with Workers(threads) as workers:
            for _ in range(2):
                move_rows(optimiser, "U", parameter, SortedRows.of([rows], [values], 5000), 1.3, workers)
        results.add(parameter.tobytes() + b"".join(sums.tobytes() for sums in optimiser.accumulators.values()))
    assert len(results) == 1


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
def test_the_two_kernels_agree_step_by_step(name):
    needs_numba()
    rng = np.random.default_rng(10)
    ours = {kernel: np.ones((50, 16), np.float32) for kernel in ("numpy", "numba")}
    optimisers = {kernel: optimiser_named(name, 0.05, kernel=kernel_named(kernel)) for kernel in ours}
    for _ in range(20):
        gradient = SortedRows.of([rng.integers(0, 50, size=200)], [rng.normal(size=(200, 16)).astype(np.float32)], 50)
        with Workers(1) as workers:
            for kernel, parameter in ours.items():
                move_rows(optimisers[kernel], "U", parameter, gradient, np.inf, workers)
        assert ours["numpy"] == pytest.approx(ours["numba"], rel=1e-5, abs=1e-5)


def test_the_first_step_of_adagrad_has_the_length_of_the_learning_rate():
    parameter = np.zeros((1, 3), dtype=np.float32)
    AdaGrad(0.1).update("U", parameter, np.array([[1e-6, -50.0, 0.0]], dtype=np.float32))
    assert parameter.tolist() == [pytest.approx([-0.1, 0.1, 0.0], rel=1e-3)]


def test_adagrad_goes_on_from_given_sums():
    given = {"U": np.full((1, 1), 3.0, dtype=np.float32)}
    parameter = np.zeros((1, 1), dtype=np.float32)
    optimiser = AdaGrad(0.1, given)
    optimiser.update("U", parameter, np.ones((1, 1), dtype=np.float32))
    assert parameter.item() == pytest.approx(-0.05)
    assert optimiser.accumulators["U"].item() == 4.0


def test_sgd_keeps_no_sums():
    optimiser = Sgd(0.1)
    optimiser.update("U", np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
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


@pytest.mark.parametrize("rows", [None, np.array([0, 2])])
def test_free_coordinates_are_no_part_of_a_rows_length(rows):
    parameter = np.array([[3, 4, 9], [3, 4, 9], [0.3, 0.4, -9]], np.float32)
    project(parameter, rows, 1.0, free=1)
    untouched = [3, 4, 9] if rows is not None else [0.6, 0.8, 9]
    assert parameter == pytest.approx(np.array([[0.6, 0.8, 9], untouched, [0.3, 0.4, -9]]))


def test_a_step_moves_free_coordinates_and_does_not_shorten_them(kernel):
    parameter = np.zeros((3, 3), np.float32)
    gradient = SortedRows.of([np.array([1])], [np.array([[-6, -8, -50]], np.float32)], 3)
    with Workers(1) as workers:
        move_rows(optimiser_named("sgd", 0.5, kernel=kernel), "V", parameter, gradient, 1.0, workers, free=1)
    assert parameter == pytest.approx(np.array([[0, 0, 0], [0.6, 0.8, 25], [0, 0, 0]]))

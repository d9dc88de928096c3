"""Distances of pairs: the equations, to the bit where float64 has only one way to take them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.knn import Metric, metric
from tests.awe_core.knn.cases import METRICS
from tests.compiled import needs_numba
from tests.oracles import join


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("pairs", [0, 1, 3, 9000])
def test_distances_are_the_equations_whatever_else_is_computed_beside_them(name: Metric, pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    left, right = rng.standard_normal((40, 13)).astype(np.float32), rng.standard_normal((30, 13)).astype(np.float32)
    rows, columns = rng.integers(40, size=pairs), rng.integers(30, size=pairs)
    found = metric.distances(left, rows, right, columns, name)
    wanted = [join.DISTANCES[name](left[i], right[j]) for i, j in zip(rows[:500], columns[:500], strict=True)]
    assert found[:500].tolist() == wanted
    sparse = metric.distances(sp.csr_matrix(left), rows, sp.csr_matrix(right), columns, name)
    np.testing.assert_allclose(sparse, found, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(metric.distances(right, columns, left, rows, name), found)  # the same from both sides


def test_the_cosine_is_one_minus_the_product_of_directions_and_does_not_cancel() -> None:
    q, b = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32), np.array([[4.0, -3.0], [-2.0, 0.0], [1e4, 1.0]], np.float32)
    found = metric.distances(q, np.array([0, 1, 1]), b, np.array([0, 1, 2]), "cosine")
    np.testing.assert_allclose(found, [1.0, 2.0, 0.5e-8], rtol=1e-7)


def test_a_product_of_zero_is_at_distance_zero_without_a_sign() -> None:
    zero = metric.distances(
        np.zeros((1, 2), np.float32), np.array([0]), np.ones((1, 2), np.float32), np.array([0]), "inner_product"
    )
    assert not np.signbit(zero).any()


@pytest.mark.parametrize("d", [*range(1, 40), 64, 127, 128, 129, 136, 200, 255, 256, 257, 300, 474, 1000])
def test_compiled_distances_have_numpys_bits(d):
    needs_numba()
    from awe_core.knn import distances_numba as numba_distances

    assert numba_distances.agrees(d)
    rng = np.random.default_rng(d)
    x, y = (rng.normal(0, 10.0 ** rng.integers(-3, 4, d), (50, d)).astype(np.float32) for _ in range(2))
    rows, columns = rng.integers(0, 50, (2, 400))
    ours, theirs = (metric.distances(x, rows, y, columns, "euclidean", kernel) for kernel in ("numba", "numpy"))
    assert (ours == theirs).all()

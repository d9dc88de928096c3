"""Prepared rows: the product bounds the score, rows fall into points, and any order of rows gives the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awe_core.knn import Centre, Metric, Prepared
from awe_core.knn import metric as metrics
from awe_core.knn.careful import score_of
from awe_core.knn.prepared import Augmented
from tests.awe_core.knn.cases import ADVERSARIES, METRICS, Make, a_few_far_out, forty_copies

EXACT = np.longdouble


def true_scores(x: np.ndarray, metric: Metric) -> np.ndarray:
    wide = x.astype(EXACT)
    products = wide @ wide.T
    if metric == "inner_product":
        return products
    apart = wide[:, None, :] - wide[None, :, :]
    return -(apart * apart).sum(axis=2) / 2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.integers(0, 2**20), st.integers(1, 140), st.floats(0, 20))
@settings(max_examples=25)
def test_the_score_lies_between_the_product_and_its_lower_bound(
    metric: Metric, dtype: type, seed: int, d: int, magnitudes: float
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((30, d)) * 10.0 ** rng.uniform(-magnitudes, magnitudes / 4, (30, 1)) + rng.integers(2)
    rows = Augmented.empty(30, d, metric, dtype)
    rows.fill(slice(None), x)
    product = rows.strip(slice(None)) @ rows.matrix.T
    lower = product - rows.slope[:, None] * rows.error - rows.own[:, None]
    scores = true_scores(x, metric)
    constant = 2.0 ** (-120 if dtype is np.float32 else -900)
    assert (scores <= product.astype(EXACT) + constant).all()
    assert (lower.astype(EXACT) <= scores).all()
    width = 4.1 * rows.kappa * (np.abs(x).max() ** 2 * d + 1)
    assert (product - lower <= width).all()  # and the bounds are of use


@pytest.mark.parametrize("make", ADVERSARIES)
def test_points_are_the_distinct_rows(make: Make) -> None:
    vectors = make(np.random.default_rng(0), 400)
    rows = Prepared(np.arange(400), vectors)
    assert rows.points == len(np.unique(vectors + np.float32(0), axis=0))
    np.testing.assert_array_equal(vectors[rows.first[rows.group]], vectors)
    assert sorted(rows.rank) == list(range(rows.points))


def test_members_of_a_point_are_its_smallest_ids_and_ranks_follow_them() -> None:
    vectors = np.array([[1, 0], [-0.0, 2], [1, -0.0], [0, 2], [7, 7], [1, 0]], np.float32)
    rows = Prepared(np.array([9, 4, 5, 8, -3, 6]), vectors)
    assert rows.points == 3
    assert rows.rank[rows.group].tolist() == [2, 1, 2, 1, 0, 2]
    members, counts = rows.members(np.array([2, 0, 1]), 2)
    assert members.tolist() == [5, 6, -3, 4, 8]
    assert counts.tolist() == [2, 1, 2]


def test_the_order_of_points_depends_on_the_rows_alone() -> None:
    vectors = forty_copies(np.random.default_rng(1), 400)
    order = np.random.default_rng(2).permutation(400)
    one, other = Prepared(np.arange(400), vectors), Prepared(np.arange(400), vectors[order])
    np.testing.assert_array_equal(vectors[one.first], vectors[order][other.first])


def test_what_float32_cannot_multiply_is_put_last_and_left_out() -> None:
    vectors = a_few_far_out(np.random.default_rng(0), 400)
    rows = Prepared(np.arange(400), vectors)
    far = np.abs(vectors[rows.first]).max(axis=1) > 1e20
    assert not far[: rows.near].any()
    assert far[rows.near :].all()
    assert 0 < rows.near < 400
    assert np.isfinite(rows.augmented.matrix).all()
    np.testing.assert_array_equal(vectors[rows.first[rows.group]], vectors)


def test_the_centre_stays_with_the_majority() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1000, 5)).astype(np.float32)
    vectors[:300] += 1e4
    centre = Centre.of(vectors, "euclidean")
    assert np.abs(centre.mean).max() < 2
    assert np.log2(centre.scale) == round(np.log2(centre.scale))
    assert not Centre.of(vectors, "inner_product").mean.any()


@pytest.mark.parametrize("metric", METRICS)
def test_a_score_is_that_of_the_distance(metric: Metric) -> None:
    vectors = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    x = metrics.points(vectors, metric) * 0.25
    first, second = np.divmod(np.arange(400), 20)
    distances = metrics.distances(vectors, first, vectors, second, metric)
    wanted = true_scores(x, metric).reshape(-1).astype(np.float64)
    np.testing.assert_allclose(score_of(distances, metric, 0.25), wanted, rtol=1e-12, atol=1e-15)

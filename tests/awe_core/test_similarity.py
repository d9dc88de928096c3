"""Similarities of embedded examples and labels, against plain float64."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core.similarity import all_similarities, pair_similarities, slope
from tests.oracles import warp as oracle

PLAIN = {
    "dot": lambda e, v: float(e @ v),
    "negative-distance": lambda e, v: -float(np.linalg.norm(e - v)),
    "negative-squared-distance": lambda e, v: -float(np.sum((e - v) ** 2)),
}


@pytest.mark.parametrize("similarity", PLAIN)
def test_all_pairs_and_chosen_pairs_have_their_values(similarity):
    rng = np.random.default_rng(0)
    E, V = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    expected = np.array([[PLAIN[similarity](e, v) for v in V] for e in E])
    assert all_similarities(similarity, E, V) == pytest.approx(expected)
    assert pair_similarities(similarity, E, V[:4]) == pytest.approx(np.diag(expected))
    chosen = np.array([[0, 5], [1, 1], [2, 3], [4, 0]])
    assert pair_similarities(similarity, E, V[chosen]) == pytest.approx(np.take_along_axis(expected, chosen, axis=1))


@pytest.mark.parametrize("similarity", ["negative-distance", "negative-squared-distance"])
def test_a_point_is_at_distance_0_of_itself_whatever_the_rounding(similarity):
    E = (np.random.default_rng(1).normal(size=(50, 8)) * 100).astype(np.float32)
    found = all_similarities(similarity, E, E)
    assert np.isfinite(found).all()
    assert (found <= 0).all()
    assert (found.argmax(axis=1) == np.arange(50)).all()


@pytest.mark.parametrize("similarity", PLAIN)
def test_the_slope_is_that_of_finite_differences(similarity):
    rng = np.random.default_rng(2)
    e, v = rng.normal(size=3), rng.normal(size=3)
    s = np.array([PLAIN[similarity](e, v)])
    k = slope(similarity, np.array([0.7]), s)
    pull = 0 if similarity == "dot" else 1
    numeric = oracle.finite_difference(lambda at: 0.7 * PLAIN[similarity](at, v), e)
    assert k * (v - pull * e) == pytest.approx(numeric, abs=1e-6)


def test_at_distance_0_there_is_no_slope():
    assert slope("negative-distance", np.ones(2), np.array([0.0, -2.0])).tolist() == [0.0, 0.5]

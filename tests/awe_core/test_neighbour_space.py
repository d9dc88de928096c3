"""Ux with x beside it, against the equation in float64."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.affinities.joint_kinds import JOINT_KINDS
from awe_core.estimator import AffinityWeightedEmbedding
from awe_core.model import Model
from awe_core.neighbour_space import SPARSE_AT_MOST, NeighbourSpace, refuse_unfit_inputs, width


def model(d: int = 6, D: int = 3) -> Model:
    rng = np.random.default_rng(0)
    return Model(rng.normal(size=(d, D)).astype(np.float32), rng.normal(size=(4, D)).astype(np.float32))


def rows(count: int = 50, d: int = 6) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.asarray((rng.normal(size=(count, d)) + 2) * (rng.random((count, d)) < 0.5), dtype=np.float32)


def mean_distance(vectors: np.ndarray) -> float:
    """The mean of d² over all pairs, each row with itself too."""
    wide = vectors.astype(np.float64)
    return float(((wide[:, None] - wide[None]) ** 2).sum(axis=2).mean())


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("rho", [0.5, 1.0, 2.0])
def test_a_distance_is_that_of_ux_and_rho_squared_parts_of_that_of_x(form: type, rho: float) -> None:
    x = rows()
    found = NeighbourSpace.of(model(), form(x), rho).embed(form(x))
    assert found.shape == (len(x), width(3, 6, rho))
    of_ux, of_x = mean_distance(found[:, :3]), mean_distance(found[:, 3:])
    assert of_x == pytest.approx(rho**2 * of_ux, rel=1e-5)
    scale = found[:, 3:][x != 0] / x[x != 0]
    assert scale == pytest.approx(np.full(scale.shape, scale[0]), rel=1e-6)
    assert np.array_equal(found[:, :3], model().embed(form(x)))


def test_without_a_weight_it_is_ux() -> None:
    space = NeighbourSpace.of(model(), rows(), 0.0)
    assert np.array_equal(space.embed(rows()), model().embed(rows()))
    assert width(3, 6, 0.0) == 3


def test_what_the_sample_says_is_all_that_counts() -> None:
    sample, others = rows(), rows() * 100
    space = NeighbourSpace.of(model(), sample, 1.0)
    assert space.embed(others)[:, 3:] == pytest.approx(others * space.input_scale)


@pytest.mark.parametrize("x", [np.ones((5, 6), np.float32), np.zeros((5, 6), np.float32)])
def test_examples_that_are_all_alike_are_refused(x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="the first 5 examples have the same x, or the same Ux"):
        NeighbourSpace.of(model(), x, 1.0)


def test_wide_sparse_rows_and_users_are_refused() -> None:
    refuse_unfit_inputs(SPARSE_AT_MOST, sparse=True, one_hot=False)
    refuse_unfit_inputs(10**6, sparse=False, one_hot=False)
    with pytest.raises(ValueError, match="4,097 sparse columns"):
        refuse_unfit_inputs(SPARSE_AT_MOST + 1, sparse=True, one_hot=False)
    with pytest.raises(ValueError, match="names the user"):
        refuse_unfit_inputs(3, sparse=True, one_hot=True)


@pytest.mark.parametrize("weight", [-0.5, np.nan, np.inf])
def test_a_weight_below_zero_or_not_finite_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="input_weight must be finite and 0 or more"):
        AffinityWeightedEmbedding(input_weight=weight).fit(rows(), np.arange(50) % 3)


@pytest.mark.parametrize("kind", ["rbf", next(iter(JOINT_KINDS))])
def test_a_kind_without_neighbours_in_ux_is_refused(kind: str) -> None:
    estimator = AffinityWeightedEmbedding(kind=kind, input_weight=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave out affinity.input_weight"):
        estimator.fit(rows(), np.arange(50) % 3)

"""Affinities that are learnt jointly, all of a sub-block compiled against the same in whole-array operations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.affinities.joint import Joint, OfScore, Point
from awe_core.affinities.linear_sigmoid import LinearSigmoid
from awe_core.affinities.low_rank import LowRank
from awe_core.affinities.sigmoid import Sigmoid
from awe_core.affinities.top_k import TopK
from awe_core.kernels.choice import kernel_named
from awe_core.warp.draw_numbers import DrawNumbers
from awe_core.warp.drawn import Drawn, drawn_gradient
from awe_core.warp.minibatch import Visit
from awe_core.warp.pooled import Pooled, pooled_gradient
from awe_core.warp.rank_weights import harmonic_losses
from awe_core.warp.scores import Gradient, Parameters
from tests.awe_core.affinities import test_joint
from tests.awe_core.affinities.test_joint import added, of_equation
from tests.awe_core.blocks import block
from tests.compiled import needs_numba

needs_numba()

AFFINITIES = [affinity for affinity in test_joint.AFFINITIES if affinity.compiled or isinstance(affinity, OfScore)]
ITEMS, D = 30, 4


def histories(rows: int = 25) -> np.ndarray:
    """x of up to nine items each, one row without any, float64."""
    rng = np.random.default_rng(1)
    x = np.zeros((rows, ITEMS))
    for row in x[1:]:
        row[rng.choice(ITEMS, rng.integers(1, 10), replace=False)] = rng.uniform(0.5, 2)
    return x


def visit(x: np.ndarray, leave_one_out: bool, dense: bool) -> Visit:
    """The labels are three items of x at the most, with weights of their own; every row has seen an item."""
    rng = np.random.default_rng(2)
    truth, seen = [np.flatnonzero(row)[:3].tolist() for row in x], [[int(rng.integers(ITEMS))] for _ in x]
    weight = (rng.random(len(x)) + 0.5).tolist()
    given = block(x if dense else sp.csr_matrix(x), truth, ITEMS, seen, weight=weight)
    return Visit(given, rng.permutation(len(x)), leave_one_out=leave_one_out)


def parameters(affinity: Joint) -> Parameters:
    rng = np.random.default_rng(3)
    own = {name: rng.normal(size=tensor.shape) for name, tensor in affinity.first_tensors(ITEMS, ITEMS, rng).items()}
    return Parameters(rng.normal(size=(ITEMS, D)), rng.normal(size=(ITEMS, D)), np.zeros(1), joint=affinity, own=own)


def drawn(
    kernel: str, at: Parameters, sampler, margin: float, leave_one_out: bool, dense: bool, seed: int = 0
) -> Drawn:
    walk, losses = visit(histories(), leave_one_out, dense), harmonic_losses(ITEMS)
    these = slice(3, len(walk.pairs) - 2)
    return drawn_gradient(walk, these, sampler, at, None, margin, losses, DrawNumbers.of(seed), kernel_named(kernel))


def against_pool(kernel: str, at: Parameters, margin: float, leave_one_out: bool, dense: bool) -> Pooled:
    walk, pool = visit(histories(), leave_one_out, dense), np.arange(1, ITEMS, 3)
    these = slice(3, len(walk.pairs) - 2)
    return pooled_gradient(walk, these, pool, at, None, margin, harmonic_losses(ITEMS), kernel_named(kernel))


def assert_same(ours: Gradient, theirs: Gradient, at: Parameters) -> None:
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-9)
    tensors = {"U": at.U, "V": at.V, **at.own}
    assert set(ours.own) == set(theirs.own) == set(at.own)
    for name, tensor in tensors.items():
        one, other = ({"U": [made.U], "V": made.V, **made.own}[name] for made in (ours, theirs))
        found, expected = (sum(added(part, tensor) for part in parts) for parts in (one, other))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


X = pytest.mark.parametrize(("leave_one_out", "dense"), [(True, False), (False, False), (False, True)])


@X
@pytest.mark.parametrize("margin", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("sampler", ["rounds", "geometric"])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_the_kernels_draw_alike_and_their_gradients_agree(affinity, sampler, margin, leave_one_out, dense):
    at = parameters(affinity)
    ours, theirs = (drawn(kernel, at, sampler, margin, leave_one_out, dense) for kernel in ("numba", "numpy"))
    for name in ("pair", "number", "negative", "negatives"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
    assert_same(ours.gradient, theirs.gradient, at)


@X
@pytest.mark.parametrize("margin", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_the_kernels_agree_on_a_pool(affinity, margin, leave_one_out, dense):
    at = parameters(affinity)
    ours, theirs = (against_pool(kernel, at, margin, leave_one_out, dense) for kernel in ("numba", "numpy"))
    assert (ours.updates, ours.draws) == (theirs.updates, theirs.draws)
    assert_same(ours.gradient, theirs.gradient, at)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_compiled_scores_are_the_equations(affinity, dense):
    x, P = histories(), parameters(affinity)
    at = Point(P.U, P.V, P.own)
    every = np.tile(np.arange(ITEMS), (len(x), 1))
    found = affinity.all_scores(x if dense else sp.csr_matrix(x), at, kernel_named("numba"))
    np.testing.assert_allclose(found, of_equation(affinity, x, at, every), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("affinity", [TopK(3), Sigmoid(), LinearSigmoid()])
def test_a_score_that_is_not_finite_stops(affinity, value, kernel):
    at = parameters(affinity)
    at.V[:] = value
    with np.errstate(invalid="ignore"):
        for sampler in ("rounds", "geometric"):
            with pytest.raises(FloatingPointError, match="a score is not finite"):
                drawn(kernel, at, sampler, 1.0, True, False)
        with pytest.raises(FloatingPointError, match="a score is not finite"):
            against_pool(kernel, at, 1.0, True, False)


@pytest.mark.parametrize("affinity", [TopK(3), LowRank(2)])
def test_nobody_violates_a_margin_that_is_kept(affinity):
    found = drawn("numba", parameters(affinity), "rounds", -1e6, True, False)
    assert found.gradient is None
    assert not len(found.pair)
    assert found.draws == found.negatives.sum()

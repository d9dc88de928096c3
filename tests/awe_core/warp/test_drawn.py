"""A sub-block in one compiled call against the same in whole-array operations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.examples import Block
from awe_core.kernels.choice import kernel_named
from awe_core.kernels.feature_rows import RowGradient
from awe_core.warp.draw_numbers import DrawNumbers
from awe_core.warp.drawn import Drawn, drawn_gradient
from awe_core.warp.minibatch import Visit
from awe_core.warp.rank_weights import harmonic_losses
from awe_core.warp.scores import Parameters
from tests.awe_core.lists import csr
from tests.compiled import needs_numba

LABELS, D = 40, 5


def block(x, seed: int = 0) -> Block:
    """Up to three true labels and a seen one a row; some rows have no label, one all of them."""
    rng = np.random.default_rng(seed)
    truth = [sorted(rng.choice(LABELS, size=rng.integers(0, 4), replace=False).tolist()) for _ in range(x.shape[0])]
    truth[0] = list(range(LABELS))
    seen = [[int(rng.integers(LABELS))] for _ in truth]
    weight = (rng.random(len(truth)) + 0.5).astype(np.float32)
    labels, excluded = (csr(list(map(set, rows)), LABELS) for rows in (truth, seen))
    return Block(np.arange(len(truth)), x, labels, excluded, weight)


def features(kind: str):
    rng = np.random.default_rng(1)
    dense = (rng.normal(size=(60, 8)) * (rng.random((60, 8)) < 0.5)).astype(np.float32)
    one_hot = sp.csr_matrix(np.eye(8, dtype=np.float32)[rng.integers(0, 8, 60)])
    return {"dense": dense, "sparse": sp.csr_matrix(dense), "one-hot": one_hot}[kind]


def parameters(scale: float = 1.0) -> Parameters:
    rng = np.random.default_rng(2)
    return Parameters(scale * rng.normal(size=(8, D)), scale * rng.normal(size=(LABELS, D)), np.zeros(1))


def whole(parts: list[RowGradient], shape: tuple[int, int]) -> np.ndarray:
    total = np.zeros(shape)
    for part in parts:
        np.add.at(total, slice(None) if part.rows is None else part.rows, part.values)
    return total


def drawn(kernel: str, x, sampler, margin: float, P: Parameters, scattered: bool = False, seed: int = 0) -> Drawn:
    visit = Visit(block(x), np.random.default_rng(3).permutation(x.shape[0]))
    if scattered:
        visit.scatter(np.random.default_rng(4))
    L = harmonic_losses(LABELS)
    these = slice(3, len(visit.pairs) - 2)
    return drawn_gradient(visit, these, sampler, P, None, margin, L, DrawNumbers.of(seed), kernel_named(kernel))


@pytest.mark.parametrize("margin", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("sampler", ["geometric", "rounds"])
@pytest.mark.parametrize("kind", ["dense", "sparse", "one-hot"])
def test_the_kernels_draw_alike_and_their_gradients_agree(kind, sampler, margin):
    needs_numba()
    P, x = parameters(), features(kind)
    for seed in range(5):
        ours, theirs = (drawn(kernel, x, sampler, margin, P, kind == "one-hot", seed) for kernel in ("numba", "numpy"))
        for name in ("pair", "number", "negative", "negatives"):
            assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
        assert ours.draws == theirs.draws
        assert ours.gradient.loss == pytest.approx(theirs.gradient.loss, rel=1e-9)
        for shape, one, other in (
            ((8, D), [ours.gradient.U], [theirs.gradient.U]),
            ((LABELS, D), ours.gradient.V, theirs.gradient.V),
        ):
            assert whole(one, shape) == pytest.approx(whole(other, shape), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
@pytest.mark.parametrize("sampler", ["geometric", "rounds"])
def test_nobody_violates_a_margin_that_is_kept(kernel, sampler):
    if kernel == "numba":
        needs_numba()
    found = drawn(kernel, features("dense"), sampler, -1000.0, parameters())
    assert found.gradient is None
    assert not len(found.pair)
    assert found.draws == found.negatives.sum()


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
@pytest.mark.parametrize("sampler", ["geometric", "rounds"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_finite_stops(kernel, sampler, value):
    if kernel == "numba":
        needs_numba()
    P = parameters()
    P.V[:] = value
    with pytest.raises(FloatingPointError, match="a score is not finite"), np.errstate(invalid="ignore"):
        drawn(kernel, features("dense"), sampler, 1.0, P)

"""L(k): sums of α₁ ≥ α₂ ≥ … ≥ 0."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core.warp.rank_weights import harmonic_losses, losses_named, rank_losses
from tests.oracles import warp as oracle


def test_L_sums_the_alphas():
    assert harmonic_losses(5).tolist() == pytest.approx([oracle.harmonic(k) for k in range(6)])
    assert rank_losses(np.array([1.0, 0.0, 0.0])).tolist() == [0.0, 1.0, 1.0, 1.0]


def test_the_members_by_hand():
    assert losses_named("1/j", 3).tolist() == pytest.approx([0, 1, 1.5, 1.5 + 1 / 3])
    assert losses_named("constant", 5).tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25])
    assert losses_named("top-k", 5, top_k=2).tolist() == [0, 0.5, 1, 1, 1, 1]
    assert losses_named("top-k", 3, top_k=10).tolist() == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("alpha", ["1/j", "constant", "top-k"])
@pytest.mark.parametrize("labels", [1, 2, 7])
def test_the_alphas_never_rise_and_are_never_negative(alpha, labels):
    L = losses_named(alpha, labels, top_k=3)
    assert len(L) == labels + 1
    alphas = np.diff(L)
    assert (alphas >= 0).all()
    assert (np.diff(alphas) <= 1e-12).all()
    assert L[0] == 0

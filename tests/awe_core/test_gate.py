"""The gate s·G + b and the scale s."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.examples import Block
from awe_core.gate import Gate, affinity_scale
from tests.awe_core.blocks import InMemory, block


def reweighted(truth: list[list[int]], affinity: list[dict[int, float]]) -> Block:
    return block(np.ones((len(truth), 1)), truth, 4, affinity=affinity)


def test_the_gate_scales_and_lifts():
    assert Gate(2.0, 0.5).of(np.array([0.0, 1.0], dtype=np.float32)).tolist() == [0.5, 2.5]


@pytest.mark.parametrize(("scale", "bias"), [(0.0, 0.0), (-1.0, 0.0), (np.inf, 0.0), (np.nan, 0.0), (1.0, -0.1)])
def test_a_gate_that_would_turn_a_ranking_round_is_refused(scale, bias):
    with pytest.raises(ValueError, match=r"scale|bias"):
        Gate(scale, bias)


def test_the_scale_is_one_over_the_mean_affinity_of_the_true_pairs():
    # Pairs: (row 0, label 0) 0.5, (0, 2) uncovered: 0, (1, 3) 1.0, (2, 1) a stored 0. Other labels' G does not count.
    one = reweighted([[0, 2], [3]], [{0: 0.5, 1: 9.0}, {3: 1.0}])
    other = reweighted([[1], []], [{1: 0.0}, {0: 7.0}])
    assert affinity_scale(InMemory([one, other])) == 4 / 1.5


def test_with_the_scale_the_mean_gate_of_the_true_pairs_is_one():
    rng = np.random.default_rng(0)
    truth = [[int(y)] for y in rng.integers(0, 4, 50)]
    one = reweighted(truth, [{y: float(rng.random()) for y in range(4)} for _ in truth])
    gates = Gate(affinity_scale(InMemory([one]))).of(one.affinity.toarray())
    assert np.mean([gates[i, y] for i, [y] in enumerate(truth)]) == pytest.approx(1.0, rel=1e-5)


def test_what_cannot_be_scaled_says_why():
    covered = reweighted([[0]], [{0: 1.0}])
    with pytest.raises(ValueError, match="no affinity"):
        affinity_scale(InMemory([replace(covered, affinity=None)]))
    with pytest.raises(ValueError, match="has a label"):
        affinity_scale(InMemory([reweighted([[]], [{0: 1.0}])]))
    with pytest.raises(ValueError, match="0 on every training pair"):
        affinity_scale(InMemory([reweighted([[0]], [{1: 1.0}])]))
    empty = replace(covered, affinity=sp.csr_matrix((1, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="0 on every training pair"):
        affinity_scale(InMemory([empty]))

"""The weighted stage on candidates: WARP's law and step, against the plain loops of `tests.oracles.warp`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import chisquare

from awe_core.gate import Gate
from awe_core.kernels.choice import kernel_named
from awe_core.warp.candidates import Candidates, candidate_gradient
from awe_core.warp.draw_numbers import DrawNumbers
from awe_core.warp.minibatch import Visit
from awe_core.warp.rank_weights import harmonic_losses
from awe_core.warp.scores import Parameters
from tests.awe_core.blocks import block
from tests.compiled import needs_numba
from tests.oracles import warp as oracle

LABELS, D, GATE = 150, 3, Gate(1.5)


@pytest.fixture(params=["numpy", "numba"])
def kernel(request):
    if request.param == "numba":
        needs_numba()
    return kernel_named(request.param)


def parameters(labels: int = LABELS) -> Parameters:
    rng = np.random.default_rng(0)
    return Parameters(rng.normal(size=(4, D)), rng.normal(size=(labels, D)), np.array([0.3]))


def drawn(visit: Visit, P: Parameters, margin: float, kernel, gate: Gate = GATE, seed: int = 1):
    everything, L = slice(0, len(visit.pairs)), harmonic_losses(len(P.V))
    return candidate_gradient(visit, everything, Candidates.of(visit, gate), P, margin, L, DrawNumbers.of(seed), kernel)


@pytest.mark.parametrize("margin", [0.05, 0.6, 3.0])
def test_draws_follow_the_law_of_draws_one_by_one(margin, kernel):
    x = np.random.default_rng(5).normal(size=4)
    truth, seen, copies = [1, 4, 99], [2], 8000
    affinity = {0: 0.5, 1: 1.2, 2: 0.1, 3: 0.7, 4: 0.3, 5: 0.0, 6: 0.9, 140: 0.8}
    P = parameters()
    given = block(np.tile(x, (copies, 1)), [truth] * copies, LABELS, [seen] * copies, [affinity] * copies)
    visit = Visit(given, np.arange(copies), candidates_only=True)
    assert visit.pairs.uncovered == copies  # 99 is no candidate
    found = drawn(visit, P, margin, kernel)
    assert (found.negatives == 5).all()
    scores = [oracle.score(P.U, P.V, x, label, affinity, 1.5, 0.0, 0.3) for label in range(LABELS)]
    positives, negatives = oracle.positives_and_negatives(LABELS, set(truth), set(seen), set(affinity))
    for y in (1, 4):
        law = oracle.draw_law(scores, positives, positives | negatives, y, margin)
        mine = visit.pairs.label[found.pair] == y
        seen_outcomes = Counter(zip(found.number[mine].tolist(), found.negative[mine].tolist(), strict=True))
        seen_outcomes[None] = copies - int(mine.sum())
        assert set(+seen_outcomes) <= set(law)
        frequent = [outcome for outcome, p in law.items() if copies * p >= 5]
        expected, observed = [copies * law[o] for o in frequent], [seen_outcomes[o] for o in frequent]
        if copies - sum(expected) > 1e-6:
            expected, observed = [*expected, copies - sum(expected)], [*observed, copies - sum(observed)]
        assert chisquare(observed, expected).pvalue > 1e-3 if len(expected) > 1 else observed == [copies]


@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradient_is_the_sum_of_the_pairs(sparse, kernel):
    rng = np.random.default_rng(2)
    truth = [sorted(rng.choice(9, size=2, replace=False).tolist()) for _ in range(12)]
    affinity = [{int(y): float(np.float32(rng.random())) for y in {*own, *rng.choice(9, 4)}} for own in truth]
    x = (rng.normal(size=(12, 4)) * (rng.random((12, 4)) < 0.6)).astype(np.float32)
    weight = np.arange(1.0, 13.0).astype(np.float32)
    given = block(sp.csr_matrix(x) if sparse else x, truth, 9, affinity=affinity, weight=weight.tolist())
    visit, P = Visit(given, np.arange(12), candidates_only=True), parameters(9)
    found = drawn(visit, P, 2.0, kernel)
    assert 8 < len(found.pair)
    at = {"U": P.U, "V": P.V, "c": P.offset[0]}
    loss, slopes = 0.0, {name: np.zeros_like(value) for name, value in at.items()}
    for pair, number, negative in zip(found.pair, found.number, found.negative, strict=True):
        row, y = int(visit.pairs.row[pair]), int(visit.pairs.label[pair])
        share = weight[row] * oracle.rank_weight(int(found.negatives[pair]), int(number))
        terms = (x[row].astype(np.float64), y, int(negative), share, 2.0, affinity[row], 1.5, 0.0)
        loss += oracle.loss(at, *terms)
        for name, slope in oracle.gradient(at, *terms).items():
            slopes[name] = slopes[name] + slope
    gradient = found.gradient
    assert gradient is not None
    for name, parts in (("U", [gradient.U]), ("V", gradient.V)):
        ours = np.zeros_like(at[name])
        for part in parts:
            np.add.at(ours, slice(None) if part.rows is None else part.rows, part.values)
        assert ours == pytest.approx(slopes[name], rel=1e-4, abs=1e-4)
    assert gradient.loss == pytest.approx(loss, rel=1e-5)
    assert gradient.offset == pytest.approx(float(slopes["c"]), rel=1e-5, abs=1e-5)


def test_examples_without_a_candidate_or_without_a_negative_make_no_step(kernel):
    affinity = [{}, {0: 1.0, 1: 1.0}, {0: 1.0, 5: 1.0}, {3: 1.0}]
    given = block(np.ones((4, 4)), [[0], [0, 1], [0], [3]], LABELS, [[], [], [5], []], affinity)
    visit = Visit(given, np.arange(4), candidates_only=True)
    assert visit.pairs.uncovered == 1
    found = drawn(visit, parameters(), 50.0, kernel)
    assert found.gradient is None
    assert found.negatives.tolist() == [0, 0, 0, 0]


def test_a_score_that_is_not_finite_stops(kernel):
    P = parameters()
    P.V[7] = np.inf
    visit = Visit(
        block(np.ones((1, 4)), [[0]], LABELS, affinity=[{0: 1.0, 7: 1.0}]), np.arange(1), candidates_only=True
    )
    with pytest.raises(FloatingPointError), np.errstate(invalid="ignore"):
        drawn(visit, P, 1.0, kernel)

"""Pooled negatives: against one pair and one label at a time in float64, pool by pool, and their mean over pools."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.gate import Gate
from awe_core.kernels.choice import kernel_named
from awe_core.warp import pooled
from awe_core.warp.minibatch import Visit
from awe_core.warp.pooled import Pools, pooled_gradient
from awe_core.warp.rank_weights import harmonic_losses
from awe_core.warp.scores import Parameters
from tests.awe_core.blocks import block
from tests.compiled import needs_numba
from tests.oracles import warp as oracle

LABELS, D = 7, 3
TRUTH = [[0, 3], [2], [1, 4, 6], [], [5]]
SEEN = [[1], [], [0], [], [2, 3]]
WEIGHT = [1.0, 2.0, 0.5, 1.0, 1.5]
AFFINITY = [{0: 0.5, 2: 1.0}, {2: 0.2}, {1: 0.7, 3: 0.0, 6: 1.1}, {}, {4: 0.9}]
POOLS = list(itertools.combinations(range(LABELS), 4))


def problem(sparse: bool, similarity: str = "dot", scatter: bool = False):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4)).astype(np.float32)
    given = block(sp.csr_matrix(x) if sparse else x, TRUTH, LABELS, SEEN, AFFINITY, WEIGHT)
    visit = Visit(given, np.arange(5))
    if scatter:
        visit.scatter(np.random.default_rng(1))
    P = Parameters(rng.normal(size=(4, D)), rng.normal(size=(LABELS, D)), np.array([0.3]), similarity)
    return x.astype(np.float64), visit, P


@dataclass
class Expected:
    """One pool's estimate, by loops."""

    loss: float
    U: np.ndarray
    V: np.ndarray
    c: float
    updates: int


def by_loops(x: np.ndarray, P: Parameters, gate: Gate | None, margin: float, pool: tuple[int, ...]) -> Expected:
    found = Expected(0.0, np.zeros_like(P.U), np.zeros_like(P.V), 0.0, 0)
    at = {"U": P.U, "V": P.V, "c": P.offset[0] if gate else np.zeros(())}
    for row, truth in enumerate(TRUTH):
        G = (AFFINITY[row], gate.scale, gate.bias) if gate else (None, 1.0, 0.0)
        f = [oracle.score(P.U, P.V, x[row], y, *G, c=at["c"]) for y in range(LABELS)]
        for y in truth:
            negatives = [bad for bad in range(LABELS) if bad not in truth and bad not in SEEN[row]]
            tried = [bad for bad in pool if bad in negatives]
            violators = [bad for bad in tried if f[bad] > f[y] - margin]
            if not violators:
                continue
            rank = len(violators) * len(negatives) // len(tried)
            weight = WEIGHT[row] * oracle.harmonic(rank) / len(violators)
            found.updates += 1
            for bad in violators:
                found.loss += oracle.loss(at, x[row], y, bad, weight, margin, *G)
                slopes = oracle.gradient(at, x[row], y, bad, weight, margin, *G)
                found.U += slopes["U"]
                found.V += slopes["V"]
                found.c += float(slopes["c"])
    return found


def ours(visit: Visit, P: Parameters, gate: Gate | None, margin: float, pool: tuple[int, ...], kernel: str = "numpy"):
    everything = slice(0, len(visit.pairs))
    return pooled_gradient(
        visit, everything, np.array(pool), P, gate, margin, harmonic_losses(LABELS), kernel_named(kernel)
    )


def whole(parts, shape: tuple[int, int]) -> np.ndarray:
    total = np.zeros(shape)
    for part in parts:
        np.add.at(total, slice(None) if part.rows is None else part.rows, part.values)
    return total


@pytest.fixture(params=["numpy", "numba"])
def kernel(request) -> str:
    if request.param == "numba":
        needs_numba()
    return request.param


@pytest.mark.parametrize("gate", [None, Gate(1.5, 0.4)])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("scatter", [False, True])
@pytest.mark.parametrize("margin", [0.3, 2.0])
def test_every_pools_gradient_is_that_of_the_loops_and_so_is_their_mean(gate, sparse, scatter, margin, kernel):
    x, visit, P = problem(sparse, scatter=scatter)
    mean = {"ours": np.zeros_like(P.V), "loops": np.zeros_like(P.V)}
    for pool in POOLS:
        found, expected = ours(visit, P, gate, margin, pool, kernel), by_loops(x, P, gate, margin, pool)
        V = whole(found.gradient.V, P.V.shape)
        assert found.gradient.loss == pytest.approx(expected.loss, rel=1e-5, abs=1e-6)
        assert whole([found.gradient.U], P.U.shape) == pytest.approx(expected.U, rel=1e-5, abs=1e-5)
        assert expected.V == pytest.approx(V, rel=1e-5, abs=1e-5)
        assert found.gradient.offset == pytest.approx(expected.c, rel=1e-5, abs=1e-5)
        assert found.updates == expected.updates
        mean["ours"] += V / len(POOLS)
        mean["loops"] += expected.V / len(POOLS)
    assert mean["ours"] == pytest.approx(mean["loops"], abs=1e-5)
    assert np.abs(mean["ours"]).max() > 0.05


def test_over_all_pools_the_mean_share_of_violators_is_that_among_all_negatives():
    # What makes v·M / m' an estimate of the rank: unbiased before it is rounded down.
    x, _visit, P = problem(sparse=False)
    pairs = [(row, y) for row, truth in enumerate(TRUTH) for y in truth]
    for row, y in pairs:
        f = [oracle.score(P.U, P.V, x[row], label) for label in range(LABELS)]
        negatives = [bad for bad in range(LABELS) if bad not in TRUTH[row] and bad not in SEEN[row]]
        violates = {bad: f[bad] > f[y] - 1 for bad in negatives}
        shares = []
        for pool in POOLS:
            tried = [bad for bad in pool if bad in negatives]
            shares += [sum(violates[bad] for bad in tried) / len(tried)] if tried else []
        assert np.mean(shares) == pytest.approx(np.mean(list(violates.values())))


@pytest.mark.parametrize("similarity", ["negative-distance", "negative-squared-distance"])
def test_the_gradient_of_a_distance_is_that_of_its_loss_by_finite_differences(similarity, kernel):
    _, visit, P = problem(sparse=False, similarity=similarity)
    pool = (0, 2, 4, 5)

    def loss(name: str, value: np.ndarray) -> float:
        return ours(visit, Parameters(**{**P.__dict__, name: value}), None, 1.0, pool).gradient.loss

    gradient = ours(visit, P, None, 1.0, pool, kernel).gradient
    for name, parts in (("U", [gradient.U]), ("V", gradient.V)):
        value = getattr(P, name)
        slope = oracle.finite_difference(lambda moved, name=name: loss(name, moved), value)
        assert whole(parts, value.shape) == pytest.approx(slope, abs=1e-5)


def test_an_example_that_has_all_of_the_pool_makes_no_step():
    visit = Visit(block(np.ones((1, 4)), [[0, 1]], LABELS), np.arange(1))
    found = ours(visit, problem(False)[2], None, 9.0, (0, 1))
    assert found.updates == 0
    assert found.gradient.loss == 0
    assert not whole(found.gradient.V, (LABELS, D)).any()
    assert found.negatives.tolist() == [5, 5]


def test_a_score_that_is_not_finite_stops():
    _, visit, P = problem(sparse=False)
    P.V[2] = np.nan
    with pytest.raises(FloatingPointError), np.errstate(invalid="ignore"):
        ours(visit, P, None, 1.0, (1, 2, 3))


# --- The pools of an epoch ---


def test_pools_are_pieces_of_permutations_of_all_labels(monkeypatch):
    monkeypatch.setattr(pooled, "POOL_LABELS", 3)
    pools = Pools(10, 0, 0, 1)
    for turn in range(4):
        three = [pools[3 * turn + place].tolist() for place in range(3)]
        assert all(pool == sorted(pool) for pool in three)
        assert len({label for pool in three for label in pool}) == 9


def test_a_pool_is_a_function_of_its_number_alone():
    forwards, backwards = Pools(1000, 0, 0, 1), Pools(1000, 0, 0, 1)
    one = [forwards[number].tolist() for number in range(9)]
    assert one == [backwards[number].tolist() for number in reversed(range(9))][::-1]
    assert one != [Pools(1000, 0, 0, 2)[number].tolist() for number in range(9)]


def test_every_label_is_as_likely_as_any_other(monkeypatch):
    monkeypatch.setattr(pooled, "POOL_LABELS", 3)
    pools, rounds = Pools(10, 3, 0, 1), 1000
    counts = np.bincount(np.concatenate([pools[number] for number in range(3 * rounds)]), minlength=10)
    deviation = math.sqrt(rounds * 0.9 * 0.1)
    assert (np.abs(counts - 0.9 * rounds) < 4 * deviation).all()


def test_with_fewer_labels_than_a_pool_holds_all_are_in_it():
    assert Pools(5, 0, 0, 1)[7].tolist() == [0, 1, 2, 3, 4]

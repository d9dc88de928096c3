"""What every affinity that is learnt jointly has to keep, against the equation one feature at a time."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import chisquare

from awe_core.affinities import joint
from awe_core.affinities.constant import Constant
from awe_core.affinities.joint import Point
from awe_core.affinities.joint_kinds import JOINT_KINDS, joint_named
from awe_core.affinities.kth_largest import kth_largest
from awe_core.affinities.linear_sigmoid import LinearSigmoid
from awe_core.affinities.low_rank import LowRank
from awe_core.affinities.max import Max
from awe_core.affinities.pair_matrix import PairMatrix
from awe_core.affinities.sigmoid import Sigmoid
from awe_core.affinities.top_k import TopK
from awe_core.kernels.choice import kernel_named
from awe_core.kernels.feature_rows import RowGradient
from awe_core.kernels.feature_runs import FeatureRuns
from awe_core.warp.draw_numbers import DrawNumbers
from awe_core.warp.loss import draw_geometric, draw_in_rounds, warp_gradient
from awe_core.warp.rank_weights import harmonic_losses
from awe_core.warp.scores import JointScores, Parameters
from tests.awe_core.warp.test_loss import minibatch
from tests.oracles import joint as equation
from tests.oracles import warp as oracle

KERNEL = kernel_named("numpy")
D, LABELS, FEATURES = 3, 6, 9
LISTED = sp.random(FEATURES, LABELS, 0.4, format="csr", random_state=0, dtype=np.float32)
AFFINITIES = [
    Constant(2.0),
    LinearSigmoid(1.0, 0.25),
    LinearSigmoid(0.5, -1.0),
    Sigmoid(),
    Max(),
    TopK(3),
    TopK(50),
    LowRank(2),
    PairMatrix(0.0, "some", LISTED),
    PairMatrix(0.75, "some", LISTED),
    PairMatrix(0.5, "none", sp.csr_matrix(LISTED.shape, dtype=np.float32)),
]


def features(kind: str, d: int = FEATURES, rows: int = 5) -> np.ndarray:
    """float64 [rows, d]: dense, or with zeros, with one row of them alone."""
    x = np.random.default_rng(1).normal(size=(rows, d))
    if kind == "sparse":
        x[np.random.default_rng(2).random(x.shape) < 0.6] = 0
        x[2] = 0
    return x


def point(affinity: joint.Joint, d: int = FEATURES, seed: int = 0) -> Point:
    rng = np.random.default_rng(seed)
    first = affinity.first_tensors(d, LABELS, rng)
    own = {name: first[name] if name in affinity.fixed else rng.normal(size=first[name].shape) for name in first}
    return Point(rng.normal(size=(d, D)), rng.normal(size=(LABELS, D)), own)


def stored(x: np.ndarray, kind: str) -> np.ndarray | sp.csr_matrix:
    return sp.csr_matrix(x) if kind == "sparse" else x


def of_equation(affinity: joint.Joint, x: np.ndarray, at: Point, labels: np.ndarray) -> np.ndarray:
    return np.array(
        [
            [equation.score(affinity.described(), row, y, at.U, at.V, at.own) for y in of_row]
            for row, of_row in zip(x, labels, strict=True)
        ]
    )


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_scores_are_the_equations_one_by_one_and_by_block(affinity, kind, monkeypatch):
    monkeypatch.setattr(joint, "_MOST_PRODUCTS", 40)
    monkeypatch.setattr(joint, "_MOST_ROWS", 2)
    x, at = features(kind), point(affinity)
    every = np.tile(np.arange(LABELS), (len(x), 1))
    expected = of_equation(affinity, x, at, every)

    chosen = affinity.scores(FeatureRuns.of(stored(x, kind)), at, every, KERNEL)
    alone = [affinity.scores(FeatureRuns.of(stored(row[None], kind)), at, every[:1], KERNEL)[0] for row in x]
    block = affinity.all_scores(stored(x, kind), at, KERNEL)
    some = affinity.all_scores(stored(x, kind), at, KERNEL, slice(2, 5))

    for found in (chosen, alone, block):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(some, expected[:, 2:5], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_the_gradient_is_that_of_finite_differences(affinity, kind):
    x, at = features(kind), point(affinity)
    rng = np.random.default_rng(3)
    labels, weight = rng.integers(0, LABELS, size=(len(x), 2)), rng.normal(size=(len(x), 2))

    made = affinity.gradient(FeatureRuns.of(stored(x, kind)), at, labels, weight, KERNEL)

    tensors = {"U": at.U, "V": at.V, **at.own}
    for name, part in {"U": made.U, "V": made.V, **made.own}.items():
        found = np.zeros_like(tensors[name])
        np.add.at(found, part.rows, part.values)

        def weighed(moved, name=name):
            there = {**tensors, name: moved}
            own = {other: there[other] for other in at.own}
            return float((weight * of_equation(affinity, x, Point(there["U"], there["V"], own), labels)).sum())

        np.testing.assert_allclose(found, differences(weighed, tensors[name]), rtol=1e-5, atol=1e-7)
    assert set(made.own) == set(at.own) - set(affinity.fixed)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_a_pools_gradient_is_that_of_its_labels_one_by_one(affinity, kind):
    x, at, pool = FeatureRuns.of(stored(features(kind), kind)), point(affinity), np.array([0, 2, 5])
    weight = np.random.default_rng(3).normal(size=(len(x), len(pool)))
    of_pool = affinity.pool_gradient(x, at, pool, weight)
    one_by_one = affinity.gradient(x, at, np.tile(pool, (len(x), 1)), weight, KERNEL)
    for found, expected, tensor in [
        (of_pool.U, one_by_one.U, at.U),
        (of_pool.V, one_by_one.V, at.V),
        *[(of_pool.own[name], one_by_one.own[name], at.own[name]) for name in one_by_one.own],
    ]:
        np.testing.assert_allclose(added(found, tensor), added(expected, tensor), rtol=1e-10, atol=1e-10)


def added(part: RowGradient, tensor: np.ndarray) -> np.ndarray:
    found = np.zeros_like(tensor)
    np.add.at(found, part.rows, part.values)
    return found


def differences(function, at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    found = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        found[place] = (function(up) - function(down)) / (2 * step)
    return found


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_the_step_goes_down_the_loss_with_the_affinitys_own_gradient(affinity):
    x = features("sparse", rows=4)
    at = point(affinity)
    batch = minibatch(x, [[0, 3], [1], [2], [4]], LABELS, weight=[1.0, 2.0, 0.5, 1.0])
    P = Parameters(at.U, at.V, np.zeros(1), joint=affinity, own=at.own)
    draws = draw_geometric(JointScores(batch, P, KERNEL), 1.5, DrawNumbers.of(4))
    assert len(draws.pair)

    def step(there):
        return warp_gradient(JointScores(batch, there, KERNEL), 1.5, draws, harmonic_losses(LABELS))

    gradient = step(P)
    for name, part in {"U": [gradient.U], "V": gradient.V, **gradient.own}.items():
        tensor = {"U": at.U, "V": at.V, **at.own}[name]
        found = np.zeros_like(tensor)
        for piece in part:
            np.add.at(found, piece.rows, piece.values)

        def loss(moved, name=name):
            there = replace(P, own={**at.own, name: moved}) if name in at.own else replace(P, **{name: moved})
            return step(there).loss

        np.testing.assert_allclose(found, differences(loss, tensor), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("draw", [draw_geometric, draw_in_rounds])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_draws_follow_the_law_of_draws_one_by_one(affinity, draw):
    copies, x, at, truth, y = 4000, features("sparse")[:1], point(affinity), [1, 4], 1
    batch = minibatch(np.tile(x, (copies, 1)), [truth] * copies, LABELS)
    ours = batch.pair_label == y
    batch = replace(batch, pair_row=batch.pair_row[ours], pair_label=batch.pair_label[ours])
    P = Parameters(at.U, at.V, np.zeros(1), joint=affinity, own=at.own)

    draws = draw(JointScores(batch, P, KERNEL), 0.3, DrawNumbers.of(1))

    scores = of_equation(affinity, x, at, np.arange(LABELS)[None])[0]
    law = oracle.draw_law(scores, set(truth), set(range(LABELS)), y, 0.3)
    outcomes = Counter(zip(draws.number.tolist(), draws.negative.tolist(), strict=True))
    outcomes[None] = copies - len(draws.pair)
    assert set(+outcomes) <= set(law)
    frequent = [outcome for outcome, p in law.items() if copies * p >= 5]
    expected, observed = [copies * law[one] for one in frequent], [outcomes[one] for one in frequent]
    rest = copies - sum(expected)
    if rest > 1e-6:
        expected, observed = [*expected, rest], [*observed, copies - sum(observed)]
    assert chisquare(observed, expected).pvalue > 1e-3 if len(expected) > 1 else observed == [copies]


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_a_model_file_says_which_affinity_it_was(affinity):
    described = json.loads(json.dumps(affinity.described()))
    assert joint_named(described["kind"], described) == affinity


def test_every_kind_is_tested():
    assert {affinity.kind for affinity in AFFINITIES} == set(JOINT_KINDS)


@pytest.mark.parametrize("k", [1, 2, 5, 12, 20])
def test_the_kth_largest_counts_the_features_that_x_lacks(k):
    rng = np.random.default_rng(k)
    dense = rng.normal(size=(30, 12))
    dense[rng.random(dense.shape) < rng.random((30, 1))] = 0
    x = FeatureRuns.of(sp.csr_matrix(dense))
    z = np.column_stack((x.value, -x.value))
    expected = [[np.sort(sign * row)[::-1][min(k, 12) - 1] for sign in (1, -1)] for row in dense]
    np.testing.assert_array_equal(kth_largest(x, z, k), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LinearSigmoid(0.0, -1.0),
        lambda: LinearSigmoid(0.5, 0.5),
        lambda: LinearSigmoid(math.nan),
        lambda: TopK(0),
        lambda: LowRank(0),
        lambda: Constant(0.0),
        lambda: PairMatrix(-1.0),
        lambda: PairMatrix(listed=-LISTED),
        lambda: PairMatrix(listed=math.nan * LISTED),
    ],
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        wrong()

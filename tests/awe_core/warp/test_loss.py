"""WARP's draws and step, against the plain loops of `tests.oracles.warp`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import chisquare

from awe_core.gate import Gate
from awe_core.kernels.choice import kernel_named
from awe_core.kernels.feature_rows import RowGradient
from awe_core.warp import loss
from awe_core.warp.draw_numbers import DrawNumbers
from awe_core.warp.loss import Draws, draw_geometric, draw_in_rounds, warp_gradient
from awe_core.warp.minibatch import Minibatch
from awe_core.warp.rank_weights import harmonic_losses
from awe_core.warp.scores import LinearScores, Parameters
from tests.oracles import warp as oracle

KERNEL = kernel_named("numpy")
SAMPLERS = [draw_geometric, draw_in_rounds]
GATES = [None, Gate(1.5, 0.0), Gate(1.5, 0.4)]


def csr(rows: list[list[int]], columns: int, values: list[list[float]] | None = None) -> sp.csr_matrix:
    ends = np.cumsum([0] + [len(row) for row in rows])
    flat = [entry for row in rows for entry in row]
    data = [value for row in values for value in row] if values is not None else np.ones(len(flat))
    return sp.csr_matrix((np.array(data, dtype=np.float32), np.array(flat, dtype=np.int32), ends), (len(rows), columns))


def minibatch(
    x: np.ndarray,
    truth: list[list[int]],
    labels: int,
    seen: list[list[int]] | None = None,
    affinity: list[dict[int, float]] | None = None,
    weight: list[float] | None = None,
    covered_only: bool = False,
) -> Minibatch:
    """Rows with dense x; the pairs are those of `truth`, without uncovered ones if asked."""
    seen = seen or [[] for _ in truth]
    excluded = csr([sorted({*t, *s}) for t, s in zip(truth, seen, strict=True)], labels)
    G = None
    if affinity is not None:
        G = csr([sorted(row) for row in affinity], labels, [[row[y] for y in sorted(row)] for row in affinity])
    pairs = [(i, y) for i, t in enumerate(truth) for y in t if not covered_only or y in affinity[i]]
    return Minibatch(
        features=x,
        weight=np.array(weight or [1.0] * len(truth), dtype=np.float32),
        excluded=excluded,
        affinity=G,
        pair_row=np.array([i for i, _ in pairs], dtype=np.intp),
        pair_label=np.array([y for _, y in pairs], dtype=np.intp),
    )


def parameters(d: int, labels: int, D: int = 3, seed: int = 0, offset: float = 0.0) -> Parameters:
    rng = np.random.default_rng(seed)
    return Parameters(rng.normal(size=(d, D)), rng.normal(size=(labels, D)), np.array([offset]))


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("labels", [7, 150])  # 150 labels and 6 candidates: only candidates are scored
@pytest.mark.parametrize("margin", [0.05, 1.0])
def test_draws_follow_the_law_of_draws_one_by_one(draw, gate, labels, margin):
    rng = np.random.default_rng(labels)
    x, truth, seen = rng.normal(size=4), [1, 4], [2]
    affinity = {0: 0.5, 1: 1.2, 2: 0.1, 3: 0.7, 5: 0.0, 6: 0.9}
    P = parameters(4, labels, offset=0.3)
    copies, y = 8000, 1
    batch = minibatch(
        np.tile(x, (copies, 1)),
        [truth] * copies,
        labels,
        [seen] * copies,
        [affinity] * copies if gate else None,
    )
    ours = batch.pair_label == y
    batch = Minibatch(
        batch.features, batch.weight, batch.excluded, batch.affinity, batch.pair_row[ours], batch.pair_label[ours]
    )

    draws = draw(LinearScores(batch, batch.features @ P.U, P, gate, KERNEL), margin, DrawNumbers.of(1))

    arguments = (affinity, gate.scale, gate.bias, 0.3) if gate else (None, 1.0, 0.0, 0.0)
    scores = [oracle.score(P.U, P.V, x, label, *arguments) for label in range(labels)]
    positives, negatives = oracle.positives_and_negatives(
        labels, set(truth), set(seen), set(affinity) if gate else None, arguments[2]
    )
    law = oracle.draw_law(scores, positives, positives | negatives, y, margin)
    seen_outcomes = Counter(zip(draws.number.tolist(), draws.negative.tolist(), strict=True))
    seen_outcomes[None] = copies - len(draws.pair)
    assert set(+seen_outcomes) <= set(law)
    assert (draws.negatives == len(negatives)).all()
    frequent = [outcome for outcome, p in law.items() if copies * p >= 5]
    expected = [copies * law[outcome] for outcome in frequent]
    observed = [seen_outcomes[outcome] for outcome in frequent]
    rest = copies - sum(expected)
    if rest > 1e-6:
        expected, observed = [*expected, rest], [*observed, copies - sum(observed)]
    assert chisquare(observed, expected).pvalue > 1e-3 if len(expected) > 1 else observed == [copies]


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize("gate", GATES)
def test_only_negatives_that_may_be_drawn_are_drawn(draw, gate):
    rng = np.random.default_rng(3)
    truth = [sorted(rng.choice(9, size=rng.integers(0, 9), replace=False).tolist()) for _ in range(200)]
    seen = [sorted(set(rng.choice(9, size=3).tolist()) - set(t)) for t in truth]
    affinity = [{int(y): float(rng.random()) for y in rng.choice(9, size=5, replace=False)} for _ in truth]
    restricted = gate is not None and gate.bias == 0
    batch = minibatch(rng.normal(size=(200, 4)), truth, 9, seen, affinity, covered_only=restricted)
    P = parameters(4, 9)

    draws = draw(LinearScores(batch, batch.features @ P.U, P, gate, KERNEL), 50.0, DrawNumbers.of(3))

    for pair, negative, number in zip(draws.pair, draws.negative, draws.number, strict=True):
        row = batch.pair_row[pair]
        _, allowed = oracle.positives_and_negatives(
            9, set(truth[row]), set(seen[row]), set(affinity[row]) if gate else None, gate.bias if gate else 0.0
        )
        assert negative in allowed
        assert number == 1  # every negative violates a margin of 50
        assert draws.negatives[pair] == len(allowed)
    assert len(draws.pair) == np.count_nonzero(draws.negatives)


@pytest.mark.parametrize("margin", [0.05, 1.0])
def test_an_examples_scores_are_sorted_once_for_many_pairs_under_the_same_law(margin):
    # Six true labels an example: the path that sorts; each positive's own law.
    rng = np.random.default_rng(2)
    x, truth, labels, copies = rng.normal(size=4), [0, 2, 3, 5, 8, 9], 16, 8000
    P = parameters(4, labels)
    batch = minibatch(np.tile(x, (copies, 1)), [truth] * copies, labels)
    draws = draw_geometric(LinearScores(batch, batch.features @ P.U, P, None, KERNEL), margin, DrawNumbers.of(2))
    scores = [oracle.score(P.U, P.V, x, label) for label in range(labels)]
    for y in truth:
        law = oracle.draw_law(scores, set(truth), set(range(labels)), y, margin)
        mine = batch.pair_label[draws.pair] == y
        found = Counter(zip(draws.number[mine].tolist(), draws.negative[mine].tolist(), strict=True))
        found[None] = copies - int(mine.sum())
        assert set(+found) <= set(law)
        frequent = [outcome for outcome, p in law.items() if copies * p >= 5]
        expected, observed = [copies * law[o] for o in frequent], [found[o] for o in frequent]
        if copies - sum(expected) > 1e-6:
            expected, observed = [*expected, copies - sum(expected)], [*observed, copies - sum(observed)]
        assert chisquare(observed, expected).pvalue > 1e-3 if len(expected) > 1 else observed == [copies]


@pytest.mark.parametrize("draw", SAMPLERS)
def test_every_pair_has_its_own_number_of_draws(draw):
    # Label 1 is the one violator. Rows with 2 negatives give up after 2 draws, beside rows with 30 that go on.
    P = Parameters(np.array([[1.0]]), np.array([[5.0], [9.0], *[[0.0]] * 29]), np.zeros(1))
    few, many = [0, *range(3, 31)], [0]
    batch = minibatch(np.ones((4000, 1)), [few, many] * 2000, 31)
    one, G = batch.pair_label == 0, None
    batch = Minibatch(batch.features, batch.weight, batch.excluded, G, batch.pair_row[one], batch.pair_label[one])
    draws = draw(LinearScores(batch, batch.features @ P.U, P, None, KERNEL), 1.0, DrawNumbers.of(0))
    assert (draws.number <= draws.negatives[draws.pair]).all()
    for negatives in (2, 30):
        found = np.count_nonzero(draws.negatives[draws.pair] == negatives) / 2000
        assert found == pytest.approx(1 - (1 - 1 / negatives) ** negatives, abs=0.04)


@pytest.mark.parametrize("draw", SAMPLERS)
def test_a_score_at_the_margin_is_no_violator(draw):
    P = Parameters(np.array([[1.0]]), np.array([[2.0], [1.0], [1.0 + 1e-9]]), np.zeros(1))
    batch = minibatch(np.array([[1.0]]), [[0]], 3)
    found = [
        draw(LinearScores(batch, batch.features @ P.U, P, None, KERNEL), 1.0, DrawNumbers.of(seed))
        for seed in range(20)
    ]
    assert {int(y) for draws in found for y in draws.negative} == {2}


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize("gate", GATES)
def test_an_example_with_nothing_to_draw_makes_no_step(draw, gate):
    batch = minibatch(np.ones((1, 2)), [[0, 1]], 3, [[2]], [{0: 1.0, 1: 1.0}])
    draws = draw(
        LinearScores(batch, batch.features @ np.ones((2, 3)), parameters(2, 3), gate, KERNEL), 1.0, DrawNumbers.of(5)
    )
    assert len(draws.pair) == 0
    assert draws.negatives.tolist() == [0, 0]


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_stops(draw, bad):
    P = parameters(2, 40)
    P.V[3] = bad
    batch = minibatch(np.ones((64, 2)), [[3]] + [[0]] * 63, 40)
    with pytest.raises(FloatingPointError), np.errstate(invalid="ignore"):
        draw(LinearScores(batch, batch.features @ P.U, P, None, KERNEL), 1.0, DrawNumbers.of(0))


def weighted_problem(gate: Gate | None, sparse: bool = False):
    """Ten rows, several pairs a row, and draws for some of them."""
    rng = np.random.default_rng(5)
    truth = [sorted(rng.choice(6, size=2, replace=False).tolist()) for _ in range(10)]
    affinity = [{y: float(rng.random()) for y in range(6)} for _ in truth]
    x = rng.normal(size=(10, 4)) * (rng.random((10, 4)) < 0.6)
    batch = minibatch(x, truth, 6, None, affinity, weight=(rng.random(10) + 0.5).tolist())
    if sparse:
        batch = Minibatch(
            sp.csr_matrix(x), batch.weight, batch.excluded, batch.affinity, batch.pair_row, batch.pair_label
        )
    P = parameters(4, 6, offset=0.25)
    draws = draw_geometric(LinearScores(batch, batch.features @ P.U, P, gate, KERNEL), 1.0, DrawNumbers.of(5))
    assert 8 < len(draws.pair) < 20
    return x, affinity, batch, P, draws


def whole(parts: list[RowGradient], shape: tuple[int, int]) -> np.ndarray:
    """A gradient given by rows, as a matrix."""
    total = np.zeros(shape)
    for part in parts:
        np.add.at(total, slice(None) if part.rows is None else part.rows, part.values)
    return total


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradient_sums_those_of_the_pairs(gate, sparse):
    x, affinity, batch, P, draws = weighted_problem(gate, sparse)

    gradient = warp_gradient(LinearScores(batch, batch.features @ P.U, P, gate, KERNEL), 1.0, draws, harmonic_losses(6))

    slopes = {"U": np.zeros_like(P.U), "V": np.zeros_like(P.V), "c": np.zeros(())}
    loss = 0.0
    for pair, negative, N in zip(draws.pair, draws.negative, draws.number, strict=True):
        row, y = batch.pair_row[pair], int(batch.pair_label[pair])
        weight = float(batch.weight[row]) * oracle.rank_weight(int(draws.negatives[pair]), int(N))
        extra = (affinity[row], gate.scale, gate.bias) if gate else (None, 1.0, 0.0)
        at = {"U": P.U, "V": P.V, "c": P.offset[0]}
        loss += oracle.loss(at, x[row], y, int(negative), weight, 1.0, *extra)
        for name, slope in oracle.gradient(at, x[row], y, int(negative), weight, 1.0, *extra).items():
            slopes[name] = slopes[name] + slope
    # The gate is float32, as the affinity is.
    assert gradient.loss == pytest.approx(loss, rel=1e-6)
    assert whole([gradient.U], P.U.shape) == pytest.approx(slopes["U"], rel=1e-5, abs=1e-6)
    assert whole(gradient.V, P.V.shape) == pytest.approx(slopes["V"], rel=1e-5, abs=1e-6)
    assert gradient.offset == pytest.approx(float(slopes["c"]), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", ["U", "V", "offset"])
def test_the_gradient_is_that_of_the_loss_by_finite_differences(gate, name):
    _, _, batch, P, draws = weighted_problem(gate)

    def loss(value: np.ndarray) -> float:
        moved = Parameters(**{**P.__dict__, name: value})
        return warp_gradient(
            LinearScores(batch, batch.features @ moved.U, moved, gate, KERNEL), 1.0, draws, harmonic_losses(6)
        ).loss

    gradient = warp_gradient(LinearScores(batch, batch.features @ P.U, P, gate, KERNEL), 1.0, draws, harmonic_losses(6))
    part = getattr(gradient, name)
    ours = np.array([part]) if name == "offset" else whole(part if name == "V" else [part], getattr(P, name).shape)
    assert ours == pytest.approx(oracle.finite_difference(loss, getattr(P, name)), abs=1e-6)


def test_only_what_a_step_touches_has_a_gradient():
    batch = minibatch(np.ones((1, 4)), [[2]], 50)
    batch = Minibatch(csr([[1, 3]], 4), batch.weight, batch.excluded, None, batch.pair_row, batch.pair_label)
    draws = Draws(np.array([0]), np.array([40]), np.array([1]), np.array([49]))
    P = parameters(4, 50)
    gradient = warp_gradient(
        LinearScores(batch, batch.features @ P.U, P, None, KERNEL), 100.0, draws, harmonic_losses(50)
    )
    assert gradient.U.rows is not None
    assert gradient.U.rows.tolist() == [1, 3]
    assert [part.rows.tolist() for part in gradient.V] == [[2], [40]]


@pytest.mark.parametrize("similarity", ["negative-distance", "negative-squared-distance"])
@pytest.mark.parametrize("name", ["U", "V"])
def test_the_gradient_of_a_distance_is_that_of_its_loss_by_finite_differences(similarity, name):
    x, _, batch, P, _ = weighted_problem(None)
    P = Parameters(P.U, P.V, P.offset, similarity)
    draws = draw_geometric(LinearScores(batch, x @ P.U, P, None, KERNEL), 1.0, DrawNumbers.of(4))
    assert len(draws.pair) > 5

    def loss(value: np.ndarray) -> float:
        moved = Parameters(**{**P.__dict__, name: value})
        return warp_gradient(LinearScores(batch, x @ moved.U, moved, None, KERNEL), 1.0, draws, harmonic_losses(6)).loss

    gradient = warp_gradient(LinearScores(batch, x @ P.U, P, None, KERNEL), 1.0, draws, harmonic_losses(6))
    part = gradient.U if name == "U" else gradient.V
    ours = whole(part if name == "V" else [part], getattr(P, name).shape)
    assert ours == pytest.approx(oracle.finite_difference(loss, getattr(P, name)), abs=1e-6)


@pytest.mark.parametrize("draw", SAMPLERS)
@pytest.mark.parametrize("similarity", ["negative-distance", "negative-squared-distance"])
def test_violators_of_a_distance_are_those_of_its_values(draw, similarity):
    rng = np.random.default_rng(6)
    x, P = rng.normal(size=(300, 4)), parameters(4, 12)
    P = Parameters(P.U, P.V, P.offset, similarity)
    batch = minibatch(x, [[int(rng.integers(12))] for _ in x], 12)
    draws = draw(LinearScores(batch, x @ P.U, P, None, KERNEL), 0.4, DrawNumbers.of(3))
    apart = np.linalg.norm((x @ P.U)[:, None] - P.V, axis=2)
    f = -apart if similarity == "negative-distance" else -(apart**2)
    for pair, negative in zip(draws.pair, draws.negative, strict=True):
        assert f[pair, negative] > f[pair, batch.pair_label[pair]] - 0.4
    violators = (f > f[np.arange(300), batch.pair_label][:, None] - 0.4).sum(axis=1) - 1
    assert (violators[draws.pair] > 0).all()
    assert 100 < len(draws.pair) < 300


def test_rounds_keep_to_their_memory(monkeypatch):
    monkeypatch.setattr(loss, "_MOST_GATHERED", 64)
    gathered = []
    score = LinearScores.of
    monkeypatch.setattr(LinearScores, "of", lambda *given: gathered.append(given[-1].size) or score(*given))
    P = Parameters(np.array([[1.0]]), np.linspace(5, 0, 300)[:, None], np.zeros(1))
    batch = minibatch(np.ones((16, 1)), [[0]] * 16, 300)
    draws = draw_in_rounds(LinearScores(batch, batch.features @ P.U, P, None, KERNEL), 0.05, DrawNumbers.of(0))
    assert max(gathered) <= 64
    assert (draws.number <= 299).all()

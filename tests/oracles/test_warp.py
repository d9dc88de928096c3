"""The oracle of WARP: values by hand, the law of the draw by listing all draws, the gradient by finite differences."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from . import warp

U = np.array([[1.0, 0.0], [0.0, 2.0]])
V = np.array([[1.0, 1.0], [3.0, -1.0], [0.0, 0.5]])
X = np.array([2.0, 1.0])  # Ux = (2, 2), so that xᵀUᵀV = 4, 4, 1


class Scripted:
    """A generator that draws what it was told."""

    def __init__(self, draws: Iterable[int]) -> None:
        self.draws = iter(draws)

    def integers(self, high: int, /) -> int:
        """The next of the given draws."""
        return next(self.draws)


def random_case(seed: int) -> tuple[warp.Parameters, np.ndarray]:
    """U, V, c and x of 4 features, 5 labels and 3 dimensions; one feature is 0."""
    rng = np.random.default_rng(seed)
    parameters = {"U": rng.normal(size=(4, 3)), "V": rng.normal(size=(5, 3)), "c": np.asarray(rng.normal())}
    return parameters, rng.normal(size=4) * [1, 0, 1, 1]


def loss_with(parameters: warp.Parameters, terms: tuple[Any, ...], name: str, value: warp.Array) -> float:
    """The loss with one of the parameters replaced."""
    return warp.loss({**parameters, name: value}, *terms)


def test_wsabies_score_is_the_bilinear_form() -> None:
    assert [warp.score(U, V, X, y) for y in range(3)] == [4.0, 4.0, 1.0]


def test_the_affinity_with_scale_and_bias_multiplies_the_score_with_offset() -> None:
    # (2 · 3 + 0.5) · (4 + 1); label 1 is not covered and keeps the bias alone: 0.5 · (4 + 1).
    assert warp.score(U, V, X, 0, {0: 3.0}, s=2.0, b=0.5, c=1.0) == 32.5
    assert warp.score(U, V, X, 1, {0: 3.0}, s=2.0, b=0.5, c=1.0) == 2.5


def test_without_candidates_every_label_is_eligible_and_seen_ones_are_not_drawn() -> None:
    assert warp.positives_and_negatives(5, truth={1, 2}, seen={4}) == ({1, 2}, {0, 3})


def test_with_candidates_only_they_are_lifted_or_drawn() -> None:
    assert warp.positives_and_negatives(9, truth={1, 2}, seen={4}, candidates={1, 4, 5}) == ({1}, {5})


def test_a_bias_makes_every_label_eligible_again() -> None:
    assert warp.positives_and_negatives(4, {1, 2}, {0}, candidates={1}, b=0.1) == ({1, 2}, {3})


def test_all_labels_positive_leaves_no_negative_and_no_step() -> None:
    positives, negatives = warp.positives_and_negatives(2, truth={0, 1}, seen=set())
    assert negatives == set()
    assert warp.draw([0.0, 0.0], positives, {0, 1}, 0, 1.0, np.random.default_rng(0)) is None
    assert warp.draw_law([0.0, 0.0], positives, {0, 1}, 0, 1.0) == {None: 1.0}


def test_harmonic_numbers() -> None:
    assert [warp.harmonic(k) for k in range(4)] == pytest.approx([0, 1, 3 / 2, 11 / 6])


def test_the_rank_is_estimated_by_the_floor_of_negatives_over_draws() -> None:
    assert [warp.rank_weight(7, N) for N in (1, 2, 3, 4, 7)] == [warp.harmonic(k) for k in (7, 3, 2, 1, 1)]


def test_draws_go_on_until_a_label_violates_and_may_repeat() -> None:
    # Negatives are 0, 2 and 3; only 3 violates.
    scores = [0.0, 5.0, 3.0, 4.5]
    assert warp.draw(scores, {1}, {0, 1, 2, 3}, 1, 1.0, Scripted([0, 0, 2])) == (3, 3)


def test_as_many_draws_as_negatives_without_a_violator_skip_the_pair() -> None:
    assert warp.draw([0.0, 5.0, 3.0, 4.5], {1}, {0, 1, 2, 3}, 1, 1.0, Scripted([0, 1, 0, 2])) is None


def test_a_score_just_at_the_margin_does_not_violate() -> None:
    assert warp.draw([4.0, 5.0], {1}, {0, 1}, 1, 1.0, Scripted([0])) is None
    assert warp.draw([4.0, 5.0], {1}, {0, 1}, 1, 1.5, Scripted([0])) == (1, 0)


def test_labels_that_are_not_eligible_or_positive_are_never_drawn() -> None:
    scores, rng = [9.0] * 6, np.random.default_rng(0)
    assert {warp.draw(scores, {0, 5}, {0, 1, 3, 5}, 0, 1.0, rng) for _ in range(50)} == {(1, 1), (1, 3)}


def test_the_law_of_one_violator_among_two() -> None:
    assert warp.draw_law([0.0, 9.0, -9.0], {0}, {0, 1, 2}, 0, 1.0) == {(1, 1): 0.5, (2, 1): 0.25, None: 0.25}


@pytest.mark.parametrize("scores", [[0, -9, -9, -9], [0, 9, -9, -9], [0, 9, 9, -9], [0, 9, 9, 9], [0, 0, 0, 0]])
def test_the_law_is_the_share_of_all_equally_likely_sequences_of_draws(scores: list[float]) -> None:
    eligible = {0, 1, 2, 3}
    outcomes = Counter(
        warp.draw(scores, {0}, eligible, 0, 1.0, Scripted(draws)) for draws in itertools.product(range(3), repeat=3)
    )
    law = warp.draw_law(scores, {0}, eligible, 0, 1.0)
    assert law == pytest.approx({outcome: count / 27 for outcome, count in outcomes.items()})
    assert math.fsum(law.values()) == pytest.approx(1)


def test_the_loss_by_hand() -> None:
    parameters = {"U": U, "V": V, "c": np.asarray(1.0)}
    # f(x, 0) = 2 · 5, f(x, 1) = 3 · 5, f(x, 2) = 1 · 2
    G = {0: 2.0, 1: 3.0, 2: 1.0}
    assert warp.loss(parameters, X, 0, 1, weight=0.5, margin=1.0, G=G) == 0.5 * (1 + 15 - 10)
    assert warp.loss(parameters, X, 0, 2, weight=0.5, margin=1.0, G=G) == 0.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("G", [None, {0: 0.3, 1: 2.0}, {1: 2.0}])
def test_the_gradient_is_the_slope_of_the_loss(seed: int, G: dict[int, float] | None) -> None:
    parameters, x = random_case(seed)
    # A margin far from the hinge's corner, where there is no slope: active, then not.
    for margin, active in (50.0, True), (-50.0, False):
        terms = (x, 0, 1, 1.7, margin, G, 0.8, 0.1)
        assert (warp.loss(parameters, *terms) > 0) == active
        slopes = warp.gradient(parameters, *terms)
        for name, value in parameters.items():
            slope = warp.finite_difference(functools.partial(loss_with, parameters, terms, name), value)
            assert slopes[name] == pytest.approx(slope, abs=1e-6)
            assert slopes[name].shape == value.shape


def test_a_finite_difference_of_a_square() -> None:
    assert warp.finite_difference(lambda at: float(np.sum(at**2)), np.array([1.0, -3.0])) == pytest.approx([2, -6])


def test_projection_shortens_long_rows_only() -> None:
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert warp.project(rows, 1.0) == pytest.approx(np.array([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    assert (warp.project(rows, math.inf) == rows).all()


def test_an_sgd_step_goes_down_the_gradient_then_projects_all_rows() -> None:
    parameters = {"U": np.array([[1.0, 0.0]]), "V": np.array([[0.0, 5.0], [0.5, 0.0]]), "c": np.asarray(7.0)}
    gradients = {"U": np.array([[-6.0, -8.0]]), "V": np.array([[0.0, 0.0], [1.0, 0.0]]), "c": np.asarray(2.0)}
    after, accumulators = warp.step(parameters, gradients, rate=0.5, C=2.0)
    # U: (4, 4) is projected to length 2. The first row of V had no gradient, and is too long all the same.
    assert after["U"] == pytest.approx(np.full((1, 2), math.sqrt(2)))
    assert after["V"] == pytest.approx(np.array([[0.0, 2.0], [0.0, 0.0]]))
    assert after["c"] == 6.0
    assert accumulators is None
    assert (parameters["U"] == [[1.0, 0.0]]).all()


def test_an_adagrad_step_divides_by_the_root_of_the_gathered_squares() -> None:
    parameters = {"U": np.array([[0.0, 0.0]]), "V": np.zeros((1, 2)), "c": np.asarray(0.0)}
    gradients = {"U": np.array([[3.0, 0.0]])}
    before = {"U": np.array([[16.0, 0.0]]), "V": np.full((1, 2), 4.0), "c": np.asarray(4.0)}
    after, accumulators = warp.step(parameters, gradients, 0.5, accumulators=before, epsilon=1.0)
    assert accumulators is not None
    assert (accumulators["U"] == [[25.0, 0.0]]).all()
    assert after["U"] == pytest.approx(np.array([[-0.5 * 3 / (5 + 1), 0.0]]))
    # No gradient for c, which is given and not learnt: neither it nor its accumulator moves.
    assert after["c"] == 0.0
    assert accumulators["c"] == 4.0
    assert before["U"][0, 0] == 16.0


def test_adagrads_first_step_from_nothing_has_the_length_of_the_rate() -> None:
    parameters = {"U": np.zeros((1, 2)), "V": np.zeros((1, 2)), "c": np.asarray(0.0)}
    gradients = {"U": np.array([[100.0, 0.0]])}
    after, _ = warp.step(parameters, gradients, 0.1, accumulators={"U": np.zeros((1, 2))})
    assert after["U"] == pytest.approx(np.array([[-0.1, 0.0]]))


def test_a_small_step_lowers_the_loss() -> None:
    parameters, x = random_case(11)
    terms = (x, 2, 4, 1.0, 50.0)
    after, _ = warp.step(parameters, warp.gradient(parameters, *terms), rate=1e-3)
    assert warp.loss(after, *terms) < warp.loss(parameters, *terms)

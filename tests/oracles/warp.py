"""The weighted approximate-rank pairwise (WARP) step, one pair at a time.

U is [d, D]: its row i is Uᵢ, column i of the paper's matrix. V is [Y, D]. One example's x is a dense [d], its affinity
a dictionary label → G(x, y), where a label that is not there has G = 0. No affinity at all (None) means G = 1 for every
label: with s = 1 and b = c = 0 that is Wsabie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parameters = dict[str, Array]  # "U" [d, D], "V" [Y, D], "c" []
Scores = Mapping[int, float] | Sequence[float] | Array  # label → f(x, y) of one example
Outcome = tuple[int, int] | None  # (draws N, violating label), or None: the pair is skipped


class Draws(Protocol):
    """What a draw needs of a numpy Generator."""

    def integers(self, high: int, /) -> int:
        """A uniform integer in [0, high)."""


def factor(y: int, G: Mapping[int, float] | None, s: float, b: float) -> float:
    """s·G(x, y) + b."""
    return s * (1.0 if G is None else G.get(y, 0.0)) + b


def score(
    U: Array,
    V: Array,
    x: Array,
    y: int,
    G: Mapping[int, float] | None = None,
    s: float = 1.0,
    b: float = 0.0,
    c: float | Array = 0.0,
) -> float:
    """f(x, y) = (s·G(x, y) + b) · (Σᵢ xᵢ UᵢᵀV_y + c): section 2 of Weston, Weiss, Yee 2013, with one G(x, y) for
    all pairs of features, a scale s, the constant bias b that lets labels without affinity score, and an offset c.
    """
    linear = math.fsum(x[i] * U[i, j] * V[y, j] for i in range(U.shape[0]) for j in range(U.shape[1]))
    return factor(y, G, s, b) * (linear + float(c))


def positives_and_negatives(
    labels: int,
    truth: AbstractSet[int],
    seen: AbstractSet[int],
    candidates: AbstractSet[int] | None = None,
    b: float = 0.0,
) -> tuple[set[int], set[int]]:
    """The labels that are lifted and those that may be drawn against them.

    positives = Yx ∩ eligible, negatives = eligible ∖ Yx ∖ seen. Eligible are the candidates; with a bias b > 0, or no
    affinity (candidates None), all labels 0 … labels − 1.
    """
    eligible = set(range(labels)) if candidates is None or b > 0 else set(candidates)
    return eligible & truth, eligible - truth - seen


def harmonic(k: int) -> float:
    """L(k) = Σ_{j ≤ k} 1/j (Weston, Bengio, Usunier 2011: αⱼ = 1/j)."""
    return math.fsum(1.0 / j for j in range(1, k + 1))


def rank_weight(M: int, N: int) -> float:
    """L(⌊M / N⌋): the rank of the true label among its M negatives is estimated from the N draws to a violator."""
    return harmonic(M // N)


def violates(scores: Scores, negative: int, y: int, margin: float) -> bool:
    """f(x, ȳ) > f(x, y) − γ, strictly: then the hinge is positive (the 2011 abstract has f(x, ȳ) ≥ f(x, y))."""
    return bool(scores[negative] > scores[y] - margin)


def draw(
    scores: Scores,
    positives: AbstractSet[int],
    eligible: AbstractSet[int],
    y: int,
    margin: float,
    rng: Draws,
) -> Outcome:
    """Draw ȳ from eligible ∖ positives, with replacement, until it violates (Weston, Bengio, Usunier 2011).

    Returns
    -------
    (N, ȳ), N the number of draws and the violator included; None where M = |eligible ∖ positives| draws met none
    """
    negatives = sorted(eligible - positives)
    for N in range(1, len(negatives) + 1):
        negative = negatives[rng.integers(len(negatives))]
        if violates(scores, negative, y, margin):
            return N, negative
    return None


def draw_law(
    scores: Scores,
    positives: AbstractSet[int],
    eligible: AbstractSet[int],
    y: int,
    margin: float,
) -> dict[Outcome, float]:
    """The exact law of `draw`, of v violators among M negatives:

    P(N, ȳ) = (1 − v/M)^(N−1) · 1/M for N ≤ M and each violator ȳ;  P(skip) = (1 − v/M)^M.

    Outcomes that cannot happen are absent.
    """
    negatives = sorted(eligible - positives)
    M = len(negatives)
    violators = [negative for negative in negatives if violates(scores, negative, y, margin)]
    miss = (M - len(violators)) / M if M else 1.0
    law: dict[Outcome, float] = {(N, bad): miss ** (N - 1) / M for N in range(1, M + 1) for bad in violators}
    law[None] = miss**M
    return {outcome: probability for outcome, probability in law.items() if probability > 0}


def loss(
    parameters: Parameters,
    x: Array,
    y: int,
    negative: int,
    weight: float,
    margin: float,
    G: Mapping[int, float] | None = None,
    s: float = 1.0,
    b: float = 0.0,
) -> float:
    """weight · max(0, γ + f(x, ȳ) − f(x, y)), weight = L(⌊M / N⌋) times the example's own weight."""
    U, V, c = parameters["U"], parameters["V"], parameters["c"]
    return weight * max(0.0, margin + score(U, V, x, negative, G, s, b, c) - score(U, V, x, y, G, s, b, c))


def gradient(
    parameters: Parameters,
    x: Array,
    y: int,
    negative: int,
    weight: float,
    margin: float,
    G: Mapping[int, float] | None = None,
    s: float = 1.0,
    b: float = 0.0,
) -> Parameters:
    """Gradient of `loss` where its hinge is active, else 0; G is fixed. With a_y = s·G(x, y) + b,

    ∂Uᵢ = weight · xᵢ (a_ȳ V_ȳ − a_y V_y),  ∂V_ȳ = weight · a_ȳ Ux,
    ∂V_y = −weight · a_y Ux,  ∂c = weight · (a_ȳ − a_y).
    """
    U, V = parameters["U"], parameters["V"]
    slopes = {name: np.zeros_like(value) for name, value in parameters.items()}
    if loss(parameters, x, y, negative, weight, margin, G, s, b) == 0:
        return slopes
    up, down = factor(y, G, s, b), factor(negative, G, s, b)
    embedding = sum(x[i] * U[i] for i in range(len(x)))
    for i in range(len(x)):
        slopes["U"][i] = weight * x[i] * (down * V[negative] - up * V[y])
    slopes["V"][negative] = weight * down * embedding
    slopes["V"][y] = -weight * up * embedding
    slopes["c"] = np.asarray(weight * (down - up))
    return slopes


def finite_difference(function: Callable[[Array], float], at: Array, h: float = 1e-6) -> Array:
    """(function(at + h·e) − function(at − h·e)) / 2h for every coordinate direction e: same shape as `at`."""
    slope = np.zeros_like(at, dtype=np.float64)
    for index in np.ndindex(at.shape):
        bump = np.zeros_like(slope)
        bump[index] = h
        slope[index] = (function(at + bump) - function(at - bump)) / (2 * h)
    return slope


def project(rows: Array, C: float) -> Array:
    """‖rowᵢ‖ ≤ C: a longer row is shortened to length C, the others stay: Wsabie's norm constraint."""
    return np.array([row * (C / np.linalg.norm(row)) if np.linalg.norm(row) > C else row for row in rows])


def step(
    parameters: Parameters,
    gradients: Parameters,
    rate: float,
    C: float = math.inf,
    accumulators: Parameters | None = None,
    epsilon: float = 0.0,
) -> tuple[Parameters, Parameters | None]:
    """One descent step, then the projection of all rows of U and V onto the ball of radius C.

    SGD (accumulators None):  θ ← θ − rate · g.
    AdaGrad:                  A ← A + g²,  θ ← θ − rate · g / (√A + ε), coordinate by coordinate.

    A parameter without a gradient stays: an offset c that is given, not learnt. Nothing is changed in place.

    Parameters
    ----------
    accumulators : A of every parameter before the step, or None for SGD.

    Returns
    -------
    (parameters, accumulators) after the step
    """
    moved, gathered = dict(parameters), None if accumulators is None else dict(accumulators)
    for name, g in gradients.items():
        direction = g
        if gathered is not None:
            gathered[name] = gathered[name] + g * g
            # A coordinate without gradient does not move, also where A and ε are 0.
            root = np.sqrt(gathered[name]) + epsilon
            direction = np.where(g == 0, 0.0, g / np.where(g == 0, 1.0, root))
        moved[name] = moved[name] - rate * direction
    return {**moved, "U": project(moved["U"], C), "V": project(moved["V"], C)}, gathered

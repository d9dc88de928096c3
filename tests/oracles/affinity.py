"""The k-NN affinity G, and the numbers that set its scale."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from . import join

Affinity = dict[int, float]  # label → G(x, y) of one example; its keys are the candidates


FARTHEST = 60.0


def weight(lam: float, distance: float, near: join.Neighbours) -> float:
    """exp(−λx d²); where that of the nearest is below e⁻⁶⁰ all of the row are multiplied so that it is e⁻⁶⁰, which
    changes no order of labels."""
    nearest = min(distance for distance, _ in near)
    return math.exp(max(lam * nearest - FARTHEST, 0.0) - lam * distance)


def knn_affinity(
    neighbours: Sequence[join.Neighbours],
    labels_by_id: Mapping[int, AbstractSet[int]],
    lam: float,
    mode: Literal["sum", "max"] = "sum",
) -> list[Affinity]:
    """G(x, y) = Σₘ exp(−λx ‖Ux − Uxₘ‖²) [y ∈ Yₘ], m over the neighbours of x (equation 1 of Weston, Weiss, Yee 2013,
    sparsified to the nearest neighbours and with λy → ∞); `max` in place of the sum is their ImageNet variant.

    A label of a neighbour so far away that exp underflows is there, with G = 0: it is a candidate.
    """
    combine: Callable[[list[float]], float] = math.fsum if mode == "sum" else max
    affinities = []
    for near in neighbours:
        terms: dict[int, list[float]] = {}
        for distance, neighbour in near:
            for label in labels_by_id[neighbour]:
                terms.setdefault(label, []).append(weight(lam, distance, near))
        affinities.append({label: combine(terms[label]) for label in sorted(terms)})
    return affinities


def rbf_affinity(
    neighbours: Sequence[join.Neighbours],
    labels_by_id: Mapping[int, AbstractSet[int]],
    lam: float,
    closeness: Callable[[int, int], float | None],
    labels: int,
    mode: Literal["sum", "max"] = "sum",
) -> list[Affinity]:
    """G(x, y) = Σ exp(−λx ‖Ux − Uxₘ‖²) · closeness(y, y') over the training pairs (xₘ, y') of the neighbours; or `max`.

    closeness is exp(−λy ‖y − y'‖²), or ‖Vy − Vy'‖² in place of it; None is 0 and makes no candidate.
    """
    combine: Callable[[list[float]], float] = math.fsum if mode == "sum" else max
    affinities = []
    for near in neighbours:
        pairs = [(weight(lam, distance, near), label) for distance, m in near for label in labels_by_id[m]]
        terms = {
            y: [of_neighbour * close for of_neighbour, label in pairs if (close := closeness(y, label)) is not None]
            for y in range(labels)
        }
        affinities.append({y: combine(values) for y, values in terms.items() if values})
    return affinities


def one_hot_closeness(lam: float) -> Callable[[int, int], float]:
    """exp(−λy ‖y − y'‖²) of one-hot labels, which are √2 apart."""
    return lambda y, other: 1.0 if y == other else math.exp(-2 * lam)


def latent_closeness(V: ArrayLike, near: int, setting: float) -> Callable[[int, int], float | None]:
    """exp(−λy ‖Vy − Vy'‖²) of y' and the `near` labels nearest to it, None beyond; λy = setting / their median."""
    points = np.asarray(V, np.float64)
    found = join.neighbours(list(range(len(points))), points, list(range(len(points))), points, near)
    lam = setting / statistics.median(distance for row in found for distance, _ in row)
    of_label = [{other: math.exp(-lam * distance) for distance, other in row} for row in found]
    return lambda y, other: 1.0 if y == other else of_label[other].get(y)


def most_frequent(label_sets: Sequence[AbstractSet[int]], most: int) -> set[int]:
    """The labels that most of some examples have; ties go to the smaller label."""
    counts = Counter(label for labels in label_sets for label in labels)
    return set(sorted(counts, key=lambda label: (-counts[label], label))[:most])


def median_distance(ids: Sequence[int], x: ArrayLike, hashes: Sequence[int], n: int, limit: int = 10_000) -> float:
    """m, the median of ‖Ux − Uxₘ‖² over the n neighbours, among all rows of train, of a sample of train.

    The sample is the `limit` rows with the smallest hash. ValueError where no row has a neighbour.
    """
    points = np.asarray(x)
    sample = sorted(range(len(ids)), key=lambda row: (hashes[row], ids[row]))[:limit]
    found = join.neighbours(ids, points, [ids[row] for row in sample], points[sample], n)
    distances = [distance for near in found for distance, _ in near]
    if not distances:
        raise ValueError("no row has a neighbour: there is no median distance")
    return statistics.median(distances)


def lambda_x(setting: float, m: float) -> float:
    """λx = setting / m: the setting counts in median squared distances. ValueError where m = 0."""
    if m == 0:
        raise ValueError("the median squared distance is 0: at least half of the neighbours are exact duplicates")
    return setting / m


def scale(affinities: Sequence[Affinity], label_sets: Sequence[AbstractSet[int]]) -> float:
    """s = 1 / mean of G(x, y) over the pairs (x, y ∈ Yx) of train; a pair that is not covered counts as 0.

    ValueError where there is no pair, or G is 0 on all of them.
    """
    values = [G.get(label, 0.0) for G, labels in zip(affinities, label_sets, strict=True) for label in labels]
    if math.fsum(values) == 0:
        raise ValueError("no true pair has an affinity: there is no scale")
    return len(values) / math.fsum(values)

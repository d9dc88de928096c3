"""Vectors that make a search hard, and its answer by the equation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from awe_core.knn import Metric
from awe_core.neighbours import Neighbours
from tests.oracles import join

METRICS: list[Metric] = ["euclidean", "cosine", "inner_product"]


def oracle(
    base_ids: np.ndarray, base: np.ndarray, ids: np.ndarray, queries: np.ndarray, n: int, metric: Metric = "euclidean"
) -> Neighbours:
    table = Neighbours.none(len(ids), n)
    near = join.neighbours(base_ids.tolist(), base, ids.tolist(), queries, n, metric)
    for row, found in enumerate(near):
        for place, (distance, neighbour) in enumerate(found):
            table.distances[row, place], table.ids[row, place] = distance, neighbour
    return table


def assert_same(found: Neighbours, wanted: Neighbours) -> None:
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.distances, wanted.distances)


def some_ids(rng: np.random.Generator, rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids in no order; about half of the queries are rows of the base too."""
    base = rng.permutation(3 * rows + 1)[:rows].astype(np.int64) - rows
    known = rng.permutation(base)[: queries // 2]
    unknown = 10**12 + np.arange(queries - len(known))
    return base, rng.permutation(np.concatenate([known, unknown])).astype(np.int64)


Make = Callable[[np.random.Generator, int], np.ndarray]


def cluster(rng: np.random.Generator, rows: int, norm: float, spread: float, d: int = 8) -> np.ndarray:
    """Points `spread` apart around one vector of that norm."""
    centre = np.ones(d) * norm / np.sqrt(d)
    return (centre + spread * rng.standard_normal((rows, d))).astype(np.float32)


def ordinary(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.standard_normal((rows, 8)).astype(np.float32)


def forty_copies(rng: np.random.Generator, rows: int) -> np.ndarray:
    copies = np.repeat(rng.standard_normal((-(-rows // 40), 8)), 40, axis=0)[:rows]
    return rng.permutation(copies).astype(np.float32)


def all_equal(rng: np.random.Generator, rows: int) -> np.ndarray:
    return np.tile(rng.standard_normal(8), (rows, 1)).astype(np.float32)


def far_cluster(rng: np.random.Generator, rows: int) -> np.ndarray:
    return cluster(rng, rows, 1e3, 1e-4)


def opposite_clusters(rng: np.random.Generator, rows: int) -> np.ndarray:
    half = rows // 2
    both = np.concatenate([cluster(rng, half, 1e3, 1e-4), cluster(rng, rows - half, -1e3, 1e-4)])
    return rng.permutation(both)


def cluster_beside_ordinary_data(rng: np.random.Generator, rows: int) -> np.ndarray:
    both = np.concatenate([ordinary(rng, rows - rows // 4), cluster(rng, rows // 4, 1e3, 1e-4)])
    return rng.permutation(both)


def tiny(rng: np.random.Generator, rows: int) -> np.ndarray:
    return (1e-25 * rng.standard_normal((rows, 8))).astype(np.float32)


def subnormal(rng: np.random.Generator, rows: int) -> np.ndarray:
    return (1e-43 * (1 + rng.random((rows, 8)))).astype(np.float32)


def huge(rng: np.random.Generator, rows: int) -> np.ndarray:
    return (1e20 * rng.standard_normal((rows, 8))).astype(np.float32)


def largest(rng: np.random.Generator, rows: int) -> np.ndarray:
    return (3e38 * rng.uniform(-1, 1, (rows, 8))).astype(np.float32)


def all_magnitudes(rng: np.random.Generator, rows: int) -> np.ndarray:
    return (10.0 ** rng.uniform(-25, 20, (rows, 1)) * rng.standard_normal((rows, 8))).astype(np.float32)


def a_few_far_out(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Beyond what float32 products hold, and few: they meet every query one by one."""
    vectors = ordinary(rng, rows)
    vectors[:: max(1, rows // 5)] *= np.float32(1e30)
    return rng.permutation(vectors)


def small_grid(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Ties by the dozen, duplicates, and directions that many rows share."""
    vectors = rng.integers(-1, 3, (rows, 8)).astype(np.float32)
    vectors[:, 0] += 5
    return vectors


def signed_zeros(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.choice(np.array([0.0, -0.0, 1.0], np.float32), (rows, 8))
    vectors[:, 3] = 1
    return vectors


def small_steps_beside_a_huge_coordinate(rng: np.random.Generator, rows: int) -> np.ndarray:
    steps = (1e5 + rng.standard_normal((rows, 8))).astype(np.float32)
    steps[:, 3] = 3e9
    return steps


ADVERSARIES: list[Make] = [
    ordinary,
    forty_copies,
    all_equal,
    far_cluster,
    opposite_clusters,
    cluster_beside_ordinary_data,
    tiny,
    subnormal,
    huge,
    largest,
    all_magnitudes,
    a_few_far_out,
    small_grid,
    signed_zeros,
    small_steps_beside_a_huge_coordinate,
]

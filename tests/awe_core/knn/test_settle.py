"""How much is left to float64: little where vectors are ordinary, what has to be where they are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from awe_core.kernels.kernel import KernelName
from awe_core.knn import join_within, metric, prepare, search, settle
from awe_core.knn.prepared import Prepared
from tests.awe_core.knn.cases import (
    Make,
    assert_same,
    cluster,
    cluster_beside_ordinary_data,
    far_cluster,
    forty_copies,
    opposite_clusters,
    oracle,
    small_grid,
)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs were compared in float64, call by call."""
    pairs: list[int] = []
    whole: Callable[..., np.ndarray] = metric.distances

    def counted(*arguments: object) -> np.ndarray:
        found = whole(*arguments)
        pairs.append(len(found))
        return found

    monkeypatch.setattr(settle, "distances", counted)
    return pairs


def test_on_ordinary_vectors_the_products_leave_few_distances_to_compute(
    compared: list[int], kernel: KernelName
) -> None:
    vectors = np.random.default_rng(1).standard_normal((6000, 16)).astype(np.float32)
    found = join_within(Prepared(np.arange(6000), vectors), 10, kernel)
    assert 6000 * 11 <= sum(compared) <= 6000 * 11.1
    assert found.undecided < 60


@pytest.mark.parametrize("make", [far_cluster, opposite_clusters, cluster_beside_ordinary_data])
def test_tight_clusters_are_not_compared_pair_by_pair(make: Make, compared: list[int], kernel: KernelName) -> None:
    vectors = make(np.random.default_rng(1), 2400)
    join_within(Prepared(np.arange(2400), vectors), 10, kernel)
    assert sum(compared) <= 2400 * 60  # of 2,400 · 1,200 and more pairs that float32 cannot order


def test_a_cluster_far_away_leaves_ordinary_rows_decided(kernel: KernelName) -> None:
    rng = np.random.default_rng(1)
    ordinary = rng.standard_normal((2000, 8)).astype(np.float32)
    alone = join_within(Prepared(np.arange(2000), ordinary), 10, kernel)
    both = np.concatenate([ordinary, cluster(rng, 500, 1e3, 1e-4)])
    found = join_within(Prepared(np.arange(2500), both), 10, kernel)
    assert 500 <= found.undecided <= 500 + alone.undecided + 100


def test_copies_are_one_point_and_cost_no_float64(compared: list[int], kernel: KernelName) -> None:
    vectors = forty_copies(np.random.default_rng(1), 4000)
    found = join_within(Prepared(np.arange(4000), vectors), 20, kernel)
    assert (found.distances[:, :20] == 0).all()
    assert found.undecided == 0
    assert sum(compared) <= 100 * 22


def test_more_ties_than_a_pool_holds_are_settled_as_they_come(compared: list[int], kernel: KernelName) -> None:
    vectors = small_grid(np.random.default_rng(3), 6000)
    vectors = np.unique(vectors, axis=0)
    rows = Prepared(np.arange(len(vectors)), vectors)
    found = join_within(rows, 5, kernel)
    assert found.undecided > len(vectors) // 2
    assert max(compared) < rows.points * 100
    some = np.arange(0, len(vectors), len(vectors) // 7)
    wanted = oracle(rows.ids, vectors, some, vectors[some], 5)
    assert found.ids[some].tolist() == wanted.ids.tolist()


def test_beyond_a_few_far_points_nothing_is_left_to_the_product(kernel: KernelName) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((600, 8)).astype(np.float32)
    vectors[: settle.FAR_POINTS + 1] *= np.float32(1e30)
    base = prepare(np.arange(600), vectors)
    points = np.concatenate([vectors[:3], vectors[-3:]])
    found = search(base, base.alike(1000 + np.arange(6), points), 9, kernel)
    assert found.undecided == 6
    assert_same(found, oracle(base.ids, vectors, 1000 + np.arange(6), points, 9))


def test_a_large_base_may_have_more_far_points_than_a_small_one(
    monkeypatch: pytest.MonkeyPatch, kernel: KernelName
) -> None:
    monkeypatch.setattr(settle, "FAR_POINTS", 2)
    vectors = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    vectors[:5] *= np.float32(1e30)
    found = join_within(Prepared(np.arange(2000), vectors), 9, kernel)
    assert 5 <= found.undecided < 50
    wanted = oracle(np.arange(2000), vectors, np.arange(8), vectors[:8], 9)
    assert found.ids[:8].tolist() == wanted.ids.tolist()

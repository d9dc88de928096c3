"""Sets of rows that visit each other's lists: what they find, merged, is what they find together."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from awe_core.kernels.kernel import KernelName
from awe_core.knn import settle, visits
from awe_core.knn.approximate import make_lists
from awe_core.knn.inverted_lists import InvertedLists
from awe_core.knn.join import knn_join
from awe_core.knn.prepared import Prepared
from awe_core.knn.visits import Listed, Lists, visit_between, visit_within
from awe_core.neighbours import Neighbours, merge
from awe_core.threads import Workers
from tests.awe_core.knn.cases import ADVERSARIES, Make, assert_same
from tests.compiled import needs_numba

N = 6
KERNELS: list[KernelName] = ["numpy", "numba"]
HALVES = slice(0, 400), slice(400, None)


def lists_of(ids: np.ndarray, vectors: np.ndarray, nprobe: int, metric: str = "euclidean") -> Lists:
    cells, centre = make_lists(0, ids, vectors, len(ids), metric)
    return Lists(cells, nprobe, centre)


def listed(ids: np.ndarray, vectors: np.ndarray, lists: Lists, metric: str = "euclidean") -> Listed:
    return Listed(Prepared(ids, vectors, metric, lists.centre), lists)


def in_shards(
    ids: np.ndarray, vectors: np.ndarray, lists: Lists, shards: int, metric: str = "euclidean", seed: int = 0
) -> Neighbours:
    """Rows cut at random, pairs joined in any order; what is known already is used, as tasks do."""
    rng = np.random.default_rng(seed)
    shard_of = rng.permutation(len(ids)) % shards
    cuts = [np.flatnonzero(shard_of == shard) for shard in range(shards)]
    several = [listed(ids[cut], vectors[cut], lists, metric) for cut in cuts]
    found: list[list[Neighbours]] = [[] for _ in cuts]

    def reach(shard: int) -> np.ndarray:
        known = [one.distances[:, -1] for one in found[shard]]
        return np.min([np.full(len(cuts[shard]), np.inf), *known], axis=0)

    pairs = [*((i, i) for i in range(shards)), *combinations(range(shards), 2)]
    for i, j in rng.permutation(np.array(pairs)).tolist():
        if i == j:
            found[i].append(visit_within(several[i], N, reach=reach(i)))
        else:
            of_one, of_other = visit_between(several[i], several[j], N, reaches=(reach(i), reach(j)))
            found[i].append(of_one)
            found[j].append(of_other)
    whole = Neighbours.none(len(ids), N)
    for cut, pieces in zip(cuts, found, strict=True):
        merged = merge(pieces, N)
        assert merged.base_rows == len(ids)
        whole.ids[cut], whole.distances[cut] = merged.ids, merged.distances
    return whole


@pytest.mark.parametrize("make", ADVERSARIES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("shards", [2, 5])
def test_shards_find_what_all_rows_together_find(make: Make, shards: int) -> None:
    rng = np.random.default_rng(0)
    ids, vectors = rng.permutation(2000)[:240].astype(np.int64), make(rng, 240)
    lists = lists_of(ids, vectors, 3)
    assert_same(in_shards(ids, vectors, lists, shards), visit_within(listed(ids, vectors, lists), N))


@pytest.mark.parametrize("make", ADVERSARIES, ids=lambda make: make.__name__)
def test_visits_to_all_lists_are_the_exact_join(make: Make) -> None:
    rng = np.random.default_rng(1)
    ids, vectors = rng.permutation(2000)[:150].astype(np.int64), make(rng, 150)
    lists = lists_of(ids, vectors, 10**6)
    assert_same(in_shards(ids, vectors, lists, 3), knn_join(ids, vectors, N))


@pytest.mark.parametrize("make", ADVERSARIES, ids=lambda make: make.__name__)
def test_both_kernels_find_the_same(make: Make) -> None:
    needs_numba()
    rng = np.random.default_rng(7)
    ids, vectors = rng.permutation(4000)[:900].astype(np.int64), make(rng, 900)
    lists = lists_of(ids, vectors, 4)
    of_numpy, of_numba = (
        visit_within(Listed(Prepared(ids, vectors, centre=lists.centre), lists, kernel), N, kernel)
        for kernel in KERNELS
    )
    assert_same(of_numba, of_numpy)
    of_numpy, of_numba = (
        visit_between(
            *(Listed(Prepared(ids[s], vectors[s], centre=lists.centre), lists, kernel) for s in HALVES), N, kernel
        )
        for kernel in KERNELS
    )
    for one, other in zip(of_numba, of_numpy, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("stripes", [1, 2, 7, 10**4])
def test_stripes_are_runs_of_whole_lists_of_about_as_many_points(stripes: int) -> None:
    rng = np.random.default_rng(8)
    ids, vectors = np.arange(500), rng.standard_normal((500, 5)).astype(np.float32)
    rows = listed(ids, vectors, lists_of(ids, vectors, 2))
    starts = rows.stripes(stripes)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert np.isin(starts, [rows.members(number).start for number in range(rows.count)]).all()
    longest = max(rows.members(number).stop - rows.members(number).start for number in range(rows.count))
    assert np.diff([*starts, 500]).max() < 500 / stripes + longest + 1


@pytest.mark.parametrize("tile", [7, 64])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_no_tile_shard_or_thread_is_seen_in_the_answer(
    metric: str, tile: int, kernel: KernelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    vectors = (rng.standard_normal((30, 8))[rng.integers(0, 30, 700)] + 0.4 * rng.standard_normal((700, 8))).astype(
        "f4"
    )
    ids = rng.permutation(700).astype(np.int64)
    lists = lists_of(ids, vectors, 2, metric)
    wanted = visit_within(listed(ids, vectors, lists, metric), N)
    assert (wanted.distances > knn_join(ids, vectors, N, metric=metric).distances).any()
    monkeypatch.setattr(visits, "_TILE", tile)
    monkeypatch.setattr(settle, "_SETTLED_ROWS", 50)
    with Workers(2) as workers:
        assert_same(visit_within(listed(ids, vectors, lists, metric), N, kernel, run=workers.each), wanted)
    assert_same(in_shards(ids, vectors, lists, 7, metric, seed=3), wanted)


def test_a_row_visits_the_same_lists_whatever_stands_beside_it() -> None:
    """Centroids so close together that their order is within the rounding of a product."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((300, 40)).astype(np.float32)
    middle = rng.standard_normal(40)
    cells = InvertedLists((middle + 1e-6 * rng.standard_normal((50, 40))).astype(np.float32))
    together = cells.probes(vectors, 7)
    for rows in (1, 3, 50):
        alone = np.concatenate([cells.probes(vectors[first : first + rows], 7) for first in range(0, 300, rows)])
        np.testing.assert_array_equal(alone[:, 0], together[:, 0])
        np.testing.assert_array_equal(np.sort(alone, axis=1), np.sort(together, axis=1))
    everywhere = np.tile(np.arange(50), (300, 1))
    ranks = cells.ranks(vectors, everywhere)
    np.testing.assert_array_equal(np.sort(ranks, axis=1), everywhere)
    np.testing.assert_array_equal(np.sort(together, axis=1), np.nonzero(ranks < 7)[1].reshape(300, 7))


@pytest.mark.parametrize(("rows", "others"), [(0, 30), (1, 1), (2, 40)])
def test_small_and_empty_sides(rows: int, others: int) -> None:
    rng = np.random.default_rng(4)
    ids, vectors = np.arange(rows + others), rng.standard_normal((rows + others, 5)).astype(np.float32)
    lists = lists_of(ids, vectors, 10**6)
    one, other = listed(ids[:rows], vectors[:rows], lists), listed(ids[rows:], vectors[rows:], lists)
    for found, base, queries in zip(
        visit_between(one, other, N), (other.near, one.near), (one.near, other.near), strict=True
    ):
        assert_same(found, knn_join(base.ids, base.vectors, N, queries.ids, queries.vectors))
        assert found.base_rows == len(base)


def test_products_are_counted_where_they_are_made() -> None:
    rng = np.random.default_rng(5)
    ids, vectors = np.arange(200), rng.standard_normal((200, 5)).astype(np.float32)
    whole = lists_of(ids, vectors, 10**6)
    one, other = listed(ids[:80], vectors[:80], whole), listed(ids[80:], vectors[80:], whole)
    # Everyone visits everyone: a pair of one list is met once, any other from both its sides.
    same = int((one.own[:, None] == other.own).sum())
    assert one.products(other) == 2 * 80 * 120 - same
    assert one.products(one) == 80 * 80


def test_sides_that_were_not_listed_together_are_refused() -> None:
    rng = np.random.default_rng(6)
    ids, vectors = np.arange(60), rng.standard_normal((60, 5)).astype(np.float32)
    one, other = (listed(ids, vectors, lists_of(ids, vectors, nprobe)) for nprobe in (2, 3))
    with pytest.raises(ValueError, match="visit other lists"):
        visit_between(one, other, N)

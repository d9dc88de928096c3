"""The join is exact: the neighbours of float64 distances, whatever the vectors, tiles, groups, threads and kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import NearestNeighbors

from awe_core.examples import Features
from awe_core.kernels.kernel import KernelName
from awe_core.knn import Centre, Metric, Prepared, join_both, join_within, knn_join, prepare, search, tiles
from awe_core.knn import join as exact_join
from awe_core.knn.join import extended
from awe_core.neighbours import NOBODY, Neighbours, merge, stacked
from awe_core.threads import Workers
from tests.awe_core.knn.cases import (
    ADVERSARIES,
    METRICS,
    Make,
    assert_same,
    forty_copies,
    opposite_clusters,
    oracle,
    ordinary,
    some_ids,
)
from tests.merge_trees import merge_in_some_tree, random_split
from tests.oracles import join

SEED = st.integers(0, 2**20)
TILES = st.sampled_from([(2, 1, 1), (5, 3, 4), (16, 64, 16), (64, 100, 70), (1024, 512, 512)])
"""(rows of a strip, columns of a tile, columns of the sample)."""


def cut_tiles(patch: pytest.MonkeyPatch, sizes: tuple[int, int, int]) -> None:
    for name, size in zip(("STRIP_ROWS", "TILE_COLUMNS", "SAMPLE_COLUMNS"), sizes, strict=True):
        patch.setattr(tiles, name, size)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_join, "BLOCK_POINTS", 40)


def searched(
    base_ids: np.ndarray,
    base: Features,
    ids: np.ndarray,
    queries: Features,
    n: int,
    metric: Metric = "euclidean",
    kernel: KernelName = "numpy",
) -> Neighbours:
    shard = prepare(base_ids, base, metric)
    return search(shard, shard.alike(ids, queries), n, kernel)


@pytest.mark.parametrize("metric", METRICS)
@given(SEED, st.integers(0, 150), st.integers(0, 8), st.integers(1, 5), st.integers(0, 3), st.integers(1, 30), TILES)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_on_a_grid_ties_and_duplicates_are_ordered_by_id(
    metric: Metric,
    kernel: KernelName,
    seed: int,
    rows: int,
    queries: int,
    dimension: int,
    values: int,
    n: int,
    tile: tuple[int, int, int],
) -> None:
    # Points of a small integer grid: most distances are tied, duplicates abound, and float64 is without error but for
    # lengths. A coordinate that is never zero gives every row a direction.
    rng = np.random.default_rng(seed)
    base_ids, ids = some_ids(rng, rows, queries)
    base = rng.integers(-values, values + 1, (rows, dimension + 1)).astype(np.float32)
    points = rng.integers(-values, values + 1, (queries, dimension + 1)).astype(np.float32)
    base[:, -1] = points[:, -1] = 2
    with pytest.MonkeyPatch.context() as patch:
        cut_tiles(patch, tile)
        found = searched(base_ids, base, ids, points, n, metric, kernel)
        patch.setattr(exact_join, "BLOCK_POINTS", 40)
        within = knn_join(base_ids, base, n, metric=metric, kernel=kernel)
    assert_same(found, oracle(base_ids, base, ids, points, n, metric))
    some = rng.permutation(rows)[:5]
    assert_same(
        Neighbours(within.ids[some], within.distances[some]),
        oracle(base_ids, base, base_ids[some], base[some], n, metric),
    )
    if metric != "cosine":  # there two ways to a length differ in the last bit
        sparse = searched(base_ids, sp.csr_matrix(base), ids, sp.csr_matrix(points), n, metric)
        assert_same(sparse, found)


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("metric", METRICS)
@given(st.data(), st.integers(1, 4), st.integers(1, 6), TILES)
@settings(max_examples=60)
def test_on_any_finite_floats_of_any_magnitude_it_is_the_answer_of_float64(
    metric: Metric, data: st.DataObject, dimension: int, n: int, tile: tuple[int, int, int]
) -> None:
    base = data.draw(hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(dimension)), elements=FLOAT32))
    points = data.draw(hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(dimension)), elements=FLOAT32))
    if metric == "cosine":
        base, points = base[base.any(axis=1)], points[points.any(axis=1)]
    base_ids, ids = some_ids(np.random.default_rng(0), len(base), len(points))
    with pytest.MonkeyPatch.context() as patch:
        cut_tiles(patch, tile)
        found = searched(base_ids, base, ids, points, n, metric)
        patch.setattr(exact_join, "BLOCK_POINTS", 5)
        within = knn_join(base_ids, base, n, metric=metric, kernel="numpy")
    assert_same(found, oracle(base_ids, base, ids, points, n, metric))
    assert_same(within, oracle(base_ids, base, base_ids, base, n, metric))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("make", ADVERSARIES)
def test_adversarial_vectors(make: Make, metric: Metric, kernel: KernelName) -> None:
    rng = np.random.default_rng(5)
    vectors = make(rng, 1200)
    ids = rng.permutation(5000)[: len(vectors)].astype(np.int64)
    some = rng.permutation(len(ids))[:6]
    for n in (1, 20):
        found = knn_join(ids, vectors, n, metric=metric, kernel=kernel)
        wanted = oracle(ids, vectors, ids[some], vectors[some], n, metric)
        assert_same(Neighbours(found.ids[some], found.distances[some]), wanted)
        one_way = searched(ids, vectors, ids[some], vectors[some], n, metric, kernel)
        assert_same(one_way, wanted)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("of_base", "of_queries"), [(0, 12), (12, 0), (0, 5), (5, 0), (9, 6), (6, 9)])
def test_queries_of_another_kind_than_the_base(of_base: int, of_queries: int, metric: Metric) -> None:
    rng = np.random.default_rng(7)
    base, points = ADVERSARIES[of_base](rng, 900), ADVERSARIES[of_queries](rng, 10)
    base_ids, ids = np.arange(900), 5000 + np.arange(10)
    found = searched(base_ids, base, ids, points, 11, metric)
    assert_same(found, oracle(base_ids, base, ids, points, 11, metric))


@pytest.mark.parametrize("make", ADVERSARIES)
def test_sparse_rows_find_the_same_but_where_float64_itself_cannot_order_them(make: Make) -> None:
    rng = np.random.default_rng(5)
    vectors = make(rng, 1200)
    ids = rng.permutation(5000)[: len(vectors)].astype(np.int64)
    wanted = oracle(ids, vectors, ids[:9], vectors[:9], 20)
    found = searched(ids, sp.csr_matrix(vectors), ids[:9], sp.csr_matrix(vectors[:9]), 20)
    np.testing.assert_allclose(found.distances, wanted.distances, rtol=1e-12)
    row_of = {int(one): row for row, one in enumerate(ids)}
    for row, place in zip(*np.nonzero(found.ids != wanted.ids), strict=True):
        exact = join.squared_distance(vectors[row], vectors[row_of[int(found.ids[row, place])]])
        assert exact == pytest.approx(wanted.distances[row, place], rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_sparse_rows_know_every_metric(metric: Metric) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((300, 20)).astype(np.float32) * (rng.random((300, 20)) < 0.2)
    vectors[:, 7] = 1
    rows = sp.csr_matrix(vectors)
    found = knn_join(np.arange(300), rows, 9, metric=metric)
    wanted = knn_join(np.arange(300), vectors, 9, metric=metric)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_allclose(found.distances, wanted.distances, rtol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_scikit_learn_finds_the_same_on_float64(sparse: bool) -> None:
    rng = np.random.default_rng(2)
    base = rng.standard_normal((1500, 12)).astype(np.float32)
    base[rng.random(base.shape) < 0.5] = 0
    points = rng.standard_normal((100, 12)).astype(np.float32)
    points[rng.random(points.shape) < 0.5] = 0
    tree = NearestNeighbors(n_neighbors=15, algorithm="kd_tree").fit(base.astype(np.float64))
    distances, rows = tree.kneighbors(points.astype(np.float64))
    kind = sp.csr_matrix if sparse else np.asarray
    found = searched(np.arange(1500), kind(base), 9000 + np.arange(100), kind(points), 15)
    np.testing.assert_array_equal(found.ids, rows)
    np.testing.assert_allclose(found.distances, distances**2, rtol=1e-12)


def mixed(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Every kind of trouble at once: several magnitudes, near and exact duplicates."""
    vectors = (rng.standard_normal((rows, 7)) * 10.0 ** rng.uniform(-3, 3, (rows, 1))).astype(np.float32)
    copies = vectors[rng.integers(rows - rows // 3, size=rows // 3)]
    vectors[rows - rows // 3 :] = copies + np.float32(1e-6) * (rng.random((len(copies), 1)) < 0.5)
    return vectors


@pytest.mark.parametrize("metric", METRICS)
@given(SEED, st.integers(1, 6), TILES)
@settings(max_examples=10)
def test_shards_blocks_and_tiles_do_not_change_a_bit(
    metric: Metric, seed: int, pieces: int, tile: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(seed)
    base = mixed(rng, 300)
    base_ids, ids = some_ids(rng, 300, 40)
    points = base[rng.integers(300, size=40)] + np.float32(0.01) * (rng.random((40, 1)) < 0.5)
    whole = searched(base_ids, base, ids, points, 9, metric)
    several = [searched(base_ids[part], base[part], ids, points, 9, metric) for part in random_split(300, pieces, rng)]
    assert_same(merge_in_some_tree(several, lambda some: merge(some, 9), rng), whole)
    with pytest.MonkeyPatch.context() as patch:
        cut_tiles(patch, tile)
        for block in np.array_split(np.arange(40), pieces):
            found = searched(base_ids, base, ids[block], points[block], 9, metric)
            assert_same(found, Neighbours(whole.ids[block], whole.distances[block]))


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_threads_and_kernel_do_not_change_a_bit(
    metric: Metric, kernel: KernelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = mixed(np.random.default_rng(3), 3000)
    ids = np.random.default_rng(4).permutation(9000)[:3000]
    whole = knn_join(ids, vectors, 12, metric=metric, kernel="numpy")
    for threads, points in ((1, 300), (3, 300), (2, 1600), (2, 10_000)):
        monkeypatch.setattr(exact_join, "BLOCK_POINTS", points)
        found = knn_join(ids, vectors, 12, metric=metric, threads=threads, kernel=kernel)
        assert_same(found, whole)
        assert found.base_rows == 3000
    monkeypatch.setattr(exact_join, "GROUP_ROWS", 700)
    one_way = knn_join(ids, vectors, 12, ids, vectors, metric, threads=2, kernel=kernel)
    assert_same(one_way, whole)


def test_a_pair_of_blocks_that_threads_take_shares_no_block_with_another_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: set[tuple[int, int]] = set()
    whole = tiles.both_ways

    def watched(by_row: object, by_column: object, rows: object, columns: object, *blocks: object) -> None:
        mine = {(id(by_row), blocks[0].start), (id(by_column), blocks[1].start)}
        assert not mine & held
        held.update(mine)
        whole(by_row, by_column, rows, columns, *blocks)
        held.difference_update(mine)

    monkeypatch.setattr(tiles, "both_ways", watched)
    monkeypatch.setattr(exact_join, "BLOCK_POINTS", 100)
    vectors = ordinary(np.random.default_rng(0), 600)
    one = Prepared(np.arange(250), vectors[:250])
    other = one.alike(np.arange(250, 600), vectors[250:])
    with Workers(4) as workers:
        within = join_within(one, 5, "numpy", run=workers.each)
        both = join_both(one, other, 5, "numpy", run=workers.each)
    assert_same(within, join_within(one, 5, "numpy"))
    for found, expected in zip(both, join_both(one, other, 5, "numpy"), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("metric", METRICS)
@given(SEED, st.integers(0, 60), st.integers(0, 60), st.integers(1, 9), TILES)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_join_both_is_two_searches_and_join_within_a_search_of_itself(
    metric: Metric, kernel: KernelName, seed: int, left: int, right: int, n: int, tile: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(seed)
    vectors = mixed(rng, left + right)
    ids = rng.permutation(1000)[: left + right]
    centre = Centre.of(vectors, metric)
    one = Prepared(ids[:left], vectors[:left], metric, centre)
    other = Prepared(ids[left:], vectors[left:], metric, centre)
    with pytest.MonkeyPatch.context() as patch:
        cut_tiles(patch, tile)
        patch.setattr(exact_join, "BLOCK_POINTS", 16)
        of_one, of_other = join_both(one, other, n, kernel)
        assert_same(of_one, search(other, one, n, kernel))
        assert_same(of_other, search(one, other, n, kernel))
        assert_same(join_within(one, n, kernel), search(one, one, n, kernel))


@pytest.mark.parametrize("metric", METRICS)
def test_a_reach_may_leave_out_what_is_beyond_it_and_nothing_else(metric: Metric, kernel: KernelName) -> None:
    vectors = mixed(np.random.default_rng(8), 900)
    base = Prepared(np.arange(900), vectors, metric)
    whole = search(base, base, 10, kernel)
    reach = whole.distances[:, 4]
    for found in (search(base, base, 10, kernel, reach), join_within(base, 10, kernel, reach)):
        within = whole.distances <= reach[:, None]
        np.testing.assert_array_equal(found.ids[within], whole.ids[within])
        np.testing.assert_array_equal(found.distances[within], whole.distances[within])


@pytest.mark.parametrize("make", [opposite_clusters, ordinary, forty_copies])
def test_any_centre_gives_the_right_neighbours(make: Make, kernel: KernelName) -> None:
    vectors = make(np.random.default_rng(1), 400)
    ids = np.arange(400)
    wanted = join_within(Prepared(ids, vectors), 6, kernel)
    for mean, scale in ((0.0, 1.0), (100.0, 2.0**-20), (-3.0, 2.0**40), (1e30, 2.0**-100)):
        centre = Centre(np.full(8, mean, np.float32), scale, np.eye(8)[:, :3])
        assert_same(join_within(Prepared(ids, vectors, centre=centre), 6, kernel), wanted)


KINDS: list[Callable[[np.ndarray], Features]] = [np.asarray, sp.csr_matrix]


@pytest.mark.parametrize("kind", KINDS)
def test_the_querys_own_row_is_left_out_and_its_duplicate_stays(kind: Callable[[np.ndarray], Features]) -> None:
    base = np.array([[1, 0], [1, 0], [5, 0]], np.float32)
    found = searched(np.array([4, 2, 9]), kind(base), np.array([4, 7]), kind(base[:2]), 3)
    assert found.ids.tolist() == [[2, 9, NOBODY], [2, 4, 9]]
    assert found.distances.tolist() == [[0.0, 16.0, np.inf], [0.0, 0.0, 16.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_own_row_is_left_out_by_its_id_and_not_by_its_vector(kind: Callable[[np.ndarray], Features]) -> None:
    base = np.array([[1, 0], [1, 0], [5, 0]], np.float32)
    found = searched(np.array([4, 2, 9]), kind(base), np.array([9]), kind(base[:1]), 3)
    assert found.ids.tolist() == [[2, 4, NOBODY]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_own_row_stays_where_it_is_asked_for(kind: Callable[[np.ndarray], Features]) -> None:
    base = kind(np.array([[1, 0], [1, 0], [5, 0]], np.float32))
    found = knn_join(np.array([4, 2, 9]), base, 2, leave_self_out=False)
    assert found.ids.tolist() == [[2, 4], [2, 4], [9, 2]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 20, 2000])
def test_a_single_example_an_empty_base_and_no_query(kind: Callable[[np.ndarray], Features], n: int) -> None:
    one, none = np.ones((1, 3), np.float32), np.zeros((0, 3), np.float32)
    id_of_one, no_ids = np.array([5]), np.zeros(0, np.int64)
    assert (searched(id_of_one, kind(one), id_of_one, kind(one), n).ids == NOBODY).all()
    assert (knn_join(id_of_one, kind(one), n, threads=2).ids == NOBODY).all()
    assert searched(id_of_one, kind(one), np.array([6]), kind(one), n).ids[0, 0] == 5
    assert_same(searched(no_ids, kind(none), id_of_one, kind(one), n), Neighbours.none(1, n))
    assert_same(searched(id_of_one, kind(one), no_ids, kind(none), n), Neighbours.none(0, n))
    assert_same(knn_join(no_ids, kind(none), n), Neighbours.none(0, n))
    assert_same(knn_join(no_ids, kind(none), n, id_of_one, kind(one)), Neighbours.none(1, n))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_that_is_not_finite_is_refused_with_its_id(bad: float, kind: Callable[[np.ndarray], Features]) -> None:
    good = np.arange(12, dtype=np.float32).reshape(4, 3)
    spoilt = good.copy()
    spoilt[2, 1] = bad
    ids = np.array([10, 20, 30, 40])
    for refused in (
        lambda: prepare(ids, kind(spoilt)),
        lambda: prepare(ids, kind(good)).alike(ids, kind(spoilt)),
        lambda: knn_join(ids, kind(spoilt), 2, threads=2),
    ):
        with pytest.raises(FloatingPointError, match="id 30 is not finite"):
            refused()


@pytest.mark.parametrize("kind", KINDS)
def test_a_zero_vector_has_no_cosine_and_is_refused_with_its_id(kind: Callable[[np.ndarray], Features]) -> None:
    vectors = np.array([[1, 2], [-0.0, 0.0], [3, 4]], np.float32)
    with pytest.raises(FloatingPointError, match="id 20 is zero"):
        knn_join(np.array([10, 20, 30]), kind(vectors), 1, metric="cosine")


def test_sides_that_do_not_belong_together_are_refused() -> None:
    ids, vectors = np.arange(3), np.ones((3, 4), np.float32)
    base = Prepared(ids, vectors)
    with pytest.raises(ValueError, match="2 dimensions and the centre 4"):
        base.alike(ids, vectors[:, :2])
    with pytest.raises(ValueError, match="2 dimensions and the base 4"):
        search(prepare(ids, sp.csr_matrix(vectors)), prepare(ids, sp.csr_matrix(vectors[:, :2])), 1)
    with pytest.raises(ValueError, match="prepared for cosine and the base for euclidean"):
        search(base, Prepared(ids, vectors, "cosine"), 1)
    with pytest.raises(ValueError, match="different centres"):
        search(base, Prepared(ids, 2 * vectors), 1)
    with pytest.raises(ValueError, match="one is sparse"):
        search(base, prepare(ids, sp.csr_matrix(vectors)), 1)


def test_inputs_are_read_only_and_stay_as_they_are(kernel: KernelName) -> None:
    base = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    before = base.copy()
    ids = np.arange(50)
    base.setflags(write=False)
    ids.setflags(write=False)
    knn_join(ids, base, 3, kernel=kernel)
    np.testing.assert_array_equal(base, before)


def few_values(seed: int, rows: int, first_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ties and duplicates."""
    rng = np.random.default_rng(seed)
    return first_id + rng.permutation(rows).astype(np.int64), rng.integers(0, 3, (rows, 5)).astype(np.float32)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("leave_self_out", [True, False])
def test_two_shards_each_in_the_other_find_what_queries_of_the_one_find(leave_self_out: bool) -> None:
    one, other = few_values(0, 90), few_values(1, 71, first_id=20)
    first = Prepared(*one)
    found = join_both(first, first.alike(*other), 7, "numpy", leave_self_out=leave_self_out)
    wanted = (
        knn_join(*other, 7, *one, leave_self_out=leave_self_out),
        knn_join(*one, 7, *other, leave_self_out=leave_self_out),
    )
    for side, expected in zip(found, wanted, strict=True):
        assert_same(side, expected)
        assert side.base_rows == expected.base_rows


@pytest.mark.usefixtures("small_blocks")
def test_what_is_known_shortens_answers_and_changes_none() -> None:
    one, other = few_values(0, 80), few_values(1, 50, first_id=80)
    first = Prepared(*one)
    known = join_within(first, 7, "numpy")
    short, _ = join_both(first, first.alike(*other), 7, "numpy", known.distances[:, -1])
    whole = knn_join(*(np.concatenate(both) for both in zip(one, other, strict=True)), 7, *one)
    assert_same(merge([known, short], 7), whole)
    assert np.isinf(short.distances).sum() > 0


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("new", [0, 1, 130])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_base_that_has_grown_has_the_neighbours_of_the_whole(new: int, threads: int) -> None:
    old, arrived = few_values(0, 150), few_values(1, new, first_id=150)
    found = stacked(extended(knn_join(*old, 7), *old, *arrived, 7, threads=threads), 7)
    whole = knn_join(*(np.concatenate(both) for both in zip(old, arrived, strict=True)), 7)
    assert_same(found, whole)
    assert found.base_rows == whole.base_rows

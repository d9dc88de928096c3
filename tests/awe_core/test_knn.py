"""The search is exact: the neighbours of float64 direct differences, whatever the vectors, the tiles and the shards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import NearestNeighbors

from awe_core import knn
from awe_core.examples import Features
from awe_core.knn import Base
from awe_core.neighbours import NOBODY, Neighbours, merge
from tests.merge_trees import merge_in_some_tree, random_split
from tests.oracles import join

SEED = st.integers(0, 2**20)
TILES = st.sampled_from([1, 3, 16, knn.TILE_COLUMNS])


def oracle(base_ids: np.ndarray, base: np.ndarray, ids: np.ndarray, queries: np.ndarray, n: int) -> Neighbours:
    table = Neighbours.none(len(ids), n)
    for row, near in enumerate(join.neighbours(base_ids.tolist(), base, ids.tolist(), queries, n)):
        for place, (distance, neighbour) in enumerate(near):
            table.distances[row, place], table.ids[row, place] = distance, neighbour
    return table


def search(base_ids: np.ndarray, base: Features, ids: np.ndarray, queries: Features, n: int) -> Neighbours:
    return Base(base_ids, base).search(ids, queries, n)


def assert_same(found: Neighbours, wanted: Neighbours) -> None:
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.distances, wanted.distances)


def assert_same_up_to_rounding(found: Neighbours, wanted: Neighbours, exact: dict[tuple[int, int], float]) -> None:
    """Equal but where float64 itself cannot order two rows: there another id at the same distance is right too."""
    np.testing.assert_allclose(found.distances, wanted.distances, rtol=1e-12)
    for row, place in zip(*np.nonzero(found.ids != wanted.ids), strict=True):
        assert exact[row, int(found.ids[row, place])] == pytest.approx(wanted.distances[row, place], rel=1e-12)


def some_ids(rng: np.random.Generator, rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids in no order; about half of the queries are rows of the base too."""
    base = rng.permutation(3 * rows + 1)[:rows].astype(np.int64) - rows
    known = rng.permutation(base)[: queries // 2]
    unknown = 10**12 + np.arange(queries - len(known))
    return base, rng.permutation(np.concatenate([known, unknown])).astype(np.int64)


def grid_case(seed: int, rows: int, queries: int, dimension: int, values: int) -> tuple[np.ndarray, ...]:
    """Points of a small integer grid: most distances are tied, duplicates abound, and float64 is without error."""
    rng = np.random.default_rng(seed)
    base_ids, ids = some_ids(rng, rows, queries)
    base = rng.integers(-values, values + 1, (rows, dimension)).astype(np.float32)
    points = rng.integers(-values, values + 1, (queries, dimension)).astype(np.float32)
    return base_ids, base, ids, points


@given(SEED, st.integers(0, 150), st.integers(0, 8), st.integers(1, 5), st.integers(0, 3), st.integers(1, 30), TILES)
@settings(max_examples=80)
def test_on_a_grid_ties_and_duplicates_are_ordered_by_id(
    seed: int, rows: int, queries: int, dimension: int, values: int, n: int, tile: int
) -> None:
    base_ids, base, ids, points = grid_case(seed, rows, queries, dimension, values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "TILE_COLUMNS", tile)
        dense = search(base_ids, base, ids, points, n)
        sparse = search(base_ids, sp.csr_matrix(base), ids, sp.csr_matrix(points), n)
    wanted = oracle(base_ids, base, ids, points, n)
    assert_same(dense, wanted)
    assert_same(sparse, wanted)


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.data(), st.integers(1, 4), st.integers(1, 6), TILES)
@settings(max_examples=120)
def test_on_any_finite_floats_of_any_magnitude_it_is_the_answer_of_float64(
    data: st.DataObject, dimension: int, n: int, tile: int
) -> None:
    base = data.draw(hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.just(dimension)), elements=FLOAT32))
    points = data.draw(hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(dimension)), elements=FLOAT32))
    base_ids, ids = some_ids(np.random.default_rng(0), len(base), len(points))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "TILE_COLUMNS", tile)
        found = search(base_ids, base, ids, points, n)
    assert_same(found, oracle(base_ids, base, ids, points, n))


Make = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def _cluster(rng: np.random.Generator, rows: int, norm: float, spread: float, d: int = 8) -> np.ndarray:
    """Points `spread` apart around one vector of that norm."""
    centre = np.ones(d) * norm / np.sqrt(d)
    return (centre + spread * rng.standard_normal((rows, d))).astype(np.float32)


def _with_queries(base: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return base, base[rng.permutation(len(base))[:12]].copy()


def forty_copies(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return _with_queries(np.repeat(rng.standard_normal((rows // 40, 8)), 40, axis=0).astype(np.float32), rng)


def all_equal(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return _with_queries(np.tile(rng.standard_normal(8), (rows, 1)).astype(np.float32), rng)


def all_zero(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return _with_queries(np.zeros((rows, 8), np.float32), rng)


def far_cluster(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return _with_queries(_cluster(rng, rows, 1e3, 1e-4), rng)


def opposite_clusters(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    half = rows // 2
    both = np.concatenate([_cluster(rng, half, 1e3, 1e-4), _cluster(rng, half, -1e3, 1e-4)])
    return _with_queries(both[rng.permutation(len(both))], rng)


def cluster_beside_ordinary_data(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    ordinary = rng.standard_normal((rows - rows // 4, 8)).astype(np.float32)
    both = np.concatenate([ordinary, _cluster(rng, rows // 4, 1e3, 1e-4)])
    return _with_queries(both[rng.permutation(len(both))], rng)


def tiny(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return _with_queries((1e-25 * rng.standard_normal((rows, 8))).astype(np.float32), rng)


def subnormal(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return _with_queries((1e-43 * rng.standard_normal((rows, 8))).astype(np.float32), rng)


def huge(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return _with_queries((1e20 * rng.standard_normal((rows, 8))).astype(np.float32), rng)


def largest(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return _with_queries((3e38 * rng.uniform(-1, 1, (rows, 8))).astype(np.float32), rng)


def tiny_base_huge_queries(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return tiny(rng, rows)[0], huge(rng, rows)[1]


def huge_base_tiny_queries(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return huge(rng, rows)[0], tiny(rng, rows)[1]


def ordinary_base_far_queries(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    base = rng.standard_normal((rows, 8)).astype(np.float32)
    return base, (base[:12] * np.float32(10.0) ** np.arange(12)[:, None] * np.float32(1e3)).astype(np.float32)


def all_magnitudes(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    scales = 10.0 ** rng.uniform(-25, 20, (rows, 1))
    return _with_queries((scales * rng.standard_normal((rows, 8))).astype(np.float32), rng)


def equal_base_other_queries(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    # The mean of 0.1s in float64 is not 0.1: the centred base is noise, and the queries are far outside of it.
    return np.full((rows, 8), 0.1, np.float32), rng.standard_normal((12, 8)).astype(np.float32)


def small_steps_beside_a_huge_coordinate(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    # Beyond the digits of float64 as well, where the vectors are not centred: what sparse ones meet.
    steps = (1e5 + rng.standard_normal((rows, 8))).astype(np.float32)
    steps[:, 3] = 3e9
    return _with_queries(steps, rng)


ADVERSARIES: list[Make] = [
    small_steps_beside_a_huge_coordinate,
    forty_copies,
    all_equal,
    all_zero,
    far_cluster,
    opposite_clusters,
    cluster_beside_ordinary_data,
    tiny,
    subnormal,
    huge,
    largest,
    tiny_base_huge_queries,
    huge_base_tiny_queries,
    ordinary_base_far_queries,
    all_magnitudes,
    equal_base_other_queries,
]


@pytest.mark.parametrize("n", [1, 20])
@pytest.mark.parametrize("make", ADVERSARIES)
def test_adversarial_vectors(make: Make, n: int) -> None:
    rng = np.random.default_rng(5)
    base, points = make(rng, 1200)
    base_ids = rng.permutation(5000)[: len(base)].astype(np.int64)
    ids = np.concatenate([base_ids[:3], 10_000 + np.arange(len(points) - 3)])
    wanted = oracle(base_ids, base, ids, points, n)
    assert_same(search(base_ids, base, ids, points, n), wanted)
    exact = {
        (q, int(i)): join.squared_distance(points[q], row)
        for q in range(len(points))
        for i, row in zip(base_ids, base, strict=True)
    }
    sparse = search(base_ids, sp.csr_matrix(base), ids, sp.csr_matrix(points), n)
    assert_same_up_to_rounding(sparse, wanted, exact)


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
    found = search(np.arange(1500), kind(base), 9000 + np.arange(100), kind(points), 15)
    np.testing.assert_array_equal(found.ids, rows)
    np.testing.assert_allclose(found.distances, distances**2, rtol=1e-12)


def count_calls(patch: pytest.MonkeyPatch, name: str) -> list[None]:
    calls: list[None] = []
    whole = getattr(knn._Pool, name)

    def counted(self: knn._Pool) -> Neighbours:
        calls.append(None)
        return whole(self)

    patch.setattr(knn._Pool, name, counted)
    return calls


def test_more_equal_points_than_a_pool_holds_make_it_overflow_and_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    settled, compacted = count_calls(monkeypatch, "settle"), count_calls(monkeypatch, "_compact")
    rows = 6 * knn.TILE_COLUMNS
    base_ids = np.random.default_rng(0).permutation(rows)
    base = np.tile(np.array([0.1, -3.0, 7.7], np.float32), (rows, 1))
    found = search(base_ids, base, np.array([0, -1]), base[:2], 4)
    assert found.ids.tolist() == [[1, 2, 3, 4], [0, 1, 2, 3]]
    assert not found.distances.any()
    assert len(settled) > 2
    assert len(compacted) > 2


def test_near_points_that_the_product_cannot_tell_apart_settle_too(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = count_calls(monkeypatch, "settle")
    rng = np.random.default_rng(0)
    base = np.concatenate([_cluster(rng, 2000, 1e3, 1e-4), _cluster(rng, 2000, -1e3, 1e-4)])
    base_ids = np.arange(4000)
    found = search(base_ids, base, base_ids[:3], base[:3], 5)
    assert_same(found, oracle(base_ids, base, base_ids[:3], base[:3], 5))
    assert len(settled) > 1


def test_on_ordinary_vectors_the_products_leave_few_distances_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    whole = knn._direct_distances

    def counted(queries: Features, rows: np.ndarray, base: Features, columns: np.ndarray) -> np.ndarray:
        computed.append(len(rows))
        return whole(queries, rows, base, columns)

    monkeypatch.setattr(knn, "_direct_distances", counted)
    rng = np.random.default_rng(1)
    base = rng.standard_normal((6000, 16)).astype(np.float32)
    search(np.arange(6000), base, np.arange(50), base[:50], 10)
    assert len(computed) == 1
    assert 50 * 10 <= computed[0] <= 50 * 12


@given(SEED, st.integers(1, 6), st.integers(1, 5))
def test_shards_blocks_and_tiles_do_not_change_a_bit(seed: int, shards: int, query_blocks: int) -> None:
    rng = np.random.default_rng(seed)
    base = (rng.standard_normal((300, 7)) * 10.0 ** rng.uniform(-3, 3, (300, 1))).astype(np.float32)
    base[200:] = base[rng.integers(200, size=100)]
    base_ids, ids = some_ids(rng, 300, 40)
    points = base[rng.integers(300, size=40)] + np.float32(0.01) * (rng.random((40, 1)) < 0.5)
    whole = search(base_ids, base, ids, points, 9)
    pieces = [search(base_ids[part], base[part], ids, points, 9) for part in random_split(300, shards, rng)]
    assert_same(merge_in_some_tree(pieces, lambda some: merge(some, 9), rng), whole)
    for block in np.array_split(np.arange(40), query_blocks):
        found = search(base_ids, base, ids[block], points[block], 9)
        assert_same(found, Neighbours(whole.ids[block], whole.distances[block]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "TILE_COLUMNS", 5)
        assert_same(search(base_ids, base, ids, points, 9), whole)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_the_querys_own_row_is_left_out_and_its_duplicate_stays(kind: Callable[[np.ndarray], Features]) -> None:
    base = np.array([[1, 0], [1, 0], [5, 0]], np.float32)
    found = search(np.array([4, 2, 9]), kind(base), np.array([4, 7]), kind(base[:2]), 3)
    assert found.ids.tolist() == [[2, 9, NOBODY], [2, 4, 9]]
    assert found.distances.tolist() == [[0.0, 16.0, np.inf], [0.0, 0.0, 16.0]]


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("n", [1, 20, 2000])
def test_a_single_example_an_empty_base_and_no_query(kind: Callable[[np.ndarray], Features], n: int) -> None:
    one, none = np.ones((1, 3), np.float32), np.zeros((0, 3), np.float32)
    id_of_one, no_ids = np.array([5]), np.zeros(0, np.int64)
    assert (search(id_of_one, kind(one), id_of_one, kind(one), n).ids == NOBODY).all()
    assert search(id_of_one, kind(one), np.array([6]), kind(one), n).ids[0, 0] == 5
    assert_same(search(no_ids, kind(none), id_of_one, kind(one), n), Neighbours.none(1, n))
    assert_same(search(id_of_one, kind(one), no_ids, kind(none), n), Neighbours.none(0, n))
    assert len(Base(no_ids, kind(none))) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_a_vector_that_is_not_finite_is_refused_with_its_id(bad: float, kind: Callable[[np.ndarray], Features]) -> None:
    good = np.arange(12, dtype=np.float32).reshape(4, 3)
    spoilt = good.copy()
    spoilt[2, 1] = bad
    ids = np.array([10, 20, 30, 40])
    with pytest.raises(FloatingPointError, match="base id 30 "):
        Base(ids, kind(spoilt))
    with pytest.raises(FloatingPointError, match="query id 30 "):
        Base(ids, kind(good)).search(ids, kind(spoilt), 2)


def test_another_dimension_than_the_bases_is_refused() -> None:
    with pytest.raises(ValueError, match="2 dimensions and the base 3"):
        search(np.array([1]), np.ones((1, 3), np.float32), np.array([2]), np.ones((1, 2), np.float32), 1)


def test_inputs_are_read_only_and_stay_as_they_are() -> None:
    base = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    before = base.copy()
    ids = np.arange(50)
    base.setflags(write=False)
    ids.setflags(write=False)
    search(ids, base, ids, base, 3)
    np.testing.assert_array_equal(base, before)

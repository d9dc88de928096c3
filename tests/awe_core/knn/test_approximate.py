"""The approximate join: exact among what it compares, and honest about the rest."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from awe_core.knn import approximate, visits
from awe_core.knn.approximate import approximate_join, recalls_of
from awe_core.knn.inverted_lists import InvertedLists
from awe_core.knn.join import knn_join
from awe_core.knn.prepared import Prepared
from awe_core.knn.visits import Listed, Lists, visit_within
from awe_core.neighbours import NOBODY, Neighbours

N = 8


def clustered(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ids in no order, and rows around forty centres."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, 10))
    vectors = centres[rng.integers(0, 40, rows)] + 0.5 * rng.standard_normal((rows, 10))
    return rng.permutation(5 * rows)[:rows].astype(np.int64), vectors.astype(np.float32)


def tight(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Two clusters far apart, in which the rounding of a float32 product exceeds every distance."""
    rng = np.random.default_rng(0)
    far = rng.standard_normal(10) * 300 * np.repeat([[1], [-1]], (rows // 2, rows - rows // 2), axis=0)
    vectors = far + 1e-4 * rng.standard_normal((rows, 10))
    return rng.permutation(rows).astype(np.int64), vectors.astype(np.float32)


def by_lists(ids: np.ndarray, vectors: np.ndarray, lists: int, nprobe: int, n: int = N) -> Neighbours:
    rows = Prepared(ids, vectors)
    cells = InvertedLists.fit(rows.augmented.matrix[: rows.near, :-2], lists, seed=0)
    return visit_within(Listed(rows, Lists(cells, nprobe, rows.centre)), n)


def assert_same(found: Neighbours, wanted: Neighbours) -> None:
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.distances, wanted.distances)


def recall(found: Neighbours, wanted: Neighbours) -> float:
    return float((found.distances <= wanted.distances[:, -1:]).mean())


@pytest.mark.parametrize("tile", [7, 64, 1024])
def test_visits_to_all_lists_are_the_exact_join(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "_TILE", tile)
    ids, vectors = clustered(600)
    assert_same(by_lists(ids, vectors, 15, 15), knn_join(ids, vectors, N))


def test_more_visits_find_more() -> None:
    ids, vectors = clustered(2000)
    exact = knn_join(ids, vectors, N)
    recalls = [recall(by_lists(ids, vectors, 50, nprobe), exact) for nprobe in (1, 2, 4, 8, 50)]
    assert all(few < many for few, many in pairwise(recalls))
    assert recalls[0] > 0.2
    assert recalls[-1] == 1


@pytest.mark.parametrize("made", [clustered, tight])
def test_a_pair_is_compared_if_either_visits_the_other_and_distances_are_those_of_the_exact_join(made) -> None:
    ids, vectors = made(300)
    rows = Prepared(ids, vectors)
    x = rows.augmented.matrix[:, :-2]
    cells = InvertedLists.fit(x, 12, seed=0)
    probes = cells.probes(x, 2)[rows.group]
    lists = probes[:, 0]
    there = (probes[:, None] == lists[:, None]).any(axis=2)
    everyone = knn_join(ids, vectors, 299)
    column = {row_id: place for place, row_id in enumerate(ids.tolist())}
    found = visit_within(Listed(rows, Lists(cells, 2, rows.centre)), N)
    for row in range(300):
        others = [(column[i], i, d) for i, d in zip(everyone.ids[row].tolist(), everyone.distances[row], strict=True)]
        met = [(i, d) for other, i, d in others if there[row, other] or there[other, row]][:N]
        assert found.ids[row].tolist()[: len(met)] == [i for i, _ in met]
        assert found.distances[row].tolist()[: len(met)] == [d for _, d in met]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_threads_and_the_order_of_rows_change_nothing(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "QUERIES", 100)
    ids, vectors = clustered(1500)
    one, said = approximate_join(ids, vectors, N, 0.9, seed=3, threads=1, metric=metric)
    two, again = approximate_join(ids, vectors, N, 0.9, seed=3, threads=2, metric=metric)
    assert_same(two, one)
    assert again == said
    backwards, _ = approximate_join(ids[::-1], vectors[::-1].copy(), N, 0.9, seed=3, threads=2, metric=metric)
    assert_same(Neighbours(backwards.ids[::-1], backwards.distances[::-1]), one)


def test_the_recall_that_it_measures_is_the_recall_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "QUERIES", 400)
    ids, vectors = clustered(4000)
    found, said = approximate_join(ids, vectors, N, 0.9, seed=0)
    assert said.queries == 400
    assert said.nprobe < said.lists == 126
    assert 0.9 <= said.low <= said.recall <= said.high <= 1
    assert recall(found, knn_join(ids, vectors, N)) == pytest.approx(said.recall, abs=0.02)


def test_no_query_that_finds_the_setting_measures_the_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, exact = [], approximate._exact

    def recorded(rows: Prepared, queries: np.ndarray, *more: object) -> Neighbours:
        asked.extend(queries.tolist())
        return exact(rows, queries, *more)

    monkeypatch.setattr(approximate, "QUERIES", 60)
    monkeypatch.setattr(approximate, "_exact", recorded)
    _, said = approximate_join(*clustered(500), N, 0.9)
    assert len(set(asked)) == len(asked) == 2 * said.queries == 120


def test_a_higher_recall_takes_more_visits() -> None:
    ids, vectors = clustered(1200)
    probes = [approximate_join(ids, vectors, N, wanted)[1].nprobe for wanted in (0.5, 0.9, 0.99)]
    assert probes == sorted(set(probes))


@pytest.mark.parametrize("rows", [0, 1, 2, N, N + 1, 30])
def test_few_rows_have_all_the_neighbours_there_are(rows: int) -> None:
    ids, vectors = clustered(100)
    found, said = approximate_join(ids[:rows], vectors[:rows], N, 1.0)
    assert_same(found, knn_join(ids[:rows], vectors[:rows], N))
    assert (found.ids[:, rows - 1 if rows else 0 :] == NOBODY).all() or rows > N
    assert said.recall == 1


def test_forty_copies_of_every_row_are_found_by_their_ids() -> None:
    ids, vectors = clustered(25)
    copied = np.tile(vectors, (40, 1))
    ids = np.random.default_rng(1).permutation(10_000)[: len(copied)].astype(np.int64)
    found, _ = approximate_join(ids, copied, N, 0.95)
    assert_same(found, knn_join(ids, copied, N))


def test_rows_that_a_product_cannot_tell_apart_are_compared_in_float64() -> None:
    ids, vectors = tight(800)
    assert_same(by_lists(ids, vectors, 10, 10), knn_join(ids, vectors, N))


def test_rows_out_of_the_reach_of_products_are_met_by_everyone() -> None:
    ids, vectors = clustered(300)
    vectors[[3, 70]] *= np.float32(2.0**40)
    assert_same(by_lists(ids, vectors, 12, 12), knn_join(ids, vectors, N))
    found, _ = approximate_join(ids, vectors, N, 0.5)
    assert_same(Neighbours(found.ids[[3, 70]], found.distances[[3, 70]]), by_rows(knn_join(ids, vectors, N), [3, 70]))


def by_rows(found: Neighbours, rows: list[int]) -> Neighbours:
    return Neighbours(found.ids[rows], found.distances[rows])


def test_the_recall_counts_what_was_wanted_and_found() -> None:
    nobody = np.inf
    truth = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, nobody], [nobody, nobody, nobody], [1.0, 5.0, 9.0]])
    found = np.array([[1.0, 3.0, 4.0], [2.0, nobody, nobody], [nobody, nobody, nobody], [1.0, 5.0, 9.0]])
    np.testing.assert_array_equal(recalls_of(found, truth), [2 / 3, 1 / 2, 1])
    np.testing.assert_array_equal(recalls_of(found, truth, radius=2.0), [1 / 2, 1 / 2, 1])
    np.testing.assert_array_equal(recalls_of(np.zeros((0, 3)), np.zeros((0, 3))), [])


@pytest.mark.parametrize(("more", "why"), [({"recall": 0.0}, "recall"), ({"metric": "inner_product"}, "inner")])
def test_what_makes_no_sense_is_refused(more: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        approximate_join(*clustered(20), N, **more)


@pytest.mark.parametrize("rows", [50, 9000])
def test_a_vector_that_is_not_finite_or_has_no_direction_is_refused_by_its_id(rows: int) -> None:
    ids, vectors = clustered(rows)
    vectors[7] = 0
    with pytest.raises(FloatingPointError, match=f"{ids[7]} is zero"):
        approximate_join(ids, vectors, N, metric="cosine")
    vectors[7, 2] = np.nan
    with pytest.raises(FloatingPointError, match=f"{ids[7]} is not finite"):
        approximate_join(ids, vectors, N)

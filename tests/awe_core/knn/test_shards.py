"""Shards in groups: the neighbours that one search finds, whatever is known before."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core.knn import shards
from awe_core.knn.join import knn_join
from awe_core.knn.prepared import Centre
from awe_core.knn.shards import join_shard, join_shards, prepared_groups, search_shard
from awe_core.neighbours import Neighbours, merge, stacked

N, D = 7, 5


def shard(seed: int, rows: int, first_id: int = 0):
    """Few values: ties and duplicates."""
    rng = np.random.default_rng(seed)
    return first_id + rng.permutation(rows).astype(np.int64), rng.integers(0, 3, (rows, D)).astype(np.float32)


def groups(rows, group_rows: int):
    return prepared_groups(*rows, "euclidean", Centre(np.zeros(D, np.float32), 1.0), group_rows)


def same(found: Neighbours, expected: Neighbours) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.base_rows == expected.base_rows


@pytest.mark.parametrize("group_rows", [1, 13, 100])
def test_a_shard_with_itself(group_rows):
    rows = shard(0, 60)
    same(join_shard(groups(rows, group_rows), N, "numpy", np.full(60, np.inf), True), knn_join(*rows, N))


@pytest.mark.parametrize("group_rows", [9, 100])
@pytest.mark.parametrize("leave_self_out", [True, False])
def test_two_shards_each_in_the_other(group_rows, leave_self_out):
    one, other = shard(0, 40), shard(1, 31, first_id=20)
    cut = groups(one, group_rows), groups(other, group_rows)
    nothing = np.full(40, np.inf), np.full(31, np.inf)
    found = join_shards(*cut, N, "numpy", nothing, leave_self_out)
    same(found[0], knn_join(*other, N, *one, leave_self_out=leave_self_out))
    same(found[1], knn_join(*one, N, *other, leave_self_out=leave_self_out))
    queries = groups(other, 100)[0]
    same(search_shard(cut[0], queries, N, "numpy", nothing[1], leave_self_out), found[1])


def test_what_is_known_shortens_answers_and_changes_none():
    one, other = shard(0, 80), shard(1, 50, first_id=80)
    known = join_shard(groups(one, 20), N, "numpy", np.full(80, np.inf), True)
    reaches = known.distances[:, -1], np.full(50, np.inf)
    short, _ = join_shards(groups(one, 20), groups(other, 20), N, "numpy", reaches, True)
    whole = knn_join(np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]]), N, *one)
    same(merge([known, short], N), whole)
    assert np.isinf(short.distances).sum() > 0


@pytest.mark.parametrize("new", [0, 1, 30])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_base_that_has_grown_has_the_neighbours_of_the_whole(new, threads, monkeypatch):
    monkeypatch.setattr(shards, "GROUP_ROWS", 16)
    old, arrived = shard(0, 50), shard(1, new, first_id=50)
    known = knn_join(*old, N)
    found = stacked(shards.extended(known, *old, *arrived, N, threads=threads), N)
    same(found, knn_join(*(np.concatenate(both) for both in zip(old, arrived, strict=True)), N))


def test_no_rows_make_no_groups():
    empty = np.zeros(0, np.int64), np.zeros((0, D), np.float32)
    assert groups(empty, 10) == []
    assert len(join_shard([], N, "numpy", np.zeros(0), True)) == 0

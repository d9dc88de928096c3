"""`awe knn` as it is typed: datasets in, datasets of neighbours out; a base that grew joins only what is new."""

from __future__ import annotations

import json

import numpy as np
import pytest

from awe_core.knn.join import knn_join
from awe_core.neighbours import NOBODY, Neighbours
from schemas.manifest import read_manifest
from tests.pipelines.joined import FS, D, read, same, write


def rows(seed: int, count: int, first_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ids out of order, and vectors of few values: ties and duplicates."""
    rng = np.random.default_rng(seed)
    return first_id + rng.permutation(count).astype(np.int64), rng.integers(0, 3, (count, D)).astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "inner_product"])
def test_the_base_with_itself(tmp_path, awe, metric):
    ids, vectors = rows(0, 300)
    base = write(tmp_path / "train", ids, vectors, (130, 0, 170))
    assert awe(f"--base={base}", f"--output={tmp_path}/found", "--n=7", f"--metric={metric}") == 0
    assert "plan: pairs of shards" in awe.err
    assert "not taken" in awe.err
    there, found = read(f"{tmp_path}/found/train")
    np.testing.assert_array_equal(there, ids)
    same(found, knn_join(ids, vectors, 7, metric=metric))
    assert awe(f"--base={base}", f"--output={tmp_path}/found", "--n=7", f"--metric={metric}") == 0
    assert "up to date" in awe.err


def test_other_queries_and_more_neighbours_than_rows(tmp_path, awe):
    (ids, vectors), (query_ids, queries) = rows(0, 12), rows(1, 150, first_id=5)
    base, asked = write(tmp_path / "train", ids, vectors, (12,)), write(tmp_path / "test", query_ids, queries, (150,))
    assert awe(f"--base={base}", f"--queries={asked}", f"--output={tmp_path}/found", "--n=20") == 0
    _, found = read(f"{tmp_path}/found/test")
    same(found, knn_join(ids, vectors, 20, query_ids, queries))
    assert (found.ids == NOBODY).any(axis=1).all()


def test_vectors_of_unlike_width_are_refused_by_name(tmp_path, awe):
    (ids, vectors), (query_ids, queries) = rows(0, 12), rows(1, 15)
    base = write(tmp_path / "train", ids, vectors, (12,))
    narrow = write(tmp_path / "test", query_ids, np.ascontiguousarray(queries[:, 1:]), (15,))
    assert awe(f"--base={base}", f"--queries={narrow}", f"--output={tmp_path}/found") == 2
    width = vectors.shape[1]
    assert f"{narrow} has {width - 1} dense columns, and {base} has {width} dense columns; give vectors" in awe.err
    assert not (tmp_path / "found").exists()


def test_a_base_that_grew_joins_only_what_is_new(tmp_path, awe):
    (ids, vectors), (more_ids, more) = rows(0, 200), rows(1, 50, first_id=200)
    old = write(tmp_path / "train", ids, vectors, (90, 110))
    new = write(tmp_path / "arrived", more_ids, more, (50,))
    assert awe(f"--base={old}", f"--output={tmp_path}/before", "--n=6", "--shards=2") == 0
    both = f"--base={old}", f"--base={new}"
    assert awe(*both, f"--output={tmp_path}/grown", "--n=6", "--shards=3", f"--known={tmp_path}/before") == 0
    counters = json.loads((tmp_path / "grown/log/knn.json").read_text())["counters"]
    assert counters["tiles_rows"] == 200 * 50 + 50 * 51 // 2
    whole = knn_join(np.concatenate([ids, more_ids]), np.concatenate([vectors, more]), 6)
    same(read(f"{tmp_path}/grown/train")[1], Neighbours(whole.ids[:200], whole.distances[:200]))
    same(read(f"{tmp_path}/grown/arrived")[1], Neighbours(whole.ids[200:], whole.distances[200:]))
    assert awe(*both, f"--output={tmp_path}/anew", "--n=6") == 0
    for name in ("train", "arrived"):  # the same bytes, so the same fingerprint, whatever was known
        made = [read_manifest(FS, f"{tmp_path}/{where}/{name}", "knn").fingerprint for where in ("grown", "anew")]
        assert made[0] == made[1]


def test_what_is_known_of_another_join_is_refused(tmp_path, awe):
    ids, vectors = rows(0, 100)
    old = write(tmp_path / "train", ids, vectors, (100,))
    assert awe(f"--base={old}", f"--output={tmp_path}/before", "--n=6") == 0
    new = write(tmp_path / "arrived", *rows(1, 20, first_id=100), (20,))
    more = f"--base={new}", f"--known={tmp_path}/before"
    assert awe(f"--base={old}", *more, f"--output={tmp_path}/other", "--n=5") == 1
    assert "join all anew" in awe.err
    write(tmp_path / "other" / "train", ids + 1, vectors, (100,))
    assert awe(f"--base={tmp_path}/other/train", *more, f"--output={tmp_path}/third", "--n=6") == 1
    assert "in other datasets" in awe.err
    assert awe(f"--base={new}", *more[1:], f"--output={tmp_path}/fourth", "--n=6") == 1
    assert "has neighbours of none of arrived" in awe.err


def test_wrong_requests_end_in_one_line(tmp_path, awe):
    base = write(tmp_path / "train", *rows(0, 20), (20,))
    twin = write(tmp_path / "other" / "train", *rows(0, 20), (20,))
    assert awe(f"--base={tmp_path}/nothing", f"--output={tmp_path}/found") == 1
    assert "there is no such dataset yet" in awe.err
    assert awe(f"--base={base}", f"--base={twin}", f"--output={tmp_path}/found") == 2
    assert "two datasets are called train" in awe.err
    assert awe(f"--base={base}", f"--output={tmp_path}/found", "--memory=1000") == 2
    assert "bytes a worker" in awe.err
    assert "has 1,000; give the join more memory" in awe.err

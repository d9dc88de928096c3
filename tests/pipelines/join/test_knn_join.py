"""The join through Beam: the neighbours of its twin, and nothing lost on the way."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from awe_core.knn.join import knn_join as twin_join
from awe_core.neighbours import NOBODY, Neighbours
from pipelines.datasets.dataset_writer import DatasetPlan
from pipelines.datasets.neighbour_dataset import WriteNeighbours
from pipelines.datasets.vector_dataset import BlockKey, VectorDataset
from pipelines.errors import DataError, unwrap
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs import counters
from pipelines.jobs.job import make_runner, pipeline_options
from pipelines.join import knn_join
from pipelines.join.knn_join import KnnJoin, Search, cut_into_shards
from schemas import convert, tables
from schemas.manifest import Manifest
from schemas.parts import PartWriter

FS = BeamFileSystem()
ROWS_OF_PART, BLOCK_ROWS, D = (40, 0, 25, 31), 16, 5


def dataset(folder: Path, seed: int, first_id: int) -> tuple[VectorDataset, np.ndarray, np.ndarray]:
    """Parts of embeddings, one of them empty, and the same as arrays."""
    rng = np.random.default_rng(seed)
    ids = first_id + rng.permutation(sum(ROWS_OF_PART)).astype(np.int64)
    vectors = rng.integers(0, 3, (len(ids), D)).astype(np.float32)  # few values: many ties and duplicates
    parts, start = [], 0
    for index, rows in enumerate(ROWS_OF_PART):
        with PartWriter(FS, str(folder), index, tables.embeddings(D)) as writer:
            for block in range(start, start + rows, BLOCK_ROWS):
                chosen = slice(block, min(block + BLOCK_ROWS, start + rows))
                columns = {
                    "id": pa.array(ids[chosen]),
                    "embedding": convert.vector_array(vectors[chosen]),
                    "labels": pa.array([[0]] * (chosen.stop - chosen.start), tables.LIST_INT),
                }
                writer.write(pa.table(columns))
        parts.append(writer.part)
        start += rows
    facts = {"dimension": D, "labels": 1, "block_rows": BLOCK_ROWS}
    manifest = Manifest.of("recipe", parts, tables.embeddings(D), facts)
    return VectorDataset(str(folder), manifest), ids, vectors


def run(join: KnnJoin, check: object, *flags: str) -> None:
    options: PipelineOptions = pipeline_options("in-process", flags)
    with beam.Pipeline(runner=make_runner(options), options=options) as pipeline:
        assert_that(pipeline | join, check)


@pytest.mark.parametrize("shards", [1, 2, 16])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("self_join", [True, False])
def test_it_finds_what_its_twin_finds(tmp_path: Path, shards: int, workers: int, self_join: bool) -> None:
    base, base_ids, base_vectors = dataset(tmp_path / "base", 0, 0)
    queries, ids, vectors = (base, base_ids, base_vectors) if self_join else dataset(tmp_path / "queries", 1, 50)
    twin = twin_join(base_ids, base_vectors, 7, ids, vectors)
    starts = np.concatenate([[0], np.cumsum(ROWS_OF_PART)])

    def check(found: list[tuple[BlockKey, Neighbours]]) -> None:
        assert len(found) == sum(-(-rows // BLOCK_ROWS) for rows in ROWS_OF_PART)
        for (position, part, block), neighbours in found:
            rows = slice(starts[part] + block * BLOCK_ROWS, starts[part] + block * BLOCK_ROWS + len(neighbours))
            assert position == 0
            np.testing.assert_array_equal(neighbours.ids, twin.ids[rows])
            np.testing.assert_array_equal(neighbours.distances, twin.distances[rows])
            assert neighbours.base_rows == sum(ROWS_OF_PART)

    run(KnnJoin(FS, [base], [queries], 7, shards), check, f"--direct_num_workers={workers}")


@pytest.mark.parametrize(("shards", "halved"), [(2, 1), (16, 1), (16, 0)])
def test_other_queries_beside_the_base_itself(tmp_path: Path, shards: int, halved: int) -> None:
    """The base's rows are joined in pairs of shards, the others pass the shards or meet each in a task of its own."""
    base, ids, vectors = dataset(tmp_path / "base", 0, 0)
    other, other_ids, other_vectors = dataset(tmp_path / "other", 1, 1000)
    queries = [other, base] if halved else [other]
    whole = {0: twin_join(ids, vectors, 9, other_ids, other_vectors), 1: twin_join(ids, vectors, 9)}
    starts = np.concatenate([[0], np.cumsum(ROWS_OF_PART)])

    def check(found: list[tuple[BlockKey, Neighbours]]) -> None:
        assert {key[0] for key, _ in found} == set(range(len(queries)))
        for (position, part, block), neighbours in found:
            first = starts[part] + block * BLOCK_ROWS
            rows = slice(first, first + len(neighbours))
            np.testing.assert_array_equal(neighbours.ids, whole[position].ids[rows])
            np.testing.assert_array_equal(neighbours.distances, whole[position].distances[rows])

    run(KnnJoin(FS, [base], queries, 9, shards), check, "--direct_num_workers=2")


def test_pairs_of_shards_score_half_of_all_pairs_of_rows(tmp_path: Path) -> None:
    base, ids, _ = dataset(tmp_path / "base", 0, 0)
    options = pipeline_options("in-process", ["--direct_num_workers=2"])
    pipeline = beam.Pipeline(runner=make_runner(options), options=options)
    _ = pipeline | KnnJoin(FS, [base], [base], 3, 3)
    result = pipeline.run()
    result.wait_until_finish()
    assert counters.totals(result)["tiles_rows"] == len(ids) * (len(ids) + 1) // 2


@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_nobody_within_a_radius_is_left_out(tmp_path: Path, radius: float) -> None:
    base, ids, vectors = dataset(tmp_path / "base", 0, 0)
    twin = twin_join(ids, vectors, 12)
    starts = np.concatenate([[0], np.cumsum(ROWS_OF_PART)])

    def check(found: list[tuple[BlockKey, Neighbours]]) -> None:
        for (_, part, block), neighbours in found:
            first = starts[part] + block * BLOCK_ROWS
            near = twin.distances[first : first + len(neighbours)] <= radius
            np.testing.assert_array_equal(neighbours.ids[near], twin.ids[first : first + len(neighbours)][near])

    options = pipeline_options("in-process", ["--direct_num_workers=2"])
    with beam.Pipeline(runner=make_runner(options), options=options) as pipeline:
        side = beam.pvalue.AsSingleton(pipeline | beam.Create([radius]))
        assert_that(pipeline | KnnJoin(FS, [base], [base], 12, 3, radius=side), check)


def test_a_base_without_rows_gives_nobody(tmp_path: Path) -> None:
    queries, _, _ = dataset(tmp_path / "queries", 1, 0)
    empty = VectorDataset("nowhere", Manifest.of("recipe", [], tables.embeddings(D), queries.manifest.facts))

    def check(found: list[tuple[BlockKey, Neighbours]]) -> None:
        assert found
        assert all(np.isinf(neighbours.distances).all() for _, neighbours in found)

    run(KnnJoin(FS, [empty], [queries], 3, 4), check)


def test_shards_hold_every_part_with_rows_once(tmp_path: Path) -> None:
    base, _, _ = dataset(tmp_path / "base", 0, 0)
    for shards in (1, 2, 3, 16):
        cut = cut_into_shards([base, base], shards)
        assert len(cut) == min(shards, 6)
        dealt = sorted(part.name for shard in cut for *_, part in shard.parts)
        assert dealt == sorted([part.name for part in base.manifest.parts if part.rows] * 2)
        assert sum(shard.rows for shard in cut) == 2 * sum(ROWS_OF_PART)


def test_no_shard_is_larger_than_the_smallest_by_more_than_a_part(tmp_path: Path) -> None:
    base, _, _ = dataset(tmp_path / "base", 0, 0)
    for shards in (2, 3, 4, 5):
        rows = [shard.rows for shard in cut_into_shards([base, base], shards)]
        assert max(rows) - min(rows) <= max(ROWS_OF_PART)


def test_an_element_that_a_runner_loses_does_not_go_unseen() -> None:
    found = Neighbours(np.zeros((1, 1), np.int64), np.zeros((1, 1)), base_rows=60)
    [(key, merged)] = knn_join._MergeShards(1, 60).process(((0, 0, 0), [found]))
    assert (key, merged.base_rows) == ((0, 0, 0), 60)
    for rows in (59, 120):
        with pytest.raises(DataError, match="lost or repeated an element"):
            list(knn_join._MergeShards(1, rows).process(((0, 0, 0), [found])))


def found_at(*distances: float) -> Neighbours:
    return Neighbours(np.zeros((1, len(distances)), np.int64), np.array([distances]))


def test_a_shard_learns_how_near_the_nth_of_all_it_met_is_and_a_repeated_task_adds_nothing() -> None:
    shard = knn_join._Loaded([], np.full((1, 3), np.inf, np.float32))
    shard.learn(0, found_at(1, 4, 6))
    for _ in range(2):  # the same neighbours twice are not two
        shard.learn(1, found_at(2, 5, np.inf))
        np.testing.assert_allclose(shard.reach(), [4], rtol=1e-6)
    assert shard.reach(radius=3) == [3]


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=6))
def test_what_a_shard_knows_are_the_nearest_of_all_that_it_met(several: list[list[int]]) -> None:
    shard = knn_join._Loaded([], np.full((1, 3), np.inf, np.float32))
    for other, distances in enumerate(several):
        shard.learn(other, found_at(*sorted(distances)))
    np.testing.assert_allclose(shard.nearest[0], sorted(chain(*several))[:3], rtol=1e-6, atol=1e-30)


def test_shards_that_were_searched_are_let_go() -> None:
    knn_join._LOADED.get("shard", lambda: knn_join._Loaded([], np.zeros((1, 1), np.float32)))
    knn_join._MergeShards(1, 60).setup()
    with pytest.raises(ZeroDivisionError):
        knn_join._LOADED.get("shard", lambda: 1 // 0)


@pytest.mark.parametrize("distance", [0.1, 0.0, 1e300, -0.3, -1e300, 1 + 1e-12])
def test_the_reach_of_a_shard_never_leaves_out_the_nth_itself(distance: float) -> None:
    shard = knn_join._Loaded([], np.full((1, 1), np.inf, np.float32))
    shard.learn(0, found_at(distance))
    assert shard.reach() >= distance


def test_who_is_beaten_meanwhile_is_not_handed_over(tmp_path: Path) -> None:
    base, _, _ = dataset(tmp_path / "base", 0, 0)
    search = Search.of(FS, [base], [base], 2, 1, False, "euclidean", True, "auto", {}, 0)
    rows = sum(ROWS_OF_PART)
    shard = knn_join._Loaded([], np.full((rows, 2), 3, np.float32))
    found = Neighbours(np.tile([5, 6], (rows, 1)), np.tile([2.0, 4.0], (rows, 1)), rows)
    pieces = list(search.by_block(0, shard, 0, found))
    assert sum(len(piece) for _, piece in pieces) == rows
    assert all((piece.ids == [5, NOBODY]).all() for _, piece in pieces)


def test_a_dataset_that_lost_all_its_parts_on_the_way_does_not_go_unseen(tmp_path: Path) -> None:
    queries, _, _ = dataset(tmp_path / "queries", 1, 0)
    plan = DatasetPlan(str(tmp_path / "found"), "recipe", tables.neighbours(), len(ROWS_OF_PART))
    pipeline = beam.Pipeline(runner=make_runner(pipeline_options("in-process", [])))
    _ = pipeline | beam.Create([]) | WriteNeighbours(FS, [queries], [plan])
    with pytest.raises(Exception, match="1 parts were written where 4 were planned"):
        pipeline.run()


def test_a_vector_that_is_no_number_names_its_part(tmp_path: Path) -> None:
    base, _, _ = dataset(tmp_path / "base", 0, 0)
    queries, _, vectors = dataset(tmp_path / "queries", 1, 0)
    vectors[3, 2] = np.nan
    bad = pa.table(
        {
            "id": pa.array(np.arange(16)),
            "embedding": convert.vector_array(vectors[:16]),
            "labels": pa.array([[0]] * 16, tables.LIST_INT),
        }
    )
    with PartWriter(FS, str(tmp_path / "bad"), 0, tables.embeddings(D)) as writer:
        writer.write(bad)
    manifest = Manifest.of("recipe", [writer.part], tables.embeddings(D), queries.manifest.facts)
    with pytest.raises(Exception, match="not finite") as raised:
        run(KnnJoin(FS, [base], [VectorDataset(str(tmp_path / "bad"), manifest)], 3, 1), lambda _: None)
    line = unwrap(raised.value)
    assert isinstance(line, DataError)
    assert f"{tmp_path / 'bad'}" in str(line)
    assert "row 3: column 'embedding' is not finite" in str(line)

"""The join of a base with itself by lists, which finds its own setting and measures its own recall.

    base → sample → centroids ─┐
         → queries ────────────┴→ each shard: exact neighbours of the queries → nprobe
    base, centroids, nprobe → pairs of shards → neighbours → their recall

No vector crosses a shuffle but those of the samples: 64 √N rows that centroids are made from and `2 · QUERIES` queries,
4d bytes a row, both held by one worker. The same rows and seed give what `awe_core.knn.approximate` gives in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.knn.approximate import (
    Measured,
    depths_of,
    in_sample,
    make_lists,
    may_query,
    recalls_of,
    refuse_recall,
    take_queries,
)
from awe_core.knn.inverted_lists import InvertedLists, fewest_probes
from awe_core.knn.join import KernelChoice
from awe_core.knn.join import search as exact_search
from awe_core.knn.metric import Metric
from awe_core.knn.prepared import Base, Centre, prepare
from awe_core.knn.visits import Lists
from awe_core.neighbours import NOBODY, Neighbours, merge
from pipelines.datasets.vector_dataset import BlockKey, Found, VectorDataset, joins_itself
from pipelines.errors import ConfigError
from pipelines.jobs import counters
from pipelines.join.knn_join import SCRATCH_BYTES, KnnJoin, Search
from pipelines.join.shard_files import hold_shard_files
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.parts import PartReader

Cells = tuple[InvertedLists, Centre]


@dataclass(frozen=True)
class ApproximateJoin:
    """What `ApproximateKnnJoin` gives."""

    neighbours: beam.PCollection
    """((dataset, part, block), Neighbours) for every block of the queries."""
    measured: beam.PCollection
    """`Measured`, one element."""


def refuse_lists(
    base: Sequence[VectorDataset], queries: Sequence[VectorDataset], recall: float, metric: Metric
) -> None:
    """Raise ConfigError where a recall below 1 makes no sense."""
    try:
        refuse_recall(recall, metric)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if any(dataset.sparse for dataset in base):
        raise ConfigError("a recall below 1 is for dense vectors; sparse ones are joined exactly, with a recall of 1")
    if not joins_itself(base, queries):
        raise ConfigError("a recall below 1 is for a base that is joined with itself; ask for all of its datasets")


def recall_facts(measured: Measured) -> dict[str, Any]:
    """What the manifest of neighbours found by lists says of them."""
    return {
        "recall": measured.recall,
        "recall_low": measured.low,
        "recall_high": measured.high,
        "recall_queries": measured.queries,
        "nprobe": measured.nprobe,
        "lists": measured.lists,
    }


class ApproximateKnnJoin(beam.PTransform):
    """PBegin → the neighbours of a base in itself, as many of them as a recall says, and the recall that was measured.

    The answer does not depend on the number of shards or workers, and is that of
    `awe_core.knn.approximate.approximate_join`. Queries that are not rows of the base are joined exactly.

    Parameters
    ----------
    fs, queries, n, shards, radius, leave_self_out, kernel, scratch_bytes : see `KnnJoin`.
    base : datasets of dense vectors, all of them among the queries.
    recall : the recall@n to be reached, in (0, 1].
    seed : of the samples.
    metric : "euclidean" or "cosine".

    Raises
    ------
    ConfigError : such a base or metric is not joined by lists, or the recall is out of range.
    """

    def __init__(
        self,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        queries: Sequence[VectorDataset],
        n: int,
        shards: int,
        recall: float,
        seed: int,
        radius: beam.pvalue.AsSingleton | None = None,
        metric: Metric = "euclidean",
        leave_self_out: bool = True,
        kernel: KernelChoice = "auto",
        scratch_bytes: int = SCRATCH_BYTES,
    ) -> None:
        super().__init__()
        refuse_lists(base, queries, recall, metric)
        self._base, self._recall, self._seed, self._radius = tuple(base), recall, seed, radius
        self._rows = sum(dataset.manifest.rows for dataset in base)
        how = metric, leave_self_out, kernel
        self._search = Search.of(fs, base, queries, n, shards, False, *how, {}, scratch_bytes)

        def join(lists: beam.pvalue.AsSingleton | None) -> KnnJoin:
            return KnnJoin(fs, base, queries, n, shards, None, radius, lists, *how, None, scratch_bytes)

        self._join = join

    def expand(self, begin: beam.pvalue.PBegin) -> ApproximateJoin:
        if not self._rows:  # there is nothing to sample
            measured = begin | "nothing measured" >> beam.Create([Measured.of(np.zeros(0), 1, 1)], reshuffle=False)
            return ApproximateJoin(begin | "join" >> self._join(None), measured)
        setting = beam.pvalue.AsSingleton(self._setting(begin))
        lists = setting.pvalue | "lists" >> beam.Map(lambda found: found.lists)
        neighbours = begin | "join" >> self._join(beam.pvalue.AsSingleton(lists))
        radius = {} if self._radius is None else {"radius": self._radius}
        measured = (
            neighbours
            | "recall of block" >> beam.Map(_recalls, setting, **radius)
            | "gather recalls" >> beam.GroupByKey()
            | "measure" >> beam.Map(_measured, setting)
        )
        return ApproximateJoin(neighbours, measured)

    def _setting(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """`_Setting`, one element."""
        search, seed = self._search, self._seed
        drawn = (
            begin
            | "list base parts" >> beam.Create(list(_parts(self._base)), reshuffle=False)
            | "spread base parts" >> beam.Reshuffle()
            | "draw samples"
            >> beam.FlatMap(_draw, search.fs, self._base, search.query_of_base, seed, self._rows).with_outputs(
                _QUERIES, main="sample"
            )
        )
        cells = (
            drawn.sample
            | "gather sample" >> beam.GroupByKey()
            | "make lists" >> beam.Map(_make_lists, seed, self._rows, search.metric)
        )
        queries = (
            drawn[_QUERIES] | "gather queries" >> beam.GroupByKey() | "take queries" >> beam.Map(_take_queries, seed)
        )
        sides = beam.pvalue.AsSingleton(cells), beam.pvalue.AsSingleton(queries)
        return (
            begin
            | "list shards" >> beam.Create(list(range(len(search.shards))), reshuffle=False)
            | "spread shards" >> beam.Reshuffle()
            | "search queries" >> beam.ParDo(_SearchQueries(search), *sides)
            | "gather answers" >> beam.GroupByKey()
            | "find nprobe" >> beam.Map(_find_nprobe, search.n, self._rows, self._recall, *sides)
        )


_QUERIES = "queries"
"""Output of `_draw` that holds rows which may be queries."""


@dataclass(frozen=True)
class _Drawn:
    """Some rows: ids, vectors, and where each stands, int64 [rows, 4], a `BlockKey` and a row of the block."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    places: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> _Drawn:
        return _Drawn(self.ids[rows], self.vectors[rows], self.places[rows])

    @classmethod
    def joined(cls, several: Iterable[_Drawn]) -> _Drawn:
        given = list(several)
        return cls(
            np.concatenate([one.ids for one in given]),
            np.concatenate([one.vectors for one in given]),
            np.concatenate([one.places for one in given]),
        )


@dataclass(frozen=True)
class _Queries:
    """The queries that find nprobe, and those that measure the recall."""

    tuning: _Drawn
    measuring: _Drawn


@dataclass(frozen=True)
class _Setting:
    """What the join is done with, and measured by.

    Attributes
    ----------
    truth : by block, the rows that measure the recall and the distances of their exact neighbours, float64 [rows, n].
    """

    lists: Lists
    truth: Mapping[BlockKey, tuple[NDArray[np.int64], NDArray[np.float64]]]


def _parts(datasets: Sequence[VectorDataset]) -> Iterator[tuple[int, int]]:
    """(dataset, part) of every part that has rows."""
    for position, dataset in enumerate(datasets):
        for index, part in enumerate(dataset.manifest.parts):
            if part.rows:
                yield position, index


def _draw(
    task: tuple[int, int],
    fs: FileSystem,
    base: Sequence[VectorDataset],
    query_of_base: Sequence[int],
    seed: int,
    rows: int,
) -> Iterator[Any]:
    """The rows of a part that centroids are made from and, as the other output, those that may be queries."""
    position, index = task
    dataset = base[position]
    with PartReader(fs, dataset.directory, dataset.manifest.parts[index]) as reader:
        for block in range(reader.blocks):
            ids, vectors = dataset.ids(reader, block), dataset.vectors(reader, block)
            assert isinstance(vectors, np.ndarray)
            key = np.array([query_of_base[position], index, block])
            places = np.column_stack([np.tile(key, (len(ids), 1)), np.arange(len(ids))])
            drawn = _Drawn(ids, vectors, places)
            yield 0, drawn.take(in_sample(seed, ids, rows))
            yield beam.pvalue.TaggedOutput(_QUERIES, (0, drawn.take(may_query(seed, ids, rows))))


def _make_lists(gathered: tuple[int, Iterable[_Drawn]], seed: int, rows: int, metric: Metric) -> Cells:
    sample = _Drawn.joined(gathered[1])
    with counters.kernel("lists"):
        return make_lists(seed, sample.ids, sample.vectors, rows, metric)


def _take_queries(gathered: tuple[int, Iterable[_Drawn]], seed: int) -> _Queries:
    several = _Drawn.joined(gathered[1])
    tuning, measuring = take_queries(seed, several.ids)
    return _Queries(several.take(tuning), several.take(measuring))


_Answer = tuple[Neighbours, Neighbours, NDArray[np.int32]]
"""Of a shard: the neighbours of the queries that find nprobe, of those that measure, and the depths of the former."""


class _SearchQueries(beam.DoFn):
    """A shard → the exact neighbours of all queries in it."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def setup(self) -> None:
        threadpool_limits(1)
        self._files = hold_shard_files(self._search.job, self._search.scratch_bytes)

    def teardown(self) -> None:
        self._files.close()

    def process(self, index: int, cells: Cells, queries: _Queries) -> Iterator[tuple[int, _Answer]]:
        search = self._search
        base = search.load(index, self._files).base
        with counters.kernel("search"):
            tuning, measuring = (self._exact(base, asked) for asked in (queries.tuning, queries.measuring))
            nearby = _vectors_of(base, tuning.ids, queries.tuning.vectors.shape[1])
            depth = depths_of(*cells, search.metric, queries.tuning.vectors, nearby)
        yield 0, (tuning, measuring, depth)

    def _exact(self, base: Base, asked: _Drawn) -> Neighbours:
        search = self._search
        rows = prepare(asked.ids, asked.vectors, search.metric, search.centre)
        return exact_search(base, rows, search.n, search.kernel, None, search.leave_self_out)


def _vectors_of(base: Base, ids: NDArray[np.int64], d: int) -> NDArray[np.float32]:
    """The vectors of some rows of a shard, float32 [..., d]; of `NOBODY`, zeros."""
    found = np.zeros((*ids.shape, d), np.float32)
    order = np.argsort(base.ids, kind="stable")
    rows = order[np.minimum(np.searchsorted(base.ids, ids, sorter=order), len(order) - 1)]
    here = (base.ids[rows] == ids) & (ids != NOBODY)
    found[here] = base.vectors[rows[here]]
    return found


def _find_nprobe(
    gathered: tuple[int, Iterable[_Answer]], n: int, rows: int, recall: float, cells: Cells, queries: _Queries
) -> _Setting:
    answers = list(gathered[1])
    truth = merge([measuring for _, measuring, _ in answers], n)
    if truth.base_rows != rows:
        raise DataError(
            f"the sample of the join searched {truth.base_rows:,} of {rows:,} rows of the base: the runner lost or "
            "repeated an element; run it again"
        )
    ids, distances, depth = (
        np.hstack(several)
        for several in zip(*((tuning.ids, tuning.distances, depth) for tuning, _, depth in answers), strict=True)
    )
    nearest = np.lexsort((ids, distances), axis=-1)[:, :n]
    present = np.isfinite(np.take_along_axis(distances, nearest, axis=1))
    nprobe = fewest_probes(np.take_along_axis(depth, nearest, axis=1), present, recall, len(cells[0]))
    places = queries.measuring.places
    truths = {}
    for position, part, block in np.unique(places[:, :3], axis=0).tolist():
        here = (places[:, :3] == (position, part, block)).all(axis=1)
        truths[position, part, block] = places[here, 3], truth.distances[here]
    return _Setting(Lists(cells[0], nprobe, cells[1]), truths)


def _recalls(found: Found, setting: _Setting, radius: float = float("inf")) -> tuple[int, NDArray[np.float64]]:
    """The recall of the block's rows that measure it."""
    key, neighbours = found
    if key not in setting.truth:
        return 0, np.zeros(0)
    rows, truth = setting.truth[key]
    return 0, recalls_of(neighbours.distances[rows], truth, radius)


def _measured(gathered: tuple[int, Iterable[NDArray[np.float64]]], setting: _Setting) -> Measured:
    lists = setting.lists
    return Measured.of(np.concatenate(list(gathered[1])), lists.nprobe, len(lists.cells))

"""The sharded k-nearest-neighbour join: for every query row its n nearest rows of the base.

An element is a block, never a pair. The base is cut into shards (runs of parts); a task is (shard, a few blocks of
queries), so both sides are split. What crosses the shuffle is (distance, id), 16 bytes a neighbour: 16 · n bytes a
query row and shard at the most. Vectors are read where they are needed.

Memory of a worker process: `CACHED_SHARDS` shards of the base, each held twice in float32; of a thread, one block of
queries with its pool of some 16 · (576 + 2n) bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.examples import Features
from awe_core.knn import Base
from awe_core.neighbours import Neighbours, merge
from pipelines import counters
from pipelines.process_cache import ProcessCache
from schemas import convert
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.manifest import Manifest
from schemas.parts import Part, PartReader

CACHED_SHARDS = 2
_BASES = ProcessCache[Base](CACHED_SHARDS)

_BLOCKS_PER_TASK = 4
"""Blocks of queries that a task takes through one shard. Searching 4,096 queries costs several times what loading the
shard does, whatever its size, so a worker may change its shard from task to task."""

BlockKey = tuple[int, int, int]
"""(position of the dataset among the queries, part, block)."""


@dataclass(frozen=True)
class VectorDataset:
    """A dataset as the join sees it: `embedding` vectors, or the features of examples."""

    directory: str
    manifest: Manifest

    @property
    def block_rows(self) -> int:
        """Rows of a block, as the dataset was written."""
        return int(self.manifest.facts["block_rows"])

    def ids(self, reader: PartReader, block: int) -> NDArray[np.int64]:
        """Ids of one block."""
        return convert.integers(reader.block(block, ["id"]), "id", reader.where(block))

    def vectors(self, reader: PartReader, block: int) -> Features:
        """Vectors of one block, float32, dense or CSR."""
        where, dimension = reader.where(block), int(self.manifest.facts["dimension"])
        wanted = {"embedding", "features", "indices", "values"} & self.manifest.columns
        table = reader.block(block, sorted(wanted))
        if "embedding" in wanted:
            return convert.dense(table, "embedding", dimension, where)
        return convert.features(table, dimension, where)


@dataclass(frozen=True)
class _Shard:
    """A run of parts of the base."""

    index: int
    parts: tuple[tuple[VectorDataset, Part], ...]

    def load(self, fs: FileSystem) -> Base:
        ids, vectors = [], []
        for dataset, part in self.parts:
            with PartReader(fs, dataset.directory, part) as reader:
                for block in range(reader.blocks):
                    ids.append(dataset.ids(reader, block))
                    vectors.append(dataset.vectors(reader, block))
        stacked = sp.vstack(vectors, format="csr") if sp.issparse(vectors[0]) else np.concatenate(vectors)
        del vectors
        return Base(np.concatenate(ids), stacked)

    @property
    def rows(self) -> int:
        return sum(part.rows for _, part in self.parts)

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(part.sha256 for _, part in self.parts)


def cut_into_shards(base: Sequence[VectorDataset], shards: int) -> list[_Shard]:
    """The parts of the base that hold rows, in `shards` runs; no more runs than parts."""
    parts = [(dataset, part) for dataset in base for part in dataset.manifest.parts if part.rows]
    runs = np.array_split(np.arange(len(parts)), min(shards, len(parts)) or 1)
    return [_Shard(index, tuple(parts[i] for i in run)) for index, run in enumerate(runs) if len(run)]


class KnnJoin(beam.PTransform):
    """PBegin → ((dataset, part, block), Neighbours) for every block of the queries.

    The row of a query's own id is never its neighbour. Distances are squared Euclidean, float64, exact
    (`awe_core.knn`); the answer does not depend on the number of shards or workers.

    Parameters
    ----------
    fs : where the datasets lie.
    base, queries : datasets with `id` and `embedding` or feature columns of one dimension.
    n : neighbours of a row.
    shards : shards of the base; at most one a part that has rows.
    only : side input, int64 ids in increasing order: other query rows are left out. None takes all.
    """

    def __init__(
        self,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        queries: Sequence[VectorDataset],
        n: int,
        shards: int,
        only: beam.pvalue.AsSingleton | None = None,
    ) -> None:
        super().__init__()
        self._fs, self._queries, self._n, self._only = fs, tuple(queries), n, only
        self._shards = cut_into_shards(base, shards)

    def _tasks(self) -> Iterator[tuple[int, int, int, int]]:
        """(shard, dataset, part, first block): a few blocks of queries against one shard."""
        for shard in self._shards or [_Shard(0, ())]:
            for position, dataset in enumerate(self._queries):
                for index, part in enumerate(dataset.manifest.parts):
                    blocks = -(-part.rows // dataset.block_rows)
                    for first in range(0, blocks, _BLOCKS_PER_TASK):
                        yield shard.index, position, index, first

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        only = [] if self._only is None else [self._only]
        return (
            begin
            | "list tasks" >> beam.Create(list(self._tasks()), reshuffle=False)
            # The list is one bundle; without this, one worker would do all of the join.
            | "spread tasks" >> beam.Reshuffle()
            | "search shard" >> beam.ParDo(_SearchShard(self._fs, self._shards, self._queries, self._n), *only)
            # No combiner before the shuffle: a worker seldom has two shards' answers for one block, and would hold
            # 100,000 blocks while it waited for them.
            | "gather shards" >> beam.GroupByKey()
            | "merge shards" >> beam.Map(_merge, self._n, sum(shard.rows for shard in self._shards))
        )


def _merge(gathered: tuple[BlockKey, Iterable[Neighbours]], n: int, rows: int) -> tuple[BlockKey, Neighbours]:
    """The neighbours of a block from those in every shard.

    Raises DataError unless all `rows` of the base were searched once: a shard that a runner lost or repeated would give
    neighbours that look right and are not.
    """
    key, several = gathered
    found = merge(several, n)
    if found.base_rows != rows:
        raise DataError(
            f"the join of dataset {key[0]}, part {key[1]}, block {key[2]} searched {found.base_rows:,} of {rows:,} "
            "rows of the base: the runner lost or repeated an element; run it again"
        )
    return key, found


class _SearchShard(beam.DoFn):
    def __init__(self, fs: FileSystem, shards: Sequence[_Shard], queries: Sequence[VectorDataset], n: int) -> None:
        self._fs, self._shards, self._queries, self._n = fs, list(shards), queries, n

    def setup(self) -> None:
        threadpool_limits(1)  # worker threads are the parallelism; BLAS threads on top would fight them

    def process(
        self, task: tuple[int, int, int, int], only: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[BlockKey, Neighbours]]:
        shard_index, position, index, first = task
        dataset = self._queries[position]
        base = self._load(shard_index)
        with PartReader(self._fs, dataset.directory, dataset.manifest.parts[index]) as reader:
            for block in range(first, min(first + _BLOCKS_PER_TASK, reader.blocks)):
                ids = dataset.ids(reader, block)
                chosen = slice(None) if only is None else np.flatnonzero(np.isin(ids, only))
                ids = ids[chosen]
                if not len(ids):
                    continue
                vectors = dataset.vectors(reader, block)[chosen]
                with counters.kernel("search"):
                    found = base.search(ids, vectors, self._n) if base else Neighbours.none(len(ids), self._n)
                counters.count("tiles_rows", len(ids) * (len(base) if base else 0))
                counters.observe("element_bytes", found.nbytes)
                yield (position, index, block), found

    def _load(self, index: int) -> Base | None:
        if not self._shards:
            return None
        shard = self._shards[index]
        counters.member("base_shards", str(index))
        return _BASES.get(shard.key, lambda: shard.load(self._fs))

"""The sharded k-nearest-neighbour join: for every query row its n nearest rows of the base.

An element is a block, never a pair. The base is cut into shards (runs of parts). What is asked of it decides the tasks:

- the base with itself: a task is a pair of shards (i, j), i ≤ j, whose products serve the rows of both;
- other queries, where the base fits on a worker's scratch: a task is a few blocks of queries, which pass all shards;
- other queries, where it does not: a task is a few blocks of queries and one shard.

What crosses a shuffle is (distance, id), 16 bytes a neighbour: 16 · n bytes a row and shard for the first and the
third, nothing for the second. Vectors are read where they are needed.

Memory of a worker process: `LOADED_SHARDS` shards, 8d + 76 bytes a row each, of which the vectors, 4d, are mapped files
that other processes share; of a task, 64 · n bytes a row of two shards, and the pools of two groups, 30 MB at n = 20.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import apache_beam as beam
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.examples import Features
from awe_core.knn.join import KernelChoice
from awe_core.knn.metric import Metric
from awe_core.knn.plan import LOADED_SHARDS
from awe_core.knn.prepared import Centre, prepare
from awe_core.knn.shards import Rows, join_shard, join_shards, prepared_groups, search_shard
from awe_core.neighbours import Neighbours, merge
from pipelines import counters
from pipelines.neighbour_dataset import NeighbourDataset, known_blocks
from pipelines.process_cache import ProcessCache
from pipelines.shard_files import ShardFiles, hold_shard_files
from pipelines.vector_dataset import BlockKey, Found, VectorDataset
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.manifest import digest
from schemas.parts import Part, PartReader

SCRATCH_BYTES = 32 * 2**30
"""Bound on the shards that a worker keeps on its scratch, and on a base that passes a worker whole."""

_BLOCKS_PER_TASK = 4
"""Blocks of queries that a task takes through a shard."""

_SAMPLED_BLOCKS = 4
"""Blocks from which the centre is made."""


@dataclass(frozen=True)
class _Shard:
    """A run of parts of the base: (position of the dataset in the base, the dataset, index of the part, the part)."""

    index: int
    parts: tuple[tuple[int, VectorDataset, int, Part], ...]

    def read(self, fs: FileSystem) -> tuple[NDArray[np.int64], Features]:
        ids, vectors = [], []
        for _, dataset, _, part in self.parts:
            with PartReader(fs, dataset.directory, part) as reader:
                for block in range(reader.blocks):
                    ids.append(dataset.ids(reader, block))
                    vectors.append(dataset.vectors(reader, block))
        stacked = sp.vstack(vectors, format="csr") if sp.issparse(vectors[0]) else np.concatenate(vectors)
        return np.concatenate(ids), stacked

    @property
    def rows(self) -> int:
        return sum(part.rows for *_, part in self.parts)

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(part.sha256 for *_, part in self.parts)

    def blocks(self) -> Iterator[tuple[int, int, int, slice]]:
        """(dataset, part, block, its rows among those of the shard)."""
        first = 0
        for position, dataset, index, part in self.parts:
            for block, start in enumerate(range(0, part.rows, dataset.block_rows)):
                yield position, index, block, slice(first + start, first + min(start + dataset.block_rows, part.rows))
            first += part.rows


def cut_into_shards(
    base: Sequence[VectorDataset], shards: int, known: Sequence[NeighbourDataset | None] = ()
) -> list[_Shard]:
    """The parts of the base that hold rows, in runs of about equal length; no more runs than parts.

    No run has parts of a dataset whose neighbours are known and of one whose are not: there is one run more, perhaps.
    """
    parts = [
        (position, dataset, index, part)
        for position, dataset in enumerate(base)
        for index, part in enumerate(dataset.manifest.parts)
        if part.rows
    ]
    old = [bool(known) and known[position] is not None for position, *_ in parts]
    runs: list[list[int]] = []
    for kind in (True, False):
        mine = [i for i, is_old in enumerate(old) if is_old == kind]
        share = -(-shards * len(mine) // max(1, len(parts)))
        runs += [run.tolist() for run in np.array_split(mine, min(share, len(mine)) or 1) if len(run)]
    return [_Shard(index, tuple(parts[i] for i in run)) for index, run in enumerate(runs)]


def _refuse_unknown(
    base: Sequence[VectorDataset], known: Sequence[NeighbourDataset | None], n: int, metric: Metric, within: bool
) -> None:
    """Whether what is known is of the datasets it is given for, all of them and no other."""
    given = [(dataset, found) for dataset, found in zip(base, known, strict=True) if found is not None]
    expected = sorted(dataset.manifest.fingerprint for dataset, _ in given)
    for dataset, found in given:
        facts = found.manifest.facts
        if not within or [part.rows for part in found.manifest.parts] != [p.rows for p in dataset.manifest.parts]:
            raise DataError(f"{found.directory}: these are not the neighbours of the rows of {dataset.directory}")
        if (facts["n"], facts["metric"], sorted(facts["base"])) != (n, metric, expected):
            raise DataError(
                f"{found.directory}: {facts['n']} neighbours by {facts['metric']} distance were found there, in other "
                f"datasets than those whose neighbours are given, or not the {n} by {metric} distance; join all anew"
            )


@dataclass
class _Loaded:
    """A shard in this process, shared by its threads.

    Attributes
    ----------
    reach : per row, the distance of the n-th neighbour found so far by any task of this process: no answer beyond it is
        needed. What a task leaves out so depends on what came before it; what all of them find together does not.
    """

    groups: list[Rows]
    reach: NDArray[np.float64]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def within(self, radius: float) -> NDArray[np.float64]:
        """The reach of every row, where nobody beyond a radius is wanted."""
        return np.minimum(self.reach, radius)

    def learn(self, found: Neighbours) -> None:
        with self.lock:
            np.minimum(self.reach, found.distances[:, -1], out=self.reach)


_LOADED: ProcessCache[_Loaded] = ProcessCache(LOADED_SHARDS)


@dataclass(frozen=True)
class _Search:
    """What all tasks of a join share."""

    fs: FileSystem
    shards: tuple[_Shard, ...]
    known: tuple[NeighbourDataset | None, ...]
    """For every dataset of the base."""
    queries: tuple[VectorDataset, ...]
    n: int
    metric: Metric
    centre: Centre | None
    kernel: KernelChoice
    leave_self_out: bool
    query_of_base: tuple[int, ...]
    """Position of every dataset of the base among the queries; empty where not all of the base is asked for."""
    scratch_bytes: int

    @cached_property
    def job(self) -> str:
        """Names the join: what was learnt for it is of use to no other."""
        asked = [[dataset.directory for dataset in self.queries], self.n, self.metric, self.leave_self_out]
        return digest([[shard.key for shard in self.shards], *asked])

    @property
    def base_rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def load(self, index: int, files: ShardFiles) -> _Loaded:
        shard = self.shards[index]
        counters.member("base_shards", str(index))
        return _LOADED.get((self.job, shard.key), lambda: self._read(shard, files))

    def _read(self, shard: _Shard, files: ShardFiles) -> _Loaded:
        if self.centre is None:
            ids, vectors = shard.read(self.fs)
        else:
            ids, vectors = files.get(shard.key, lambda: shard.read(self.fs))
        groups = prepared_groups(ids, vectors, self.metric, self.centre)
        reach = [np.full(part.rows, np.inf) for *_, part in shard.parts]
        for i, (position, _, index, _) in enumerate(shard.parts):
            dataset = self.known[position]
            if dataset is not None:
                reach[i] = dataset.reach(self.fs, index)
        return _Loaded(groups, np.concatenate(reach))

    def is_known(self, shard: int) -> bool:
        """Whether the neighbours of a shard's rows in all shards of its kind are known."""
        return self.known[self.shards[shard].parts[0][0]] is not None

    def between(self, i: int, j: int, radius: float, files: ShardFiles) -> Iterator[Found]:
        """The neighbours of shard i's rows in shard j, and of j's in i."""
        one = self.load(i, files)
        if i == j:
            yield from self._by_block(
                i, one, join_shard(one.groups, self.n, self.kernel, one.within(radius), self.leave_self_out)
            )
            return
        other = self.load(j, files)
        reaches = one.within(radius), other.within(radius)
        found = join_shards(one.groups, other.groups, self.n, self.kernel, reaches, self.leave_self_out)
        yield from self._by_block(i, one, found[0])
        yield from self._by_block(j, other, found[1])

    def prepared(self, ids: NDArray[np.int64], vectors: Features) -> Rows:
        """Queries, ready for the join."""
        return prepare(ids, vectors, self.metric, self.centre)

    def among(self, shard: _Loaded, queries: Rows, known: Neighbours, radius: float) -> Neighbours:
        """The neighbours of queries in a shard, but for those beyond the ones known."""
        reach = np.minimum(known.distances[:, -1], radius)
        return search_shard(shard.groups, queries, self.n, self.kernel, reach, self.leave_self_out)

    def _by_block(self, index: int, shard: _Loaded, found: Neighbours) -> Iterator[Found]:
        shard.learn(found)
        for position, part, block, rows in self.shards[index].blocks():
            # A count for the whole shard: it stands in the first of its blocks.
            undecided = found.undecided if rows.start == 0 else 0
            piece = Neighbours(found.ids[rows], found.distances[rows], found.base_rows, undecided)
            yield (self.query_of_base[position], part, block), piece


class KnnJoin(beam.PTransform):
    """PBegin → ((dataset, part, block), Neighbours) for every block of the queries.

    Exact (`awe_core.knn`): the answer does not depend on the number of shards or workers.

    Parameters
    ----------
    fs : where the datasets lie.
    base, queries : datasets with `id` and `embedding` or feature columns of one dimension.
    n : neighbours of a row.
    shards : shards of the base; at most one a part that has rows.
    only : side input, int64 ids in increasing order: other query rows are left out. None takes all.
    radius : side input, a distance: neighbours beyond it may be left out. None wants them all.
    metric : "euclidean" (squared), "cosine" or "inner_product", see `awe_core.knn.metric`.
    leave_self_out : the base's row of a query's own id is never its neighbour.
    kernel : "auto", "numba" or "numpy"; the same answer.
    known : for a base that has grown: the neighbours of some of its datasets' rows in those datasets alone, by
        directory of the dataset. Only what is new is joined; the base has to be among the queries.
    scratch_bytes : bound on the shards that a worker keeps as files.

    Raises
    ------
    DataError : `known` is not what was found in the datasets that it is given for, or not of such a join.
    """

    def __init__(
        self,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        queries: Sequence[VectorDataset],
        n: int,
        shards: int,
        only: beam.pvalue.AsSingleton | None = None,
        radius: beam.pvalue.AsSingleton | None = None,
        metric: Metric = "euclidean",
        leave_self_out: bool = True,
        kernel: KernelChoice = "auto",
        known: Mapping[str, NeighbourDataset] | None = None,
        scratch_bytes: int = SCRATCH_BYTES,
    ) -> None:
        super().__init__()
        self._sides = {name: side for name, side in (("only", only), ("radius", radius)) if side is not None}
        centre = _centre(fs, base, metric)
        places = {dataset.directory: position for position, dataset in enumerate(queries)}
        within = only is None and centre is not None and all(dataset.directory in places for dataset in base)
        of_base = tuple(places[dataset.directory] for dataset in base) if within else ()
        given = tuple((known or {}).get(dataset.directory) for dataset in base)
        _refuse_unknown(base, given, n, metric, within)
        cut = tuple(cut_into_shards(base, shards, given))
        self._search = _Search(
            fs, cut, given, tuple(queries), n, metric, centre, kernel, leave_self_out, of_base, scratch_bytes
        )

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        partial, whole = self._tasks()
        found = []
        if partial:
            found.append(
                begin
                | "list tasks" >> beam.Create(partial, reshuffle=False)
                # The list is one bundle; without this, one worker would do all of the join.
                | "spread tasks" >> beam.Reshuffle()
                | "search shards" >> beam.ParDo(_SearchShards(self._search), **self._sides)
                # No combiner before the shuffle: a worker seldom has two shards' answers for one block, and would hold
                # 100,000 blocks while it waited for them.
            )
        known = self._known_parts()
        if known:
            found.append(
                begin
                | "list known parts" >> beam.Create(list(known), reshuffle=False)
                | "spread known parts" >> beam.Reshuffle()
                | "read known" >> beam.FlatMap(known_blocks, self._search.fs, known)
            )
        if found:
            gathered = found[0] if len(found) == 1 else found | "new and known" >> beam.Flatten()
            found = [gathered | "gather shards" >> beam.GroupByKey()]
        if whole:
            found.append(
                begin
                | "list query blocks" >> beam.Create(whole, reshuffle=False)
                | "spread query blocks" >> beam.Reshuffle()
                | "pass all shards" >> beam.ParDo(_SearchShards(self._search), **self._sides)
                | "nothing to gather" >> beam.MapTuple(lambda key, neighbours: (key, [neighbours]))
            )
        gathered = found[0] if len(found) == 1 else found | "all blocks" >> beam.Flatten()
        return gathered | "merge shards" >> beam.Map(_merge, self._search.n, self._search.base_rows)

    def _tasks(self) -> tuple[list[_Task], list[_Task]]:
        """Tasks whose answers have to be gathered, and tasks whose answers are whole."""
        search = self._search
        several = range(len(search.shards))
        # Shards with themselves first: what they find shortens what comes after.
        pairs = [(i, i) for i in several] + [(i, j) for i in several for j in several if i < j]
        partial: list[_Task] = [
            _Pair(i, j) for i, j in pairs if search.query_of_base and not (search.is_known(i) and search.is_known(j))
        ]
        whole: list[_Task] = []
        passes = len(search.shards) <= LOADED_SHARDS
        for run in self._query_runs():
            if passes:
                whole.append(_Run(*run, tuple(several)))
            else:
                partial += [_Run(*run, (shard,)) for shard in several]
        return partial, whole

    def _known_parts(self) -> dict[tuple[int, int], NeighbourDataset]:
        """(position among the queries, part) of what is known."""
        search = self._search
        return {
            (search.query_of_base[position], part): dataset
            for position, dataset in enumerate(search.known)
            if dataset is not None
            for part, listed in enumerate(dataset.manifest.parts)
            if listed.rows
        }

    def _query_runs(self) -> Iterator[tuple[int, int, int]]:
        """(dataset, part, first block) of a few blocks of queries that are not rows of the base."""
        for position, dataset in enumerate(self._search.queries):
            if position not in self._search.query_of_base:
                for index, part in enumerate(dataset.manifest.parts):
                    blocks = -(-part.rows // dataset.block_rows)
                    for first in range(0, blocks, _BLOCKS_PER_TASK):
                        yield position, index, first


@dataclass(frozen=True)
class _Pair:
    """Two shards of the base, for each other's rows."""

    one: int
    other: int


@dataclass(frozen=True)
class _Run:
    """A few blocks of queries, and the shards that they pass."""

    position: int
    part: int
    first: int
    shards: tuple[int, ...]


_Task: TypeAlias = _Pair | _Run


def _centre(fs: FileSystem, base: Sequence[VectorDataset], metric: Metric) -> Centre | None:
    """One centre for all shards, from a few blocks of the base; None for sparse rows. No answer depends on it."""
    if any(dataset.sparse for dataset in base):
        return None
    sample = [np.zeros((0, dataset.dimension), np.float32) for dataset in base[:1]]
    parts = [(dataset, part) for dataset in base for part in dataset.manifest.parts if part.rows]
    for dataset, part in parts[:: -(-len(parts) // _SAMPLED_BLOCKS) or 1]:
        with PartReader(fs, dataset.directory, part) as reader:
            vectors = dataset.vectors(reader, 0)
            assert isinstance(vectors, np.ndarray)
            sample.append(vectors)
    return Centre.of(np.concatenate(sample), metric) if sample else None


def _merge(gathered: tuple[BlockKey, Iterable[Neighbours]], n: int, rows: int) -> Found:
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
    counters.count("undecided", found.undecided)
    return key, found


class _SearchShards(beam.DoFn):
    def __init__(self, search: _Search) -> None:
        self._search = search

    def setup(self) -> None:
        threadpool_limits(1)  # worker threads are the parallelism; BLAS threads on top would fight them
        self._files = hold_shard_files(self._search.job, self._search.scratch_bytes)

    def teardown(self) -> None:
        self._files.close()

    def process(self, task: _Task, only: NDArray[np.int64] | None = None, radius: float = np.inf) -> Iterator[Found]:
        answers = self._pair(task, radius) if isinstance(task, _Pair) else self._run(task, only, radius)
        for key, found in answers:
            counters.observe("element_bytes", found.nbytes)
            yield key, found

    def _pair(self, task: _Pair, radius: float) -> Iterator[Found]:
        search = self._search
        one, other = search.shards[task.one].rows, search.shards[task.other].rows
        with counters.kernel("search"):
            found = list(search.between(task.one, task.other, radius, self._files))
        counters.count("tiles_rows", one * other if task.one != task.other else one * (one + 1) // 2)
        return iter(found)

    def _run(self, task: _Run, only: NDArray[np.int64] | None, radius: float) -> Iterator[Found]:
        search = self._search
        dataset = search.queries[task.position]
        with PartReader(search.fs, dataset.directory, dataset.manifest.parts[task.part]) as reader:
            for block in range(task.first, min(task.first + _BLOCKS_PER_TASK, reader.blocks)):
                ids = dataset.ids(reader, block)
                chosen = slice(None) if only is None else np.flatnonzero(np.isin(ids, only))
                if not len(ids[chosen]):
                    continue
                queries = search.prepared(ids[chosen], dataset.vectors(reader, block)[chosen])
                found = Neighbours.none(len(queries), search.n)
                for index in task.shards:
                    shard = search.load(index, self._files)
                    with counters.kernel("search"):
                        found = merge([found, search.among(shard, queries, found, radius)], search.n)
                    counters.count("tiles_rows", len(queries) * search.shards[index].rows)
                yield (task.position, task.part, block), found

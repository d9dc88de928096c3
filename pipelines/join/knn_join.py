"""The sharded k-nearest-neighbour join: for every query row its n nearest rows of the base.

An element is a block, never a pair. The base is cut into shards of whole parts. What is asked of it decides the tasks:

- the base with itself: a task is a pair of shards (i, j), i ≤ j, whose products serve the rows of both;
- other queries, where the base fits on a worker's scratch: a task is a few blocks of queries, which pass all shards;
- other queries, where it does not: a task is a few blocks of queries and one shard.

What crosses a shuffle is (distance, id), 12 bytes a neighbour or, where ids need 8, 16: at most n of them a row and
shard for the first and the third, nothing for the second. What a process knows to be beaten stays behind: of s shards
that one process joins, about n (1 + 1/2 + … + 1/s) neighbours of a row come. Vectors are read where they are needed.

The base with itself may also be joined by lists (`approximate_join`): the tasks are the same pairs of shards, which
compare the rows of a list with those that visit it.

Memory of a worker process: `LOADED_SHARDS` shards, 8d + 4n + 84 bytes a row each, of which the vectors, 4d, are mapped
files that other processes share, until all is searched; of a task, 64 · n bytes and a pool of 8(3(n + 1) + 32) + 25
bytes a row of two shards.
By lists a row of a shard has 12 bytes more for every list that it visits, and all rows of two shards have pools,
24 · n + 300 bytes each.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import apache_beam as beam
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.examples import Features
from awe_core.knn.join import KernelChoice, join_both, join_within, search
from awe_core.knn.metric import Metric
from awe_core.knn.plan import LOADED_SHARDS
from awe_core.knn.prepared import Base, Centre, Prepared, prepare
from awe_core.knn.visits import Listed, Lists, visit_between, visit_within
from awe_core.neighbours import Neighbours, merge
from pipelines.datasets.neighbour_dataset import NeighbourDataset, known_blocks
from pipelines.datasets.vector_dataset import BlockKey, Found, VectorDataset
from pipelines.jobs import counters
from pipelines.jobs.process_cache import ProcessCache
from pipelines.join.shard_files import ShardFiles, hold_shard_files
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
class Shard:
    """Some parts of the base: (position of the dataset in the base, the dataset, index of the part)."""

    index: int
    places: tuple[tuple[int, VectorDataset, int], ...]

    @property
    def parts(self) -> Iterator[tuple[int, VectorDataset, int, Part]]:
        """The places with what the manifests list there."""
        return ((*place, place[1].manifest.parts[place[2]]) for place in self.places)

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
) -> list[Shard]:
    """The parts of the base that hold rows, dealt to shards of about as many rows; no more shards than parts.

    No shard has parts of a dataset whose neighbours are known and of one whose are not: there is one more, perhaps.
    """
    places = [
        (position, dataset, index)
        for position, dataset in enumerate(base)
        for index, part in enumerate(dataset.manifest.parts)
        if part.rows
    ]
    old = [bool(known) and known[position] is not None for position, *_ in places]
    dealt: list[list[int]] = []
    for kind in (True, False):
        mine = {i: places[i][1].manifest.parts[places[i][2]].rows for i, is_old in enumerate(old) if is_old == kind}
        share = -(-shards * len(mine) // max(1, len(places)))
        dealt += _dealt(mine, min(share, len(mine)))
    return [Shard(index, tuple(places[i] for i in sorted(some))) for index, some in enumerate(dealt)]


def _dealt(rows: Mapping[int, int], shards: int) -> list[list[int]]:
    """Parts by their rows, the largest first, each to the shard that has fewest so far."""
    dealt: list[list[int]] = [[] for _ in range(shards)]
    fewest = [(0, shard) for shard in range(shards)]
    for part in sorted(rows, key=lambda part: (-rows[part], part)):
        held, shard = heapq.heappop(fewest)
        dealt[shard].append(part)
        heapq.heappush(fewest, (held + rows[part], shard))
    return dealt


def _refuse_unknown(
    base: Sequence[VectorDataset], known: Sequence[NeighbourDataset | None], n: int, metric: Metric, within: bool
) -> None:
    """Whether what is known is of the datasets it is given for, all of them and no other."""
    given = [(dataset, found) for dataset, found in zip(base, known, strict=True) if found is not None]
    expected = sorted(dataset.fingerprint for dataset, _ in given)
    for dataset, found in given:
        facts = found.manifest.facts
        if not within or [part.rows for part in found.manifest.parts] != [p.rows for p in dataset.manifest.parts]:
            raise DataError(f"{found.directory}: these are not the neighbours of the rows of {dataset.directory}")
        if "recall" in facts:
            raise DataError(f"{found.directory}: has {facts['recall']:.3f} of the neighbours, not all; join all anew")
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
    rows : prepared; in lists where the join is one of lists.
    nearest : float32 [rows, n], the distances of the nearest found so far by any task of this process, rounded up and
        ascending: no answer beyond the last is needed. What a task leaves out so depends on what came before it; what
        all of them find together does not.
    """

    rows: Base | Listed
    nearest: NDArray[np.float32]
    _met: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base(self) -> Base:
        assert not isinstance(self.rows, Listed)
        return self.rows

    def __len__(self) -> int:
        return len(self.nearest)

    def reach(self, rows: slice = slice(None), radius: float = np.inf) -> NDArray[np.float64]:
        """The distance beyond which nobody is needed, where nobody beyond a radius is wanted."""
        return np.minimum(self.nearest[rows, -1], radius, dtype=np.float64)

    def learn(self, other: int, found: Neighbours) -> None:
        """Take in whom the rows met in another shard; once, for a runner may repeat a task."""
        distances = _rounded_up(found.distances)
        with self._lock:
            if other not in self._met:
                self._met.add(other)
                # The n least of two ascending lists: no two places of the one are left for the same of the other.
                self.nearest = np.sort(np.minimum(self.nearest, distances[:, ::-1]), axis=1)


def _rounded_up(distances: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distances in half of the space, none of them less than it is."""
    with np.errstate(over="ignore"):
        return np.nextafter(distances.astype(np.float32), np.float32(np.inf))


_LOADED: ProcessCache[_Loaded] = ProcessCache(LOADED_SHARDS)

_Met: TypeAlias = tuple[int, _Loaded, int, Neighbours]
"""(index of a shard, the shard, index of another, whom its rows met there)."""


@dataclass(frozen=True)
class Search:
    """What all tasks of a join share; what is not said here is as `KnnJoin` has it."""

    fs: FileSystem
    shards: tuple[Shard, ...]
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

    @classmethod
    def of(
        cls,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        queries: Sequence[VectorDataset],
        n: int,
        shards: int,
        some: bool,
        metric: Metric,
        leave_self_out: bool,
        kernel: KernelChoice,
        known: Mapping[str, NeighbourDataset],
        scratch_bytes: int,
    ) -> Search:
        """As `KnnJoin` has it; `some` says that not all rows of the queries are asked for."""
        centre = _centre(fs, base, metric)
        places = {dataset.directory: position for position, dataset in enumerate(queries)}
        within = not some and centre is not None and all(dataset.directory in places for dataset in base)
        of_base = tuple(places[dataset.directory] for dataset in base) if within else ()
        given = tuple(known.get(dataset.directory) for dataset in base)
        _refuse_unknown(base, given, n, metric, within)
        cut = tuple(cut_into_shards(base, shards, given))
        return cls(fs, cut, given, tuple(queries), n, metric, centre, kernel, leave_self_out, of_base, scratch_bytes)

    @cached_property
    def job(self) -> str:
        """Names the join: what was learnt for it is of use to no other."""
        asked = [[dataset.directory for dataset in self.queries], self.n, self.metric, self.leave_self_out]
        return digest([[shard.key for shard in self.shards], *asked])

    @property
    def base_rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def queries_pass(self) -> bool:
        """Whether a task takes queries through all shards; else through one."""
        return len(self.shards) <= LOADED_SHARDS

    def load(self, index: int, files: ShardFiles, lists: Lists | None = None) -> _Loaded:
        """A shard, prepared or in lists."""
        shard = self.shards[index]
        counters.member("base_shards", str(index))
        key = (self.job, shard.key, None if lists is None else lists.key)
        return _LOADED.get(key, lambda: self._read(shard, files, lists))

    def _read(self, shard: Shard, files: ShardFiles, lists: Lists | None) -> _Loaded:
        if self.centre is None:
            ids, vectors = shard.read(self.fs)
        else:
            ids, vectors = files.get(shard.key, lambda: shard.read(self.fs))
        if lists is not None:
            rows = Listed(Prepared(ids, vectors, self.metric, lists.centre), lists, self.kernel)
            return _Loaded(rows, self._nobody(shard.rows))
        nearest = [self._nobody(part.rows) for *_, part in shard.parts]
        for i, (position, _, index, _) in enumerate(shard.parts):
            dataset = self.known[position]
            if dataset is not None:
                nearest[i] = _rounded_up(dataset.distances(self.fs, index))
        return _Loaded(self.prepared(ids, vectors), np.concatenate(nearest))

    def _nobody(self, rows: int) -> NDArray[np.float32]:
        return np.full((rows, self.n), np.inf, np.float32)

    def is_known(self, shard: int) -> bool:
        """Whether the neighbours of a shard's rows in all shards of its kind are known."""
        return self.known[self.shards[shard].places[0][0]] is not None

    def between(self, i: int, j: int, radius: float, lists: Lists | None, files: ShardFiles) -> list[_Met]:
        """The neighbours of shard i's rows in shard j, and of j's in i."""
        one = self.load(i, files, lists)
        if i == j:
            counters.count("tiles_rows", _products(one, one))
            return [(i, one, i, self._inside(one, radius))]
        other = self.load(j, files, lists)
        counters.count("tiles_rows", _products(one, other))
        of_one, of_other = self._across(one, other, radius)
        return [(i, one, j, of_one), (j, other, i, of_other)]

    def _inside(self, shard: _Loaded, radius: float) -> Neighbours:
        reach = shard.reach(radius=radius)
        if isinstance(shard.rows, Listed):
            return visit_within(shard.rows, self.n, self.kernel, reach, self.leave_self_out)
        assert isinstance(shard.rows, Prepared)
        return join_within(shard.rows, self.n, self.kernel, reach, self.leave_self_out)

    def _across(self, one: _Loaded, other: _Loaded, radius: float) -> tuple[Neighbours, Neighbours]:
        reaches = one.reach(radius=radius), other.reach(radius=radius)
        if isinstance(one.rows, Listed):
            assert isinstance(other.rows, Listed)
            return visit_between(one.rows, other.rows, self.n, self.kernel, reaches, self.leave_self_out)
        assert isinstance(one.rows, Prepared)
        assert isinstance(other.rows, Prepared)
        return join_both(one.rows, other.rows, self.n, self.kernel, *reaches, self.leave_self_out)

    def prepared(self, ids: NDArray[np.int64], vectors: Features) -> Base:
        """Rows or queries, ready for the join."""
        return prepare(ids, vectors, self.metric, self.centre)

    def among(self, shard: _Loaded, queries: Base, known: Neighbours, radius: float) -> Neighbours:
        """The neighbours of queries in a shard, but for those beyond the ones known."""
        reach = np.minimum(known.distances[:, -1], radius)
        return search(shard.base, queries, self.n, self.kernel, reach, self.leave_self_out)

    def by_block(self, index: int, shard: _Loaded, other: int, found: Neighbours) -> Iterator[Found]:
        """Whom a shard's rows met, in the blocks that they have, without those that are known to be beaten by now."""
        shard.learn(other, found)
        for position, part, block, rows in self.shards[index].blocks():
            # A count for the whole shard: it stands in the first of its blocks.
            undecided = found.undecided if rows.start == 0 else 0
            piece = Neighbours(found.ids[rows], found.distances[rows], found.base_rows, undecided)
            yield (self.query_of_base[position], part, block), piece.up_to(shard.reach(rows))


def _products(one: _Loaded, other: _Loaded) -> int:
    """Products of two rows that a pair of shards takes."""
    if isinstance(one.rows, Listed):
        assert isinstance(other.rows, Listed)
        return one.rows.products(other.rows)
    rows, others = len(one), len(other)
    return rows * (rows + 1) // 2 if one is other else rows * others


class KnnJoin(beam.PTransform):
    """PBegin → ((dataset, part, block), Neighbours) for every block of the queries.

    Exact (`awe_core.knn`), or the base with itself by lists; neither answer depends on the number of shards or workers.

    Parameters
    ----------
    fs : where the datasets lie.
    base, queries : datasets with `id` and `embedding` or feature columns of one dimension.
    n : neighbours of a row.
    shards : shards of the base; at most one a part that has rows.
    only : side input, int64 ids in increasing order: other query rows are left out. None takes all.
    radius : side input, a distance: neighbours beyond it may be left out. None wants them all.
    lists : side input, the lists by which the base is joined with itself; other queries are joined exactly all the
        same. None joins all exactly. `ApproximateKnnJoin` finds them.
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
        lists: beam.pvalue.AsSingleton | None = None,
        metric: Metric = "euclidean",
        leave_self_out: bool = True,
        kernel: KernelChoice = "auto",
        known: Mapping[str, NeighbourDataset] | None = None,
        scratch_bytes: int = SCRATCH_BYTES,
    ) -> None:
        super().__init__()
        sides = {"only": only, "radius": radius, "lists": lists}
        self._sides = {name: side for name, side in sides.items() if side is not None}
        self._search = Search.of(
            fs, base, queries, n, shards, only is not None, metric, leave_self_out, kernel, known or {}, scratch_bytes
        )

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        partial, whole = self._tasks()
        found = []
        if partial:
            found.append(
                begin
                | "list tasks" >> beam.Create(partial, reshuffle=False)
                | "cut tasks" >> beam.FlatMap(_cut, self._search)
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
        n, rows = self._search.n, self._search.base_rows
        joined = []
        if found:
            gathered = found[0] if len(found) == 1 else found | "new and known" >> beam.Flatten()
            joined.append(
                gathered | "gather shards" >> beam.GroupByKey() | "merge shards" >> beam.ParDo(_MergeShards(n, rows))
            )
        if whole:
            # Merged before the two are flattened: Flink's job server loses a branch whose last step is fused behind it.
            joined.append(
                begin
                | "list query parts" >> beam.Create(whole, reshuffle=False)
                | "cut query parts" >> beam.FlatMap(_cut, self._search)
                | "spread query blocks" >> beam.Reshuffle()
                | "pass all shards" >> beam.ParDo(_SearchShards(self._search), **self._sides)
                | "nothing to gather" >> beam.MapTuple(lambda key, neighbours: (key, [neighbours]))
                | "check blocks" >> beam.Map(_merge, n, rows)
            )
        if not joined:  # nobody asks for anything
            return begin | "no blocks" >> beam.Create([], reshuffle=False)
        return joined[0] if len(joined) == 1 else joined | "all blocks" >> beam.Flatten()

    def _tasks(self) -> tuple[list[_Listed], list[_Listed]]:
        """Tasks whose answers have to be gathered, and tasks whose answers are whole; parts of queries not yet cut."""
        search = self._search
        several = range(len(search.shards))
        # Shards with themselves first: what they find shortens what comes after.
        pairs = [(i, i) for i in several] + [(i, j) for i in several for j in several if i < j]
        partial: list[_Listed] = [
            _Pair(i, j) for i, j in pairs if search.query_of_base and not (search.is_known(i) and search.is_known(j))
        ]
        asked = [
            _QueryPart(position, index)
            for position, dataset in enumerate(search.queries)
            if position not in search.query_of_base
            for index, part in enumerate(dataset.manifest.parts)
            if part.rows
        ]
        return (partial, [*asked]) if search.queries_pass else ([*partial, *asked], [])

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


@dataclass(frozen=True)
class _QueryPart:
    """A part of queries that are not rows of the base, before it is cut into runs."""

    position: int
    part: int


_Task: TypeAlias = _Pair | _Run
_Listed: TypeAlias = _Pair | _QueryPart
"""What the job's graph holds. Runs are millions where the base is large, and the graph has to stay small."""


def _cut(listed: _Listed, search: Search) -> Iterator[_Task]:
    """The tasks of a part of queries; a pair of shards is one."""
    if isinstance(listed, _Pair):
        yield listed
        return
    dataset, shards = search.queries[listed.position], range(len(search.shards))
    rows = dataset.manifest.parts[listed.part].rows
    for first in range(0, -(-rows // dataset.block_rows), _BLOCKS_PER_TASK):
        for met in [tuple(shards)] if search.queries_pass else [(shard,) for shard in shards]:
            yield _Run(listed.position, listed.part, first, met)


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


class _MergeShards(beam.DoFn):
    """`_merge` of what was gathered, without the shards: they have been searched."""

    def __init__(self, n: int, rows: int) -> None:
        self._n, self._rows = n, rows

    def setup(self) -> None:
        _LOADED.clear()

    def process(self, gathered: tuple[BlockKey, Iterable[Neighbours]]) -> Iterator[Found]:
        yield _merge(gathered, self._n, self._rows)


class _SearchShards(beam.DoFn):
    def __init__(self, search: Search) -> None:
        self._search = search

    def display_data(self) -> dict[str, Any]:
        search = self._search
        facts = {"n": search.n, "metric": search.metric, "shards": len(search.shards), "base_rows": search.base_rows}
        return {**facts, "rows": sum(dataset.manifest.rows for dataset in search.queries)}

    def setup(self) -> None:
        threadpool_limits(1)  # worker threads are the parallelism; BLAS threads on top would fight them
        self._files = hold_shard_files(self._search.job, self._search.scratch_bytes)

    def teardown(self) -> None:
        self._files.close()

    def process(
        self,
        task: _Task,
        only: NDArray[np.int64] | None = None,
        radius: float = np.inf,
        lists: Lists | None = None,
    ) -> Iterator[Found]:
        answers = self._pair(task, radius, lists) if isinstance(task, _Pair) else self._run(task, only, radius)
        for key, found in answers:
            counters.observe("element_bytes", found.nbytes)
            yield key, found

    def _pair(self, task: _Pair, radius: float, lists: Lists | None) -> Iterator[Found]:
        with counters.kernel("search"):
            found = self._search.between(task.one, task.other, radius, lists, self._files)
        while found:
            yield from self._search.by_block(*found.pop())

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

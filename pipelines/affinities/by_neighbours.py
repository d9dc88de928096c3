"""From neighbours to G: the unit of λx, the labels of the neighbours, and the affinity of every block.

Memory of a worker process: the neighbours of one part (16 · n bytes a row), the affinities of one block, and the label
lists of the base as memory-mapped files on local scratch (16 bytes a row and 4 a label; while they are made, about four
times that in memory: at 10⁸ rows of 5 labels some 15 GB).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.affinities import beside_neighbours
from awe_core.affinities.beside_neighbours import LabelsById
from awe_core.affinities.latent_rbf import NearLabels
from awe_core.affinities.neighbour_labels import FromNeighbours, NeighbourWeigher
from awe_core.affinities.stored import from_neighbours
from awe_core.neighbours import Neighbours
from pipelines.config import Affinity
from pipelines.datasets.models import load_model
from pipelines.datasets.vector_dataset import VectorDataset, joins_itself
from pipelines.jobs import counters
from pipelines.jobs.process_cache import ProcessCache
from pipelines.join.approximate_join import ApproximateKnnJoin
from pipelines.join.knn_join import KnnJoin
from schemas import convert
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.model_file import ModelFile
from schemas.parts import PartReader

_TABLES: ProcessCache[_LabelFiles] = ProcessCache(1)
_NEAR_LABELS: ProcessCache[NearLabels] = ProcessCache(8)
"""Of a model, or of those of some folds."""


@dataclass(frozen=True)
class FoundNeighbours:
    """What `FindNeighbours` gives."""

    blocks: beam.PCollection
    """((dataset, part, block), Neighbours) of every block of the queries."""
    median: beam.PCollection
    """m, one element."""
    measured: beam.PCollection | None
    """`Measured`, one element, where the base was joined with itself by lists."""


@dataclass(frozen=True)
class NeighbourParts:
    """What `NeighbourAffinity` gives: the neighbours of the queries by part, m, and how both become G."""

    parts: beam.PCollection
    """((dataset, part), iterable of (block, Neighbours), or None beside them) for every part."""
    median: beam.PCollection
    """m, one element."""
    measured: beam.PCollection | None
    """`Measured`, one element, where the base was joined with itself by lists."""
    weigher: Weigher


class FindNeighbours(beam.PTransform):
    """PBegin → the neighbours of the queries by block, and m, from an exact join of the sample alone.

    Parameters
    ----------
    fs : where the datasets lie.
    base : datasets with vectors; the sample for m is drawn from them.
    queries : datasets with vectors.
    settings : n, λx, ε.
    seed : the run's.
    shards : of the base.
    recall : below 1 the base is joined with itself by lists, where all of it is among the queries.
    """

    def __init__(
        self,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        queries: Sequence[VectorDataset],
        settings: Affinity,
        seed: int,
        shards: int,
        recall: float = 1.0,
    ) -> None:
        super().__init__()
        self._by_lists = recall < 1 and joins_itself(base, queries)
        self._recall = recall
        self._fs, self._base, self._queries = fs, tuple(base), tuple(queries)
        self._settings, self._seed, self._shards = settings, seed, shards

    def expand(self, begin: beam.pvalue.PBegin) -> FoundNeighbours:
        return self.found(begin)

    def found(self, begin: beam.pvalue.PBegin) -> FoundNeighbours:
        """The same as steps of the transform that asks for it."""
        n, shards = self._settings.n, self._shards
        sample = (
            begin
            | "list base parts" >> beam.Create(list(_parts(self._base)), reshuffle=False)
            | "spread base parts" >> beam.Reshuffle()
            | "hash ids" >> beam.Map(_smallest_of_part, self._fs, self._base, self._seed)
            | "smallest hashes" >> beam.CombineGlobally(_SmallestHashes(self._seed))
        )
        median = (
            begin
            | "join sample"
            >> KnnJoin(self._fs, self._base, self._base, n, shards, only=beam.pvalue.AsSingleton(sample))
            | "take distances" >> beam.Map(lambda found: (0, found[1].distances))
            | "gather distances" >> beam.GroupByKey()
            | "median" >> beam.Map(_median)
        )
        radius = beam.pvalue.AsSingleton(median | "radius" >> beam.Map(_radius, self._settings))
        what = self._fs, self._base, self._queries, n, shards
        if self._by_lists:
            found = begin | "join" >> ApproximateKnnJoin(*what, self._recall, self._seed, radius=radius)
            return FoundNeighbours(found.neighbours, median, found.measured)
        return FoundNeighbours(begin | "join" >> KnnJoin(*what, radius=radius), median, None)


class NeighbourAffinity(beam.PTransform):
    """PBegin → the neighbours of the queries by part, and m; whoever writes a part weighs its blocks one by one.

    Parameters
    ----------
    fs, base, queries, seed, shards, recall : as `FindNeighbours` has them; the base has labels.
    labels : Y.
    settings : the kind, and n, λx, λy, mode.
    model : directory and description of the model whose V labels are compared by; None where they are not.
    """

    def __init__(
        self,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        queries: Sequence[VectorDataset],
        labels: int,
        settings: Affinity,
        seed: int,
        shards: int,
        recall: float = 1.0,
        model: tuple[str, ModelFile] | None = None,
    ) -> None:
        super().__init__()
        self._find = FindNeighbours(fs, base, queries, settings, seed, shards, recall)
        self._weigher, self._queries = Weigher(fs, base, labels, settings, model), tuple(queries)

    def expand(self, begin: beam.pvalue.PBegin) -> NeighbourParts:
        found = self._find.found(begin)
        by_part = found.blocks | "key by part" >> beam.MapTuple(lambda key, near: (key[:2], (key[2], near)))
        parts = (by_part, every_part(begin, self._queries)) | "with empty parts" >> beam.Flatten()
        return NeighbourParts(parts | "gather part" >> beam.GroupByKey(), found.median, found.measured, self._weigher)


def every_part(begin: beam.pvalue.PBegin, queries: Sequence[VectorDataset]) -> beam.PCollection:
    """((dataset, part), None): a part without rows has no neighbours, and has to be written all the same."""
    names = [(key, None) for key in _parts(queries)]
    return begin | "list query parts" >> beam.Create(names, reshuffle=False)


def _parts(datasets: Sequence[VectorDataset]) -> Iterator[tuple[int, int]]:
    """(dataset, part) of every part."""
    for position, dataset in enumerate(datasets):
        for index in range(len(dataset.manifest.parts)):
            yield position, index


def _smallest_of_part(
    part: tuple[int, int], fs: FileSystem, base: Sequence[VectorDataset], seed: int
) -> NDArray[np.int64]:
    position, index = part
    dataset = base[position]
    with PartReader(fs, dataset.directory, dataset.manifest.parts[index]) as reader:
        ids = [convert.integers(reader.block(b, ["id"]), "id", reader.where(b)) for b in range(reader.blocks)]
    joined = np.concatenate([np.zeros(0, np.int64), *ids])
    return joined[beside_neighbours.smallest_hashes(seed, joined)]


class _SmallestHashes(beam.CombineFn):
    """The ids with the smallest hashes, in increasing order."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def create_accumulator(self) -> NDArray[np.int64]:
        return np.zeros(0, np.int64)

    def add_input(self, accumulator: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.merge_accumulators([accumulator, ids])

    def merge_accumulators(self, accumulators: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
        joined = np.concatenate(list(accumulators))
        return joined[beside_neighbours.smallest_hashes(self._seed, joined)]

    def extract_output(self, accumulator: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.sort(accumulator)


def _median(gathered: tuple[int, Iterable[NDArray[np.float64]]]) -> float:
    try:
        return beside_neighbours.median_distance(np.concatenate([distances.ravel() for distances in gathered[1]]))
    except ValueError as error:
        raise DataError(str(error)) from error


def _radius(median: float, settings: Affinity) -> float:
    return beside_neighbours.radius(settings.epsilon, settings.n, settings.lambda_x / median)


def weigher_bytes(base: Sequence[VectorDataset], queries: Sequence[VectorDataset], n: int) -> int:
    """What a worker holds: the neighbours of a part, and the label lists of the base while they are made.

    Of a row's labels five are counted: how many there are stands in no manifest.
    """
    part = max((part.rows for dataset in queries for part in dataset.manifest.parts), default=0)
    return 16 * n * part + 4 * (16 + 4 * 5) * sum(dataset.manifest.rows for dataset in base)


class Weigher:
    """From neighbours to G on the worker that needs it: a block at a time, nothing of it crosses a shuffle.

    Near labels, where the kind asks for them, are found once a process: Y² distances.

    Parameters
    ----------
    base : with labels, of all rows that may be neighbours.
    labels : Y.
    settings, model : as `NeighbourAffinity` has them.
    """

    def __init__(
        self,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        labels: int,
        settings: Affinity,
        model: tuple[str, ModelFile] | None,
    ) -> None:
        self._fs, self._base, self._settings, self._model = fs, tuple(base), settings, model
        self.labels = labels

    def blocks(
        self, found: Iterable[tuple[int, Neighbours] | None], median: float
    ) -> Iterator[tuple[int, sp.csr_matrix]]:
        """(block, G as CSR [rows, Y]) of a part, blocks in order."""
        files = _TABLES.get(
            tuple(dataset.fingerprint for dataset in self._base),
            lambda: _LabelFiles(self._fs, self._base, self.labels),
        )
        settings = self._settings
        weigher = NeighbourWeigher(self._member(), files.table, settings.lambda_x / median, settings.epsilon)
        for block, neighbours in sorted((item for item in found if item), key=lambda item: item[0]):
            with counters.kernel("weigh"):
                weights = weigher.of(neighbours)
            counters.count("query_blocks")
            counters.count("candidates", weights.nnz)
            yield block, weights

    def facts(self, median: float) -> dict[str, float]:
        """The medians that λx and λy count in."""
        near = self._near_labels()
        return {"median": median, **({"median_y": near.median} if near else {})}

    def _member(self) -> FromNeighbours:
        settings = self._settings
        return from_neighbours(settings.kind, settings.mode, settings.lambda_y, self._near_labels())

    def _near_labels(self) -> NearLabels | None:
        """Raises DataError where the labels' embeddings give λy no unit."""
        if self._model is None:
            return None
        directory, described = self._model

        def find() -> NearLabels:
            try:
                return NearLabels.of(load_model(self._fs, directory, described).V, self._settings.near_labels)
            except ValueError as error:
                raise DataError(f"{directory}: {error}") from error

        return _NEAR_LABELS.get((described.fingerprint, self._settings.near_labels), find)


class _LabelFiles:
    """The labels of the base by id, as files of this worker's scratch that are mapped into memory.

    The folder is removed when this object is no longer used, at the latest with the process.
    """

    def __init__(self, fs: FileSystem, base: Sequence[VectorDataset], labels: int) -> None:
        ids, indptrs, indices = [], [np.zeros(1, np.int64)], []
        total = 0
        for dataset in base:
            for part in dataset.manifest.parts:
                with PartReader(fs, dataset.directory, part) as reader:
                    for block in range(reader.blocks):
                        table, where = reader.block(block, ["id", "labels"]), reader.where(block)
                        lists = convert.lists(table, "labels", labels, where)
                        ids.append(convert.integers(table, "id", where))
                        indptrs.append(lists.indptr[1:].astype(np.int64) + total)
                        indices.append(lists.indices)
                        total += lists.nnz
        joined = np.concatenate([np.zeros(0, np.int64), *ids])
        entries, offsets = np.concatenate([np.zeros(0, np.int32), *indices]), np.concatenate(indptrs)
        del ids, indices, indptrs
        lists = sp.csr_matrix((np.ones(total, np.int8), entries, offsets), shape=(len(joined), labels))
        try:
            in_memory = LabelsById.of(joined, lists)
        except ValueError as error:
            raise DataError(f"{', '.join(d.directory for d in base)}: {error}; remove the repeated row") from error
        self._folder = tempfile.TemporaryDirectory(prefix="awe-labels-")
        self.table = LabelsById(
            self._mapped("ids", in_memory.ids),
            self._mapped("indptr", in_memory.indptr),
            self._mapped("indices", in_memory.indices),
            labels,
        )

    def _mapped(self, name: str, array: np.ndarray) -> np.ndarray:
        path = Path(self._folder.name) / name
        array.tofile(path)
        return np.memmap(path, array.dtype, "r", shape=array.shape) if len(array) else array

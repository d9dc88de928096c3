"""Annotate: the k best labels of every example by every method, as a Beam job.

    examples/S, model-0                          →  predictions-0/{popularity, knn, ridge, …, wsabie}/S
    reweighted-T/S, model-T, model-(T−1)         →  predictions-T/{knn-embedding, gxf, awe}/S
    examples/S, model-T                          →  predictions-T/awe/S, if the affinity was learnt with U and V

One task is one part under one method. A worker process holds up to four models (U, V); a thread, one block of examples
and 128 MiB of scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from threadpoolctl import threadpool_limits

from awe_core import scoring
from awe_core.examples import Block
from awe_core.neighbour_space import width
from awe_core.neighbours import Neighbours
from pipelines.affinities.by_neighbours import NeighbourAffinity, Weigher, weigher_bytes
from pipelines.config import LINEAR, Affinity
from pipelines.datasets.dataset_writer import CommitDatasets, DatasetPlan
from pipelines.datasets.example_blocks import read_examples
from pipelines.datasets.labels import read_labels
from pipelines.datasets.models import gate_of, load_linear, load_model, model_bytes, model_file
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.jobs import counters
from pipelines.jobs.process_cache import ProcessCache
from pipelines.planning.join_plan import shards_of
from pipelines.planning.worker_memory import part_bytes, with_memory
from pipelines.run_directory import Lane
from pipelines.stage import Context, Cost, timed, write_cost
from schemas import convert, tables
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.manifest import Manifest, read_manifest, recipe_of
from schemas.model_file import ModelFile
from schemas.parts import Part, PartReader, PartWriter

VERSION = 2
_RANKERS = ProcessCache[scoring.Rank](4)
_SCORES_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Ranker:
    """A method with all that it ranks by: small descriptions here, tensors loaded on the worker.

    Attributes
    ----------
    method : its name in the tables.
    k : length of the lists.
    model_directory, model : U and V of the method (for `gxf` those of the iteration before).
    gate_model : of the iteration itself: s, b and c.
    labels_directory, labels : for the counts.
    dimension : d of the examples.
    """

    method: str
    k: int
    model_directory: str
    model: ModelFile
    gate_model: ModelFile
    labels_directory: str
    labels: Manifest
    dimension: int

    @property
    def key(self) -> tuple[str, ...]:
        """The same for the same tensors, whatever is ranked with them."""
        return (
            self.method,
            str(self.k),
            self.model.fingerprint,
            self.gate_model.fingerprint,
            self.labels.fingerprint,
        )

    @property
    def tensor_bytes(self) -> int:
        """Of the tensors that `load` takes."""
        if self.method in ("knn", "knn-embedding"):
            return 0
        if self.method in LINEAR:
            return 8 * self.dimension * self.labels.rows
        return model_bytes(self.model, self.dimension, self.labels.rows)

    def load(self, fs: FileSystem) -> scoring.Rank:
        """The ranking function, with its tensors."""
        if self.method in ("knn", "knn-embedding"):
            return scoring.rank_by_affinity(self.k)
        if self.method == "popularity":
            return scoring.rank_by_count(read_labels(fs, self.labels_directory, self.labels).counts, self.k)
        if self.method in LINEAR:
            linear = load_linear(fs, self.model_directory, self.model, self.method)
            return scoring.rank_by_scores(linear.scores, linear.weights.shape[1], self.k)
        model = load_model(fs, self.model_directory, self.model)
        if self.method == "wsabie" or model.joint is not None:
            return scoring.rank_by_model(model, self.k)
        same_offset = replace(model, offset=float(self.gate_model.facts["offset"]))
        return scoring.rank_by_gated_model(same_offset, gate_of(self.gate_model.facts), self.k)


@dataclass(frozen=True)
class AnnotateSplit:
    """One split under one method."""

    ranker: Ranker
    split: str
    source: VectorDataset
    plan: DatasetPlan


class Annotate(beam.PTransform):
    """PBegin → (directory, Manifest) of the predictions of some methods on some splits."""

    def __init__(
        self,
        fs: FileSystem,
        splits: Sequence[AnnotateSplit],
        base: Sequence[VectorDataset],
        affinity: Affinity,
        seed: int,
        shards: int,
    ) -> None:
        super().__init__()
        self._fs, self._base, self._affinity, self._seed, self._shards = fs, list(base), affinity, seed, shards
        self._splits = [split for split in splits if split.ranker.method != "knn"]
        self._by_neighbours = [split for split in splits if split.ranker.method == "knn"]

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        tasks = [(s, k) for s, split in enumerate(self._splits) for k in range(split.plan.parts)]
        ranked = [
            begin
            | "list parts" >> beam.Create(tasks, reshuffle=False)
            | "spread parts" >> beam.Reshuffle()  # the list is one bundle
            | "rank part" >> beam.ParDo(_RankPart(self._fs, self._splits))
        ]
        if self._by_neighbours:
            ranked.append(self._rank_by_neighbours(begin))
        plans = [split.plan for split in [*self._splits, *self._by_neighbours]]
        return ranked | "all methods" >> beam.Flatten() | "commit" >> CommitDatasets(self._fs, plans)

    def _rank_by_neighbours(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """The method `knn`: G by neighbours in the space of the features themselves."""
        affinity = begin | "neighbours in the input space" >> NeighbourAffinity(
            self._fs,
            self._base,
            [split.source for split in self._by_neighbours],
            int(self._base[0].manifest.facts["labels"]),
            self._affinity.as_knn(),
            self._seed,
            self._shards,
        )
        rank = _RankNeighbours(self._fs, self._by_neighbours, affinity.weigher)
        return affinity.parts | "weigh and rank part" >> beam.ParDo(rank, beam.pvalue.AsSingleton(affinity.median))


class _RankPart(beam.DoFn):
    def __init__(self, fs: FileSystem, splits: list[AnnotateSplit]) -> None:
        self._fs, self._splits = fs, splits

    def display_data(self) -> dict[str, Any]:
        rankers = [split.ranker for split in self._splits]
        methods = ", ".join(sorted({ranker.method for ranker in rankers}))
        return {"methods": methods, "k": max((ranker.k for ranker in rankers), default=0)}

    def setup(self) -> None:
        threadpool_limits(1)

    def process(self, task: tuple[int, int]) -> Iterator[tuple[str, Part]]:
        split, k = self._splits[task[0]], task[1]
        with PartReader(self._fs, split.source.directory, split.source.manifest.parts[k]) as reader:
            yield self._write_part(split, k, reader, self._read(split, reader))

    def _read(self, split: AnnotateSplit, reader: PartReader) -> Iterator[tuple[int, Block]]:
        for index in range(reader.blocks):
            yield index, read_examples(reader, index, split.source.manifest.facts)

    def _write_part(
        self, split: AnnotateSplit, k: int, reader: PartReader, blocks: Iterator[tuple[int, Block]]
    ) -> tuple[str, Part]:
        """Rank the blocks of a part and write them."""
        ranker = split.ranker
        rank = _RANKERS.get(ranker.key, lambda: ranker.load(self._fs))
        with PartWriter(self._fs, split.plan.directory, k, split.plan.schema) as writer:
            for index, block in blocks:
                with counters.kernel(f"rank {ranker.method} {split.split}"):
                    ranking = rank(block)
                columns = {"id": pa.array(block.ids)}
                if split.source.manifest.facts["key"]:
                    columns["key"] = reader.block(index, ["key"]).column("key").combine_chunks()
                columns["labels"] = convert.ragged_array(ranking.indptr, ranking.labels)
                columns["scores"] = convert.ragged_array(ranking.indptr, ranking.scores)
                writer.write(pa.table(columns))
                counters.count("rows_ranked", len(block))
        rows = split.source.manifest.parts[k].rows
        if writer.part.rows != rows:
            raise DataError(
                f"{split.plan.directory}, part {k}: {writer.part.rows} of {rows} rows came out of the join: the runner "
                "lost an element; run it again"
            )
        return split.plan.directory, writer.part


class _RankNeighbours(_RankPart):
    """Ranks by the affinities that the neighbours of a part give, a block at a time."""

    def __init__(self, fs: FileSystem, splits: list[AnnotateSplit], weigher: Weigher) -> None:
        super().__init__(fs, splits)
        self._weigher = weigher

    def process(  # type: ignore[override]
        self, gathered: tuple[tuple[int, int], Iterable[tuple[int, Neighbours] | None]], median: float
    ) -> Iterator[tuple[str, Part]]:
        (position, k), found = gathered
        split = self._splits[position]
        with PartReader(self._fs, split.source.directory, split.source.manifest.parts[k]) as reader:
            blocks = (
                (index, replace(read_examples(reader, index, split.source.manifest.facts), affinity=affinity))
                for index, affinity in self._weigher.blocks(found, median)
            )
            yield self._write_part(split, k, reader, blocks)


def plan_split(
    ranker: Ranker, split: str, source: VectorDataset, affinity: Affinity, directory: str, inputs: dict[str, str]
) -> AnnotateSplit:
    """What annotating a split by a method will write; `inputs` are the fingerprints of all that the method reads."""
    reads: dict[str, Any] = {"method": ranker.method, "k": ranker.k}
    if ranker.method == "knn":
        reads |= affinity.as_knn().reads()
    recipe = recipe_of("annotate", VERSION, reads, inputs)
    facts = {"labels": source.manifest.facts["labels"], "k": ranker.k}
    schema = tables.predictions(source.manifest.facts["key"])
    plan = DatasetPlan(directory, recipe, schema, len(source.manifest.parts), facts, inputs)
    return AnnotateSplit(ranker, split, source, plan)


def _splits(context: Context, lane: Lane, iteration: int, base: Sequence[VectorDataset]) -> list[AnnotateSplit]:
    fs, config = context.fs, context.config
    directory = lane.model(iteration)
    model = context.fresh(directory, model_file(fs, directory, iteration))
    labels = read_manifest(fs, context.run.labels, "ingest")
    planned = []
    for method in config.methods(iteration, base[0].manifest.facts):
        where, described = directory, model
        if method == "gxf":
            where = lane.model(iteration - 1)
            described = model_file(fs, where, iteration - 1)
        dimension = int(base[0].manifest.facts["dimension"])
        ranker = Ranker(method, config.evaluate.k, where, described, model, context.run.labels, labels, dimension)
        for split in lane.ranked:
            stored = iteration and config.affinity.joint is None
            source = lane.reweighted(iteration, split) if stored else context.run.examples(split)
            made_by = f"affinity --iteration={iteration}" if stored else "ingest"
            dataset = VectorDataset(source, context.fresh(source, read_manifest(fs, source, made_by)))
            read = [dataset, *base] if method == "knn" else [dataset]
            inputs = {context.short(one.directory): one.fingerprint for one in read}
            if method == "popularity":
                inputs[context.short(context.run.labels)] = labels.fingerprint
            elif method not in ("knn", "knn-embedding"):
                inputs |= {context.short(where): described.fingerprint, context.short(directory): model.fingerprint}
            predictions = lane.predictions(iteration, method, split)
            planned.append(plan_split(ranker, split, dataset, config.affinity, predictions, inputs))
    return planned


def _by_neighbours(splits: Sequence[AnnotateSplit]) -> list[VectorDataset]:
    return [split.source for split in splits if split.ranker.method == "knn"]


def build(
    pipeline: beam.Pipeline,
    context: Context,
    splits: Sequence[AnnotateSplit],
    base: Sequence[VectorDataset],
    cut: tuple[int, int],
) -> Any:
    """Wire the job; `cut` are the shards of knn's join and the bytes that a worker holds of them."""
    config, fs = context.config, context.fs
    shards, held = cut
    by_neighbours = _by_neighbours(splits)
    if by_neighbours:
        held += weigher_bytes(base, by_neighbours, config.affinity.n)
    held += _SCORES_BYTES + part_bytes(split.source.manifest for split in splits)
    held += sum(ranker.tensor_bytes for ranker in {split.ranker.key: split.ranker for split in splits}.values())
    transform = Annotate(fs, splits, base, config.affinity, config.run.seed, shards)
    return pipeline | "annotate" >> with_memory(transform, held)


def main(context: Context, lane: Lane, iteration: int) -> None:
    """Annotate the ranked splits of a lane by all methods of an iteration."""
    base = [VectorDataset(context.run.examples(split), context.examples(split)) for split in lane.fit]
    splits = _splits(context, lane, iteration, base)
    waiting = context.outdated(split.plan for split in splits)
    todo = [split for split in splits if split.plan in waiting]
    if not todo:
        return
    with timed(context.short(lane.predictions(iteration, "", ""))):
        queries, cut = _by_neighbours(todo), (1, 0)
        if queries:
            cut = shards_of(context.fs, base, queries, context.config.affinity, context.options)
        rows = sum(split.source.manifest.rows for split in todo)
        table = context.job(f"annotate-{iteration}", lambda pipeline: build(pipeline, context, todo, base, cut), rows)
    joined = sum(split.source.manifest.rows for split in todo if split.ranker.method == "knn")
    for split in todo:
        method, rows = split.ranker.method, split.source.manifest.rows
        microseconds = _microseconds(table, f"rank {method} {split.split}")
        if method == "knn":  # one search for all splits
            microseconds += _microseconds(table, "search") * rows / max(1, joined)
        reached = _reached_bytes(split.ranker, context.config.affinity if iteration else None, base)
        write_cost(context, lane, iteration, method, split.split, Cost(microseconds / 1e6, reached))


def _microseconds(table: Mapping[str, Any], kernel: str) -> float:
    return float(table.get(f"{kernel}_us", {"sum": 0})["sum"])


def _reached_bytes(ranker: Ranker, affinity: Affinity | None, base: Sequence[VectorDataset]) -> int:
    """Bytes that one query has to reach: the model, and what G is made of where an iteration has a G that is stored."""
    labels = ranker.labels.rows
    if ranker.method == "popularity":
        return 8 * labels
    if ranker.method == "knn":
        return _bytes_of(base)
    if ranker.method in LINEAR:
        return 4 * (ranker.dimension + 1) * labels
    beside = 0
    if affinity is not None:
        D = int(ranker.model.facts["settings"]["D"])
        beside = _bytes_for_affinity(affinity, width(D, ranker.dimension, affinity.input_weight), base)
    return model_bytes(ranker.model, ranker.dimension, labels) + beside


def _bytes_for_affinity(affinity: Affinity, coordinates: int, base: Sequence[VectorDataset]) -> int:
    """Bytes of the base where its neighbours are looked for, or of a centroid and the labels of every leaf."""
    rows = sum(dataset.manifest.rows for dataset in base)
    if affinity.stored is None:
        return 0
    if not affinity.embedded:
        return _bytes_of(base)
    if not affinity.by_neighbours:
        return 4 * (coordinates + affinity.leaf_labels) * math.ceil(rows / affinity.leaf_rows)
    return 4 * coordinates * rows


def _bytes_of(datasets: Sequence[VectorDataset]) -> int:
    return sum(part.bytes for dataset in datasets for part in dataset.manifest.parts)

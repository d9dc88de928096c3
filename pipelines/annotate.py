"""Annotate: the k best labels of every example by every method, as a Beam job.

    examples/S, model-0                          →  predictions-0/{popularity, knn, ridge, wsabie}/S
    reweighted-T/S, model-T, model-(T−1)         →  predictions-T/{knn-embedding, gxf, awe}/S

One task is one part under one method. A worker process holds up to four models (U, V); a thread, one block of examples
and 64 MiB of scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from awe_core import scoring
from pipelines import counters
from pipelines.config import Affinity
from pipelines.dataset_writer import CommitDatasets, DatasetPlan
from pipelines.example_blocks import read_examples
from pipelines.knn_join import VectorDataset
from pipelines.labels import read_labels
from pipelines.models import gate_of, load_model, load_ridge, model_file
from pipelines.neighbour_affinity import NeighbourAffinity
from pipelines.process_cache import ProcessCache
from pipelines.run_directory import Lane
from pipelines.stage import Context, timed, write_seconds
from schemas import convert, tables
from schemas.filesystem import FileSystem
from schemas.manifest import Manifest, read_manifest, recipe_of
from schemas.model_file import ModelFile
from schemas.parts import Part, PartReader, PartWriter

VERSION = 1
_RANKERS = ProcessCache(4)


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
    """

    method: str
    k: int
    model_directory: str
    model: ModelFile
    gate_model: ModelFile
    labels_directory: str
    labels: Manifest

    def load(self, fs: FileSystem) -> scoring.Rank:
        """The ranking function, with its tensors."""
        if self.method in ("knn", "knn-embedding"):
            return scoring.rank_by_affinity(self.k)
        if self.method == "popularity":
            return scoring.rank_by_count(read_labels(fs, self.labels_directory, self.labels).counts, self.k)
        if self.method == "ridge":
            ridge = load_ridge(fs, self.model_directory, self.model)
            return scoring.rank_by_scores(ridge.scores, ridge.weights.shape[1], self.k)
        model = load_model(fs, self.model_directory, self.model)
        if self.method == "wsabie":
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
        block_rows: int,
        seed: int,
    ) -> None:
        super().__init__()
        self._fs, self._splits, self._base = fs, list(splits), list(base)
        self._affinity, self._block_rows, self._seed = affinity, block_rows, seed

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        by_neighbours = [s for s, split in enumerate(self._splits) if split.ranker.method == "knn"]
        tasks = [
            (s, k, None)
            for s, split in enumerate(self._splits)
            if s not in by_neighbours
            for k in range(split.plan.parts)
        ]
        parts = begin | "list parts" >> beam.Create(tasks, reshuffle=False)
        found = [parts | "spread parts" >> beam.Reshuffle()]  # the list is one bundle
        if by_neighbours:
            found.append(self._neighbours(begin, by_neighbours))
        return (
            found
            | "all methods" >> beam.Flatten()
            | "rank part" >> beam.ParDo(_RankPart(self._fs, self._splits))
            | "commit" >> CommitDatasets(self._fs, [split.plan for split in self._splits])
        )

    def _neighbours(self, begin: beam.pvalue.PBegin, positions: list[int]) -> beam.PCollection:
        """G by neighbours in the space of the features themselves, for the method `knn`."""
        affinity = begin | "neighbours in the input space" >> NeighbourAffinity(
            self._fs,
            self._base,
            [self._splits[s].source for s in positions],
            int(self._base[0].manifest.facts["labels"]),
            self._affinity,
            self._block_rows,
            self._seed,
        )
        return affinity.blocks | "as tasks" >> beam.MapTuple(lambda key, blocks: (positions[key[0]], key[1], blocks))


class _RankPart(beam.DoFn):
    def __init__(self, fs: FileSystem, splits: list[AnnotateSplit]) -> None:
        self._fs, self._splits = fs, splits

    def setup(self) -> None:
        threadpool_limits(1)

    def process(self, task: tuple[int, int, list[tuple[int, sp.csr_matrix]] | None]) -> Iterator[tuple[str, Part]]:
        position, k, affinities = task
        split = self._splits[position]
        ranker, source = split.ranker, split.source
        rank = _RANKERS.get(ranker.method + split.plan.recipe, lambda: ranker.load(self._fs))
        weights = dict(affinities or [])
        with (
            PartReader(self._fs, source.directory, source.manifest.parts[k]) as reader,
            PartWriter(self._fs, split.plan.directory, k, split.plan.schema) as writer,
        ):
            for index in range(reader.blocks):
                block = read_examples(reader, index, source.manifest.facts)
                if affinities is not None:
                    block = replace(block, affinity=weights[index])
                with counters.kernel(f"rank {ranker.method} {split.split}"):
                    ranking = rank(block)
                columns = {"id": pa.array(block.ids)}
                if source.manifest.facts["key"]:
                    columns["key"] = reader.block(index, ["key"]).column("key").combine_chunks()
                columns["labels"] = convert.ragged_array(ranking.indptr, ranking.labels)
                columns["scores"] = convert.ragged_array(ranking.indptr, ranking.scores)
                writer.write(pa.table(columns))
                counters.count("rows_ranked", len(block))
        assert writer.part is not None
        yield split.plan.directory, writer.part


def plan_split(
    ranker: Ranker, split: str, source: VectorDataset, affinity: Affinity, directory: str, inputs: dict[str, str]
) -> AnnotateSplit:
    """What annotating a split by a method will write; `inputs` are the fingerprints of all that the method reads."""
    reads: dict[str, Any] = {"method": ranker.method, "k": ranker.k}
    if ranker.method == "knn":
        reads |= affinity.model_dump(include={"n", "lambda_x", "mode"})
    recipe = recipe_of("annotate", VERSION, reads, inputs)
    facts = {"labels": source.manifest.facts["labels"], "k": ranker.k}
    schema = tables.predictions(source.manifest.facts["key"])
    plan = DatasetPlan(directory, recipe, schema, len(source.manifest.parts), facts, inputs)
    return AnnotateSplit(ranker, split, source, plan)


def _splits(context: Context, lane: Lane, iteration: int, base: Sequence[VectorDataset]) -> list[AnnotateSplit]:
    fs, config = context.fs, context.config
    one_hot = bool(base[0].manifest.facts["one_hot"])
    directory = lane.model(iteration)
    model = context.fresh(directory, model_file(fs, directory, iteration))
    labels = read_manifest(fs, context.run.labels, "ingest")
    planned = []
    for method in config.methods(iteration, one_hot):
        where, described = directory, model
        if method == "gxf":
            where = lane.model(iteration - 1)
            described = model_file(fs, where, iteration - 1)
        ranker = Ranker(method, config.evaluate.k, where, described, model, context.run.labels, labels)
        for split in lane.ranked:
            source = lane.reweighted(iteration, split) if iteration else context.run.examples(split)
            made_by = f"affinity --iteration={iteration}" if iteration else "ingest"
            dataset = VectorDataset(source, context.fresh(source, read_manifest(fs, source, made_by)))
            read = [dataset, *base] if method == "knn" else [dataset]
            inputs = {context.short(one.directory): one.manifest.fingerprint for one in read}
            if method == "popularity":
                inputs[context.short(context.run.labels)] = labels.fingerprint
            elif method not in ("knn", "knn-embedding"):
                inputs |= {context.short(where): described.fingerprint, context.short(directory): model.fingerprint}
            predictions = lane.predictions(iteration, method, split)
            planned.append(plan_split(ranker, split, dataset, config.affinity, predictions, inputs))
    return planned


def build(
    pipeline: beam.Pipeline, context: Context, splits: Sequence[AnnotateSplit], base: Sequence[VectorDataset]
) -> Any:
    """Wire the job."""
    config = context.config
    transform = Annotate(context.fs, splits, base, config.affinity, config.data.block_rows, config.run.seed)
    return pipeline | "annotate" >> transform


def main(context: Context, lane: Lane, iteration: int) -> None:
    """Annotate the ranked splits of a lane by all methods of an iteration."""
    base = [VectorDataset(context.run.examples(split), context.examples(split)) for split in lane.fit]
    splits = _splits(context, lane, iteration, base)
    waiting = context.outdated(split.plan for split in splits)
    todo = [split for split in splits if split.plan in waiting]
    if not todo:
        return
    with timed(context.short(lane.predictions(iteration, "", ""))):
        table = context.job(f"annotate-{iteration}", lambda pipeline: build(pipeline, context, todo, base))
    for split in todo:
        milliseconds = table.get(f"rank {split.ranker.method} {split.split}_ms", {"sum": 0})["sum"]
        write_seconds(context, lane, iteration, split.ranker.method, split.split, milliseconds / 1000)

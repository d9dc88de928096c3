"""Affinity: G(x, y) of every example from the training examples near it, as a Beam job (the paper's MapReduce).

    embeddings-(T−1)/S, examples/S  →  reweighted-T/S

S are the splits of the lane; the base are those that it is fitted on. By `affinity.embedding` embeddings-0 stand in
place of embeddings-(T−1), by `affinity.kind = "rbf"` the examples themselves, and by `affinity.folds` the embeddings of
the folds for the splits that the lane is fitted on (`pipelines.folds.affinity`).

The join finds the neighbours and their labels are weighed; or a tree is made of the base, and its leaves have their
labels counted. Each part of the examples is written again with its candidates and their affinity: a training set that
stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
import scipy.sparse as sp

from awe_core.affinities.cluster import ClusterTree
from awe_core.knn.approximate import Measured
from awe_core.neighbours import Neighbours
from awe_core.rows import entry_positions, row_of_entry
from awe_core.weighing import ByLeaves
from pipelines.affinities.by_clusters import FindClusters
from pipelines.affinities.by_neighbours import NeighbourAffinity, Weigher, weigher_bytes
from pipelines.affinities.neighbour_space import refuse_other_weight
from pipelines.config import Affinity, Config
from pipelines.datasets.dataset_writer import CommitDatasets, DatasetPlan
from pipelines.datasets.example_blocks import same_ids
from pipelines.datasets.models import model_file
from pipelines.datasets.stored_dataset import StoredDataset
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.errors import ConfigError
from pipelines.folds.affinity import FoldNeighbours, FoldVectors, OfFold, weighed_by_fold
from pipelines.jobs import counters
from pipelines.join.approximate_join import recall_facts
from pipelines.planning.join_plan import shards_of
from pipelines.planning.worker_memory import part_bytes, with_memory
from pipelines.run_directory import Lane
from pipelines.stage import Context, features_facts, timed
from schemas import convert, tables
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.manifest import read_manifest, recipe_of
from schemas.model_file import ModelFile
from schemas.parts import Part, PartReader, PartWriter

VERSION = 2


@dataclass(frozen=True)
class AffinitySplit:
    """One split: its examples, the vectors that G is made of, and the reweighted examples to be written."""

    examples: StoredDataset
    vectors: VectorDataset
    plan: DatasetPlan


@dataclass(frozen=True)
class Source:
    """What the G of all splits is made of.

    Attributes
    ----------
    base : vectors with labels.
    labels : Y.
    model : directory and description of the model whose V labels are compared by; None where they are not.
    folds : what the G of the base's own rows is made of; none where that is the base.
    """

    base: Sequence[VectorDataset]
    labels: int
    model: tuple[str, ModelFile] | None = None
    folds: Sequence[FoldVectors] = ()


class Reweight(beam.PTransform):
    """PBegin → (directory, Manifest) of the reweighted examples of some splits, by neighbours."""

    def __init__(
        self, fs: FileSystem, source: Source, splits: Sequence[AffinitySplit], config: Config, shards: int
    ) -> None:
        super().__init__()
        self._fs, self._source, self._config, self._shards = fs, source, config, shards
        self._of_folds = [split for split in splits if source.folds and split.vectors in source.base]
        self._splits = [split for split in splits if split not in self._of_folds]

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        affinity = begin | "neighbours" >> NeighbourAffinity(
            self._fs,
            self._source.base,
            [split.vectors for split in self._splits],
            self._source.labels,
            self._config.affinity,
            self._config.run.seed,
            self._shards,
            self._config.affinity.recall,
            self._source.model,
        )
        written = affinity.parts | "weigh and write part" >> beam.ParDo(
            _WeighPart(self._fs, self._splits, affinity.weigher), beam.pvalue.AsSingleton(affinity.median)
        )
        found: dict[str, beam.pvalue.AsSideInput] = {}
        if affinity.measured is not None:
            found["measured"] = beam.pvalue.AsSingleton(affinity.measured)
        if self._of_folds:
            of_folds, found["fold_medians"] = self._written_by_fold(begin)
            written = (written, of_folds) | "all parts written" >> beam.Flatten()
        plans = [split.plan for split in (*self._splits, *self._of_folds)]
        fitted = [s.plan.directory for s in (*self._splits, *self._of_folds) if s.vectors in self._source.base]
        facts = affinity.median | "name facts" >> beam.Map(
            _late_facts, affinity.weigher, [plan.directory for plan in plans], fitted, **found
        )
        return written | "commit" >> CommitDatasets(self._fs, plans, late_facts=beam.pvalue.AsSingleton(facts))

    def _written_by_fold(self, begin: beam.pvalue.PBegin) -> tuple[beam.PCollection, beam.pvalue.AsSideInput]:
        """The parts whose rows have their neighbours in the other folds, and m by fold."""
        source, settings, seed = self._source, self._config.affinity, self._config.run.seed
        near = begin | "folds" >> FoldNeighbours(self._fs, source.folds, settings, seed, self._shards)
        medians = beam.pvalue.AsSingleton(near.medians)
        weighers = [Weigher(self._fs, source.base, source.labels, settings, fold.model) for fold in source.folds]
        write = _WeighPartByFold(self._fs, self._of_folds, weighers, seed)
        return near.parts | "weigh and write part by fold" >> beam.ParDo(write, medians), medians


class ReweightByLeaves(beam.PTransform):
    """PBegin → (directory, Manifest) of the reweighted examples of some splits, by the leaves of a tree."""

    def __init__(self, fs: FileSystem, source: Source, splits: Sequence[AffinitySplit], config: Config) -> None:
        super().__init__()
        self._fs, self._source, self._splits, self._config = fs, source, list(splits), config

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        settings, plans = self._config.affinity, [split.plan for split in self._splits]
        clusters = begin | "clusters" >> FindClusters(
            self._fs, self._source.base, self._source.labels, settings.leaf_rows, self._config.run.seed
        )
        sides = beam.pvalue.AsSingleton(clusters.tree), beam.pvalue.AsSingleton(clusters.counts)
        tasks = [(s, k) for s, plan in enumerate(plans) for k in range(plan.parts)]
        return (
            begin
            | "list parts" >> beam.Create(tasks, reshuffle=False)
            | "spread parts" >> beam.Reshuffle()  # the list is one bundle
            | "look up and write part"
            >> beam.ParDo(_LookUpPart(self._fs, self._splits, self._source.base, settings.leaf_labels), *sides)
            | "commit" >> CommitDatasets(self._fs, plans)
        )


def _late_facts(
    median: float,
    weigher: Weigher,
    directories: Sequence[str],
    fitted: Sequence[str],
    measured: Measured | None = None,
    fold_medians: Sequence[float] = (),
) -> dict[str, dict[str, Any]]:
    """What only the job finds out, by directory; the recall and the m of the folds are of the base's own rows."""
    of_base: dict[str, Any] = {} if measured is None else recall_facts(measured)
    if fold_medians:
        of_base["fold_medians"] = list(fold_medians)
    medians = weigher.facts(median)
    return {name: {**medians, **(of_base if name in fitted else {})} for name in directories}


class _WritePart(beam.DoFn):
    """Writes the parts of the reweighted examples, whatever their G is made of."""

    def __init__(self, fs: FileSystem, splits: list[AffinitySplit]) -> None:
        self._fs, self._splits = fs, splits

    def display_data(self) -> dict[str, Any]:
        manifests = [split.examples.manifest for split in self._splits]
        return {"rows": sum(one.rows for one in manifests), "labels": manifests[0].facts["labels"]}

    def _write(
        self, position: int, k: int, affinities: Callable[[PartReader], Iterator[tuple[int, sp.csr_matrix]]]
    ) -> tuple[str, Part]:
        """The part with the affinities of its blocks, which are made of the part of the vectors beside it."""
        split = self._splits[position]
        part = split.examples.manifest.parts[k]
        on_true: list[float] = []
        pairs = covered = 0
        with (
            PartReader(self._fs, split.examples.directory, part) as reader,
            PartReader(self._fs, split.vectors.directory, split.vectors.manifest.parts[k]) as vectors,
            PartWriter(self._fs, split.plan.directory, k, split.plan.schema) as writer,
        ):
            rows = reader.rows_of_block
            for index, affinity in affinities(vectors):
                table = reader.block(index)
                same_ids(table.column("id"), vectors.block(index, ["id"]).column("id"), vectors.where(index))
                truth = convert.lists(table, "labels", affinity.shape[1], reader.where(index))
                at = entry_positions(affinity, row_of_entry(truth), truth.indices)
                on_true += affinity.data[at[at >= 0]].tolist()
                pairs, covered = pairs + len(at), covered + int((at >= 0).sum())
                columns = {name: table.column(name) for name in table.column_names}
                columns["candidates"] = convert.list_array(affinity)
                columns["affinity"] = convert.value_array(affinity)
                writer.write(pa.table(columns))
                counters.count("rows_reweighted", rows[index])
        if writer.part.rows != part.rows:
            raise DataError(
                f"{split.plan.directory}, part {k}: {writer.part.rows} of {part.rows} rows came out of the join: the "
                "runner lost an element; run it again"
            )
        sums = {"affinity_on_true": math.fsum(on_true), "true_pairs": float(pairs), "covered_pairs": float(covered)}
        return split.plan.directory, Part(**{**writer.part.as_json(), "sums": sums})


class _WeighPart(_WritePart):
    """By the neighbours of the part's rows."""

    def __init__(self, fs: FileSystem, splits: list[AffinitySplit], weigher: Weigher) -> None:
        super().__init__(fs, splits)
        self._weigher = weigher

    def process(
        self, gathered: tuple[tuple[int, int], Iterable[tuple[int, Neighbours] | None]], median: float
    ) -> Iterator[tuple[str, Part]]:
        (position, k), found = gathered
        yield self._write(position, k, lambda _: self._weigher.blocks(found, median))


class _WeighPartByFold(_WritePart):
    """By the neighbours that the part's rows have in the other folds."""

    def __init__(self, fs: FileSystem, splits: list[AffinitySplit], weighers: Sequence[Weigher], seed: int) -> None:
        super().__init__(fs, splits)
        self._weighers, self._seed = list(weighers), seed

    def process(
        self, gathered: tuple[tuple[int, int], Iterable[OfFold | None]], medians: Sequence[float]
    ) -> Iterator[tuple[str, Part]]:
        (position, k), found = gathered
        vectors = self._splits[position].vectors
        yield self._write(
            position, k, lambda reader: weighed_by_fold(found, medians, self._weighers, vectors, reader, self._seed)
        )


class _LookUpPart(_WritePart):
    """By the leaves of the part's rows."""

    def __init__(
        self, fs: FileSystem, splits: list[AffinitySplit], base: Sequence[VectorDataset], leaf_labels: int
    ) -> None:
        super().__init__(fs, splits)
        self._base, self._leaf_labels = tuple(base), leaf_labels

    def process(self, task: tuple[int, int], tree: ClusterTree, counts: sp.csr_matrix) -> Iterator[tuple[str, Part]]:
        position, k = task
        dataset, leaves = self._splits[position].vectors, ByLeaves(tree, counts, self._leaf_labels)

        def affinities(reader: PartReader) -> Iterator[tuple[int, sp.csr_matrix]]:
            for block in range(reader.blocks):
                vectors, own = dataset.vectors(reader, block), None
                if dataset in self._base:
                    lists = reader.block(block, ["labels"])
                    own = convert.lists(lists, "labels", counts.shape[1], reader.where(block))
                with counters.kernel("look up"):
                    found = leaves.affinity(vectors, own)
                counters.count("candidates", found.nnz)
                yield block, found

        yield self._write(position, k, affinities)


def plan_split(
    settings: Affinity,
    seed: int,
    examples: StoredDataset,
    vectors: VectorDataset,
    directory: str,
    inputs: dict[str, str],
) -> AffinitySplit:
    """What reweighting a split will write; `inputs` are the fingerprints of all that its G is made of."""
    manifest = examples.manifest
    reads = {**settings.reads(), "seed": seed}
    facts = {**features_facts(manifest), **reads}
    if settings.by_neighbours:  # what recall was found stands there, where that was measured
        facts["recall_asked"] = facts.pop("recall")
    schema = tables.reweighted(manifest.facts["dimension"], manifest.facts["sparse"], manifest.facts["key"])
    recipe = recipe_of("affinity", VERSION, reads, inputs)
    plan = DatasetPlan(directory, recipe, schema, len(manifest.parts), facts, inputs)
    return AffinitySplit(examples, vectors, plan)


def build(
    pipeline: beam.Pipeline,
    context: Context,
    source: Source,
    splits: Sequence[AffinitySplit],
    cut: tuple[int, int],
) -> Any:
    """Wire the job; `cut` are the shards of a join and the bytes that a worker of it holds."""
    config, fs = context.config, context.fs
    examples = part_bytes(split.examples.manifest for split in splits)
    if not config.affinity.by_neighbours:
        return pipeline | "affinity" >> with_memory(ReweightByLeaves(fs, source, splits, config), examples)
    shards, join_bytes = cut
    held = weigher_bytes(source.base, [split.vectors for split in splits], config.affinity.n)
    transform = Reweight(fs, source, splits, config, shards)
    return pipeline | "affinity" >> with_memory(transform, join_bytes + held + examples)


def _vectors(context: Context, lane: Lane, iteration: int) -> dict[str, VectorDataset]:
    """What neighbours or leaves are looked for in, by split.

    Raises ConfigError where that is x, and x says nothing but who the user is.
    """
    if not context.config.affinity.embedded:
        if context.examples("train").facts["one_hot"]:
            raise ConfigError('affinity.kind = "rbf" does not go with this data: x names the user and nothing else')
        return {split: VectorDataset(context.run.examples(split), context.examples(split)) for split in lane.splits}
    of, found = context.config.affinity.source(iteration), {}
    for split in lane.splits:
        directory = lane.embeddings(of, split)
        manifest = read_manifest(context.fs, directory, f"embed --iteration={of}")
        refuse_other_weight(context, directory, manifest, f"embed --iteration={of}")
        found[split] = VectorDataset(directory, context.fresh(directory, manifest))
    return found


def _model(context: Context, lane: Lane, iteration: int) -> tuple[str, ModelFile] | None:
    """The model whose V labels are compared by."""
    if not context.config.affinity.compares_V:
        return None
    of = context.config.affinity.source(iteration)
    directory = lane.model(of)
    return directory, context.fresh(directory, model_file(context.fs, directory, of))


def _folds(context: Context, lane: Lane, iteration: int) -> list[FoldVectors]:
    """The folds, where there are any.

    Raises ConfigError where G is of another iteration than they are.
    """
    if context.config.folds and context.config.affinity.source(iteration):
        raise ConfigError(
            f"--iteration={iteration}: affinity.folds are of Wsabie's embedding; give --affinity.embedding=first"
        )

    def embedded(fold: int, own: bool) -> tuple[VectorDataset, ...]:
        directories = [lane.fold_embeddings(fold, split, own) for split in lane.fit]
        found = [context.fresh(name, read_manifest(context.fs, name, "embed --iteration=0")) for name in directories]
        for name, manifest in zip(directories, found, strict=True):
            refuse_other_weight(context, name, manifest, "embed --iteration=0")
        return tuple(VectorDataset(*named) for named in zip(directories, found, strict=True))

    by_V, folds = context.config.affinity.compares_V, []
    for fold in range(context.config.folds):
        directory = lane.fold_model(fold)
        model = (directory, context.fresh(directory, model_file(context.fs, directory, 0))) if by_V else None
        folds.append(FoldVectors(embedded(fold, own=True), embedded(fold, own=False), model))
    return folds


def main(context: Context, lane: Lane, iteration: int) -> None:
    """Reweight the splits of a lane for iteration T."""
    config, fs = context.config, context.fs
    vectors = _vectors(context, lane, iteration)
    base = [vectors[split] for split in lane.fit]
    labels = int(context.examples("train").facts["labels"])
    source = Source(base, labels, _model(context, lane, iteration), _folds(context, lane, iteration))
    of_folds = [one for fold in source.folds for one in (*fold.own, *fold.others)]
    splits = []
    for split in lane.splits:
        examples = StoredDataset(context.run.examples(split), context.examples(split))
        made_of = [examples, vectors[split], *base, *(of_folds if split in lane.fit else [])]
        inputs = {context.short(d.directory): d.fingerprint for d in made_of}
        if source.model:
            inputs[context.short(source.model[0])] = source.model[1].fingerprint
        where = lane.reweighted(iteration, split)
        splits.append(plan_split(config.affinity, config.run.seed, examples, vectors[split], where, inputs))
    waiting = context.outdated(split.plan for split in splits)
    todo = [split for split in splits if split.plan in waiting]
    if todo and source.folds:  # m of the model trained on all is found by the join of the other splits
        todo = splits
    if config.affinity.recall < 1 and any(split.vectors in base for split in todo):
        # By lists the base is joined as a whole, or what came out would depend on what stood there.
        todo = [split for split in splits if split in todo or split.vectors in base]
    if not todo:
        return
    with timed(context.short(lane.reweighted(iteration, ""))):
        cut = 1, 0
        if config.affinity.by_neighbours:
            queries = [split.vectors for split in todo if not source.folds or split.vectors not in base]
            cut = shards_of(fs, base, queries, config.affinity, context.options, config.affinity.recall)
        rows = sum(split.examples.manifest.rows for split in todo)
        context.job(f"affinity-{iteration}", lambda pipeline: build(pipeline, context, source, todo, cut), rows)

"""Affinity: G(x, y) of every example from its nearest neighbours, as a Beam job (the paper's MapReduce).

    embeddings-(T−1)/S, examples/S  →  reweighted-T/S

S are the splits of the lane; the base of the join are those that it is fitted on.

The join finds the neighbours, their labels are weighed, and each part of the examples is written again with its
candidates and their affinity: a training set that stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa

from awe_core.knn.approximate import Measured
from awe_core.neighbours import Neighbours
from awe_core.rows import entry_positions, row_of_entry
from pipelines import counters
from pipelines.approximate_join import recall_facts
from pipelines.config import Affinity, Config
from pipelines.dataset_writer import CommitDatasets, DatasetPlan
from pipelines.example_blocks import same_ids
from pipelines.join_plan import shards_of
from pipelines.neighbour_affinity import NeighbourAffinity, Weigher, weigher_bytes
from pipelines.run_directory import Lane
from pipelines.stage import Context, features_facts, timed
from pipelines.stored_dataset import StoredDataset
from pipelines.vector_dataset import VectorDataset
from pipelines.worker_memory import part_bytes, with_memory
from schemas import convert, tables
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.manifest import read_manifest, recipe_of
from schemas.parts import Part, PartReader, PartWriter

VERSION = 1


@dataclass(frozen=True)
class AffinitySplit:
    """One split: its examples and embeddings, and the reweighted examples to be written."""

    examples: StoredDataset
    embeddings: VectorDataset
    plan: DatasetPlan


class Reweight(beam.PTransform):
    """PBegin → (directory, Manifest) of the reweighted examples of some splits."""

    def __init__(
        self,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        splits: Sequence[AffinitySplit],
        labels: int,
        config: Config,
        shards: int,
    ) -> None:
        super().__init__()
        self._fs, self._base, self._splits = fs, list(base), list(splits)
        self._labels, self._config, self._shards = labels, config, shards

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        affinity = begin | "neighbours" >> NeighbourAffinity(
            self._fs,
            self._base,
            [split.embeddings for split in self._splits],
            self._labels,
            self._config.affinity,
            self._config.run.seed,
            self._shards,
            self._config.affinity.recall,
        )
        plans = [split.plan for split in self._splits]
        fitted = [split.plan.directory for split in self._splits if split.embeddings in self._base]
        measured = [] if affinity.measured is None else [beam.pvalue.AsSingleton(affinity.measured)]
        facts = affinity.median | "name facts" >> beam.Map(
            _late_facts, [plan.directory for plan in plans], fitted, *measured
        )
        return (
            affinity.parts
            | "weigh and write part"
            >> beam.ParDo(
                _WritePart(self._fs, self._splits, affinity.weigher), beam.pvalue.AsSingleton(affinity.median)
            )
            | "commit" >> CommitDatasets(self._fs, plans, late_facts=beam.pvalue.AsSingleton(facts))
        )


def _late_facts(
    median: float, directories: Sequence[str], fitted: Sequence[str], measured: Measured | None = None
) -> dict[str, dict[str, Any]]:
    """What only the job finds out, by directory; the recall is that of the splits that were joined by lists."""
    by_lists = {} if measured is None else recall_facts(measured)
    return {name: {"median": median, **(by_lists if name in fitted else {})} for name in directories}


class _WritePart(beam.DoFn):
    def __init__(self, fs: FileSystem, splits: list[AffinitySplit], weigher: Weigher) -> None:
        self._fs, self._splits, self._weigher = fs, splits, weigher

    def display_data(self) -> dict[str, Any]:
        manifests = [split.examples.manifest for split in self._splits]
        return {"rows": sum(one.rows for one in manifests), "labels": manifests[0].facts["labels"]}

    def process(
        self, gathered: tuple[tuple[int, int], Iterable[tuple[int, Neighbours] | None]], median: float
    ) -> Iterator[tuple[str, Part]]:
        (position, k), found = gathered
        split = self._splits[position]
        part = split.examples.manifest.parts[k]
        on_true: list[float] = []
        pairs = covered = 0
        with (
            PartReader(self._fs, split.examples.directory, part) as reader,
            PartReader(self._fs, split.embeddings.directory, split.embeddings.manifest.parts[k]) as embeddings,
            PartWriter(self._fs, split.plan.directory, k, split.plan.schema) as writer,
        ):
            rows = reader.rows_of_block
            for index, affinity in self._weigher.blocks(found, median):
                table = reader.block(index)
                same_ids(table.column("id"), embeddings.block(index, ["id"]).column("id"), embeddings.where(index))
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
        yield split.plan.directory, Part(**{**writer.part.as_json(), "sums": sums})


def plan_split(
    settings: Affinity,
    seed: int,
    examples: StoredDataset,
    embeddings: VectorDataset,
    directory: str,
    inputs: dict[str, str],
) -> AffinitySplit:
    """What reweighting a split will write; `inputs` are the fingerprints of examples, embeddings and base."""
    manifest = examples.manifest
    reads = {**settings.model_dump(include={"kind", "n", "lambda_x", "mode", "epsilon", "recall"}), "seed": seed}
    facts = {**features_facts(manifest), **reads, "recall_asked": reads["recall"]}
    del facts["recall"]  # what was found stands there, where that was measured
    schema = tables.reweighted(manifest.facts["dimension"], manifest.facts["sparse"], manifest.facts["key"])
    recipe = recipe_of("affinity", VERSION, reads, inputs)
    plan = DatasetPlan(directory, recipe, schema, len(manifest.parts), facts, inputs)
    return AffinitySplit(examples, embeddings, plan)


def build(
    pipeline: beam.Pipeline,
    fs: FileSystem,
    base: Sequence[VectorDataset],
    splits: Sequence[AffinitySplit],
    labels: int,
    config: Config,
    shards: int,
    join_bytes: int,
) -> Any:
    """Wire the job; `join_bytes` are those that a worker of the join holds."""
    queries = [split.embeddings for split in splits]
    examples = part_bytes(split.examples.manifest for split in splits)
    held = join_bytes + weigher_bytes(base, queries, config.affinity.n) + examples
    return pipeline | "affinity" >> with_memory(Reweight(fs, base, splits, labels, config, shards), held)


def main(context: Context, lane: Lane, iteration: int) -> None:
    """Reweight the splits of a lane for iteration T with the embeddings of iteration T − 1."""
    config, fs = context.config, context.fs
    embeddings = {}
    for split in lane.splits:
        directory = lane.embeddings(iteration - 1, split)
        manifest = read_manifest(fs, directory, f"embed --iteration={iteration - 1}")
        embeddings[split] = VectorDataset(directory, context.fresh(directory, manifest))
    base = [embeddings[split] for split in lane.fit]
    splits = []
    for split in lane.splits:
        examples = StoredDataset(context.run.examples(split), context.examples(split))
        inputs = {context.short(d.directory): d.fingerprint for d in [examples, embeddings[split], *base]}
        where = lane.reweighted(iteration, split)
        splits.append(plan_split(config.affinity, config.run.seed, examples, embeddings[split], where, inputs))
    waiting = context.outdated(split.plan for split in splits)
    todo = [split for split in splits if split.plan in waiting]
    if config.affinity.recall < 1 and any(split.embeddings in base for split in todo):
        # By lists the base is joined as a whole, or what came out would depend on what stood there.
        todo = [split for split in splits if split in todo or split.embeddings in base]
    if todo:
        labels = int(todo[0].examples.manifest.facts["labels"])
        with timed(context.short(lane.reweighted(iteration, ""))):
            queries = [split.embeddings for split in todo]
            cut = shards_of(fs, base, queries, config.affinity, context.options, config.affinity.recall)
            name = f"affinity-{iteration}"
            context.job(name, lambda pipeline: build(pipeline, fs, base, todo, labels, config, *cut))

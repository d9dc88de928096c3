"""Embed: Ux for every example, or φ(x), which has x beside it (`awe_core.neighbour_space`), as a Beam job.

    examples/S, model-T  →  embeddings-T/S        (S: the splits of the lane)

One task a part; a worker reads a part block by block, multiplies and writes, so it holds U and one block,
twice in Ux (4 · D bytes a row, or 4 · (D + d)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from threadpoolctl import threadpool_limits

from awe_core.model import Model
from pipelines.affinities.neighbour_space import facts_of, input_scale, keys_of, scaled, space_of
from pipelines.config import Config
from pipelines.datasets.dataset_writer import CommitDatasets, DatasetPlan
from pipelines.datasets.example_blocks import read_examples
from pipelines.datasets.models import load_model, model_bytes, model_file
from pipelines.datasets.stored_dataset import StoredDataset
from pipelines.folds.embeddings import embed_folds
from pipelines.jobs import counters
from pipelines.jobs.process_cache import ProcessCache
from pipelines.planning.worker_memory import part_bytes, with_memory
from pipelines.run_directory import Lane
from pipelines.stage import Context, timed
from schemas import convert, tables
from schemas.filesystem import FileSystem
from schemas.manifest import recipe_of
from schemas.model_file import ModelFile
from schemas.parts import Part, PartReader, PartWriter

VERSION = 1
_MODELS = ProcessCache[Model](1)


@dataclass(frozen=True)
class EmbedSplit:
    """One split: its examples, and the embeddings to be written."""

    examples: StoredDataset
    plan: DatasetPlan


def plan_split(
    config: Config, examples: StoredDataset, embeddings: str, model: ModelFile, inputs: dict[str, str]
) -> EmbedSplit:
    """What embedding a split will write; `inputs` are the fingerprints of examples and model."""
    manifest, facts = examples.manifest, facts_of(config, examples.manifest, model)
    recipe = recipe_of("embed", VERSION, keys_of(config), inputs)
    schema = tables.embeddings(facts["dimension"])
    plan = DatasetPlan(embeddings, recipe, schema, len(manifest.parts), facts, inputs)
    return EmbedSplit(examples, plan)


class Embed(beam.PTransform):
    """PBegin → (directory, Manifest) of the embeddings of some splits."""

    def __init__(self, fs: FileSystem, splits: Sequence[EmbedSplit], model_directory: str, model: ModelFile) -> None:
        super().__init__()
        self._fs, self._splits, self._directory, self._model = fs, list(splits), model_directory, model

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        tasks = [(s, k) for s, split in enumerate(self._splits) for k in range(split.plan.parts)]
        return (
            begin
            | "list parts" >> beam.Create(tasks, reshuffle=False)
            | "spread parts" >> beam.Reshuffle()  # the list is one bundle
            | "embed part" >> beam.ParDo(_EmbedPart(self._fs, self._splits, self._directory, self._model))
            | "commit" >> CommitDatasets(self._fs, [split.plan for split in self._splits])
        )


class _EmbedPart(beam.DoFn):
    def __init__(self, fs: FileSystem, splits: list[EmbedSplit], directory: str, model: ModelFile) -> None:
        self._fs, self._splits, self._directory, self._described = fs, splits, directory, model

    def display_data(self) -> dict[str, Any]:
        rows = sum(split.examples.manifest.rows for split in self._splits)
        return {"rows": rows, "D": self._described.facts["settings"]["D"]}

    def setup(self) -> None:
        threadpool_limits(1)
        model = _MODELS.get(self._described.fingerprint, lambda: load_model(self._fs, self._directory, self._described))
        self._spaces = [space_of(model, split.plan.facts) for split in self._splits]

    def process(self, task: tuple[int, int]) -> Iterator[tuple[str, Part]]:
        split, space, k = self._splits[task[0]], self._spaces[task[0]], task[1]
        manifest = split.examples.manifest
        with (
            PartReader(self._fs, split.examples.directory, manifest.parts[k]) as reader,
            PartWriter(self._fs, split.plan.directory, k, split.plan.schema) as writer,
        ):
            for index in range(reader.blocks):
                block = read_examples(reader, index, manifest.facts)
                with counters.kernel("embed"):
                    embedding = space.embed(block.features)
                columns = {
                    "id": pa.array(block.ids),
                    "embedding": convert.vector_array(embedding),
                    "labels": convert.list_array(block.labels),
                }
                writer.write(pa.table(columns))
                counters.count("rows_embedded", len(block))
        yield split.plan.directory, writer.part


def build(
    pipeline: beam.Pipeline, fs: FileSystem, splits: Sequence[EmbedSplit], directory: str, model: ModelFile
) -> Any:
    """Wire the job."""
    manifests = [split.examples.manifest for split in splits]
    facts = manifests[0].facts
    held = model_bytes(model, facts["dimension"], facts["labels"]) + part_bytes(manifests)
    vectors = splits[0].plan.facts
    held += 2 * 4 * vectors["dimension"] * vectors["block_rows"]
    return pipeline | "embed" >> with_memory(Embed(fs, splits, directory, model), held)


def main(context: Context, lane: Lane, iteration: int) -> None:
    """Embed the splits of a lane with model-T; with Wsabie those it is fitted on by the models of its folds too."""
    directory = lane.model(iteration)
    model = context.fresh(directory, model_file(context.fs, directory, iteration))
    splits = []
    for split in lane.splits:
        examples = StoredDataset(context.run.examples(split), context.examples(split))
        inputs = {context.short(examples.directory): examples.fingerprint, context.short(directory): model.fingerprint}
        splits.append(plan_split(context.config, examples, lane.embeddings(iteration, split), model, inputs))
    waiting = context.outdated(split.plan for split in splits)
    todo = [split for split in splits if split.plan in waiting]
    if todo:
        todo = [replace(split, plan=scaled(split.plan, input_scale(context, directory, model))) for split in todo]
        rows = sum(split.examples.manifest.rows for split in todo)
        with timed(context.short(lane.embeddings(iteration, ""))):
            context.job(
                f"embed-{iteration}", lambda pipeline: build(pipeline, context.fs, todo, directory, model), rows
            )
    if iteration == 0 and context.config.folds:
        embed_folds(context, lane)

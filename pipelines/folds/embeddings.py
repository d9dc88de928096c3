"""The training examples as the models of the folds embed them, as a Beam job.

    examples of the lane's fit, folds/K/model-0  →  folds/K/embeddings-0/S/own, folds/K/embeddings-0/S/others

`own` are the rows of fold K, which its model has not seen, `others` the rows that it was trained on: the two sides of
the join that their G is made of. One task a part: it is read once and embedded by all models, which a worker holds
together, with the embeddings of the part by all of them. Parts are those of the examples, each side's rows in the order
they have there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.arrangement import block_slices
from awe_core.examples import Block
from awe_core.folds import fold_of
from awe_core.model import Model
from pipelines.affinities.neighbour_space import facts_of, input_scale, keys_of, scaled, space_of
from pipelines.datasets.dataset_writer import CommitDatasets, DatasetPlan
from pipelines.datasets.example_blocks import read_examples
from pipelines.datasets.models import load_model, model_bytes, model_file
from pipelines.datasets.stored_dataset import StoredDataset
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
_MODELS = ProcessCache[list[Model]](1)


@dataclass(frozen=True)
class FoldModels:
    """The models of all folds, by fold: their directories and what model.json says there."""

    directories: tuple[str, ...]
    models: tuple[ModelFile, ...]
    seed: int

    def load(self, fs: FileSystem) -> list[Model]:
        """All of them."""
        return [load_model(fs, *named) for named in zip(self.directories, self.models, strict=True)]

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(model.fingerprint for model in self.models)


@dataclass(frozen=True)
class FoldSplit:
    """One split: its examples, and by fold the embeddings of its own rows and of the others."""

    examples: StoredDataset
    plans: tuple[tuple[DatasetPlan, DatasetPlan], ...]


class EmbedFolds(beam.PTransform):
    """PBegin → (directory, Manifest) of the embeddings of some splits by the models of all folds."""

    def __init__(self, fs: FileSystem, splits: Sequence[FoldSplit], models: FoldModels) -> None:
        super().__init__()
        self._fs, self._splits, self._models = fs, list(splits), models

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        tasks = [(s, k) for s, split in enumerate(self._splits) for k in range(len(split.examples.manifest.parts))]
        plans = [plan for split in self._splits for pair in split.plans for plan in pair]
        return (
            begin
            | "list parts" >> beam.Create(tasks, reshuffle=False)
            | "spread parts" >> beam.Reshuffle()  # the list is one bundle
            | "embed part" >> beam.ParDo(_EmbedPart(self._fs, self._splits, self._models))
            | "commit" >> CommitDatasets(self._fs, plans)
        )


@dataclass(frozen=True)
class _Rows:
    """Rows of a part by the model of a fold."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    labels: sp.csr_matrix


class _EmbedPart(beam.DoFn):
    def __init__(self, fs: FileSystem, splits: list[FoldSplit], models: FoldModels) -> None:
        self._fs, self._splits, self._models = fs, splits, models

    def setup(self) -> None:
        threadpool_limits(1)
        self._loaded = _MODELS.get(self._models.key, lambda: self._models.load(self._fs))

    def process(self, task: tuple[int, int]) -> Iterator[tuple[str, Part]]:
        split, k = self._splits[task[0]], task[1]
        examples = split.examples.manifest
        with PartReader(self._fs, split.examples.directory, examples.parts[k]) as reader:
            blocks = [read_examples(reader, index, examples.facts) for index in range(reader.blocks)]
        folds = [fold_of(self._models.seed, block.ids, len(self._loaded)) for block in blocks]
        for fold, (model, plans) in enumerate(zip(self._loaded, split.plans, strict=True)):
            space = space_of(model, plans[0].facts)
            with counters.kernel("embed"):  # products have the shape of the examples' blocks
                vectors = [space.embed(block.features) for block in blocks]
            for plan, own in zip(plans, (True, False), strict=True):
                chosen = [np.flatnonzero((rows == fold) == own) for rows in folds]
                yield plan.directory, self._write(plan, k, _chosen(blocks, vectors, chosen))
        counters.count("rows_embedded", sum(map(len, blocks)))

    def _write(self, plan: DatasetPlan, k: int, rows: _Rows | None) -> Part:
        with PartWriter(self._fs, plan.directory, k, plan.schema) as writer:
            for these in block_slices(len(rows.ids), plan.facts["block_rows"]) if rows else []:
                assert rows is not None
                columns = {
                    "id": pa.array(rows.ids[these]),
                    "embedding": convert.vector_array(np.ascontiguousarray(rows.vectors[these])),
                    "labels": convert.list_array(rows.labels[these]),
                }
                writer.write(pa.table(columns))
        return writer.part


def _chosen(
    blocks: Sequence[Block], vectors: Sequence[NDArray[np.float32]], chosen: Sequence[NDArray[np.intp]]
) -> _Rows | None:
    """Some rows of every block, as one run; None where there is no block."""
    if not blocks:
        return None
    pairs = list(zip(blocks, chosen, strict=True))
    return _Rows(
        np.concatenate([block.ids[rows] for block, rows in pairs]),
        np.concatenate([embedding[rows] for embedding, rows in zip(vectors, chosen, strict=True)]),
        sp.vstack([block.labels[rows] for block, rows in pairs], format="csr"),
    )


def _plans(
    context: Context, lane: Lane, split: str, inputs: Mapping[str, str], model: ModelFile, fold: int
) -> tuple[DatasetPlan, DatasetPlan]:
    """Of the fold's own rows, and of the others."""
    manifest = context.examples(split)
    facts = facts_of(context.config, manifest, model)
    made = []
    for own in (True, False):
        reads = {"seed": context.config.run.seed, "fold": [fold, context.config.folds], "own": own}
        recipe = recipe_of("embed-fold", VERSION, {**reads, **keys_of(context.config)}, inputs)
        schema = tables.embeddings(facts["dimension"])
        directory = lane.fold_embeddings(fold, split, own)
        made.append(DatasetPlan(directory, recipe, schema, len(manifest.parts), facts, dict(inputs)))
    return made[0], made[1]


def _scaled(split: FoldSplit, scales: Sequence[float]) -> FoldSplit:
    """The split, whose embeddings say r by fold."""
    pairs = zip(split.plans, scales, strict=True)
    return replace(split, plans=tuple((scaled(own, r), scaled(others, r)) for (own, others), r in pairs))


def embed_folds(context: Context, lane: Lane) -> None:
    """Embed the splits that a lane is fitted on by the models of its folds, unless all of that stands there."""
    directories = tuple(lane.fold_model(fold) for fold in range(context.config.folds))
    described = tuple(context.fresh(one, model_file(context.fs, one, 0)) for one in directories)
    splits = []
    for name in lane.fit:
        examples, plans = StoredDataset(context.run.examples(name), context.examples(name)), []
        for fold, (directory, model) in enumerate(zip(directories, described, strict=True)):
            inputs = {context.short(examples.directory): examples.fingerprint}
            inputs[context.short(directory)] = model.fingerprint
            plans.append(_plans(context, lane, name, inputs, model, fold))
        splits.append(FoldSplit(examples, tuple(plans)))
    waiting = context.outdated(plan for split in splits for pair in split.plans for plan in pair)
    todo = [split for split in splits if any(plan in waiting for pair in split.plans for plan in pair)]
    if not todo:
        return
    scales = [input_scale(context, *named) for named in zip(directories, described, strict=True)]
    todo = [_scaled(split, scales) for split in todo]
    facts = todo[0].examples.manifest.facts
    held = sum(model_bytes(model, facts["dimension"], facts["labels"]) for model in described)
    held += (2 + len(described)) * part_bytes(split.examples.manifest for split in todo)
    if context.config.affinity.input_weight:  # sparse x is dense there: a part by one model, and what is chosen of it
        rows = max((part.rows for split in todo for part in split.examples.manifest.parts), default=0)
        held += 2 * 4 * todo[0].plans[0][0].facts["dimension"] * rows
    transform = with_memory(
        EmbedFolds(context.fs, todo, FoldModels(directories, described, context.config.run.seed)), held
    )
    with timed(context.short(f"{lane.root}/folds/*/embeddings-0")):
        context.job("embed-folds", lambda pipeline: pipeline | "embed folds" >> transform)

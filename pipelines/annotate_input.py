"""`awe annotate --input`: the k best labels of rows that were never in the run, and why, as a Beam job.

    raw files, model-T, model-(T−1), embeddings-(T−1)  →  OUTPUT

One task is one file, which becomes one part, rows in their order. A worker process holds the run once
(`pipelines.questions.loaded_run`) and a block of rows. Labels that files may have are not looked at. Every row is
annotated, or none: one that cannot be an example ends the job with its file and line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from threadpoolctl import threadpool_limits

from pipelines.config import Config, Data
from pipelines.datasets.dataset_writer import CommitDatasets, DatasetPlan, is_current, refuse_other
from pipelines.datasets.models import model_bytes
from pipelines.errors import ConfigError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.registry import READERS
from pipelines.formats.rows import RawBlock, taken
from pipelines.inference import as_columns
from pipelines.ingestion.history_rows import history_block
from pipelines.ingestion.raw_files import RawFile, find_files, opened
from pipelines.ingestion.read_rows import example_rows
from pipelines.ingestion.vocabulary import Vocabulary
from pipelines.jobs import counters
from pipelines.jobs.job import run_job
from pipelines.planning.worker_memory import with_memory
from pipelines.questions.existing_run import ExistingRun
from pipelines.questions.loaded_run import LoadedRun, base_of, load, raw_dimension, refuse_unfit
from pipelines.stage import timed
from schemas import tables
from schemas.errors import DataError
from schemas.manifest import recipe_of
from schemas.parts import Part, PartWriter

VERSION = 2
_BLOCK_ROWS = 1024
_BASE_ROW_BYTES = 100
"""Of a row of the base beside its vector: what the join keeps (docs/join.md), its id and where its labels begin."""
_NEAR_LABEL_BYTES = 48
"""Of a label near to another while their closeness is computed: id, distance, and their entry of K twice."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    root, iteration : the run; its last iteration where none is given.
    inputs : paths or patterns of raw files of one format.
    format : one of `pipelines.formats.registry.FORMATS`; found from the first lines where not given.
    output : directory of the dataset.
    k : length of the lists; the run's where not given.
    """

    root: str
    iteration: int | None
    inputs: tuple[str, ...]
    format: str | None
    output: str
    k: int | None


class AnnotateFiles(beam.PTransform):
    """PBegin → (directory, Manifest) of the annotations of raw files."""

    def __init__(
        self, fs: BeamFileSystem, files: Sequence[RawFile], run: ExistingRun, k: int, plan: DatasetPlan
    ) -> None:
        super().__init__()
        self._fs, self._files, self._k, self._plan = fs, list(files), k, plan
        self._root, self._iteration = run.context.run.root, run.iteration

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        annotate = _AnnotateFile(self._fs, self._root, self._iteration, self._k, self._plan)
        return (
            begin
            | "list files" >> beam.Create(self._files, reshuffle=False)
            | "spread files" >> beam.Reshuffle()
            | "annotate file" >> beam.ParDo(annotate)
            | "commit" >> CommitDatasets(self._fs, [self._plan])
        )


class _AnnotateFile(beam.DoFn):
    """RawFile → (directory, Part)."""

    def __init__(self, fs: BeamFileSystem, root: str, iteration: int, k: int, plan: DatasetPlan) -> None:
        self._fs, self._root, self._iteration, self._k, self._plan = fs, root, iteration, k, plan

    def setup(self) -> None:
        threadpool_limits(1)

    def process(self, file: RawFile) -> Iterator[tuple[str, Part]]:
        run = load(self._root, self._iteration)
        with PartWriter(self._fs, self._plan.directory, file.index, self._plan.schema) as writer:
            for block in self._blocks(file, run):
                writer.write(self._annotated(block, file, run))
                counters.count("rows_annotated", len(block))
        yield self._plan.directory, writer.part

    def _blocks(self, file: RawFile, run: LoadedRun) -> Iterator[RawBlock]:
        reader = READERS[file.format]
        with opened(self._fs, file) as raw:
            survey = reader.survey(raw, file.path, file.given)
        if survey.sparse != run.sparse:
            kinds = ("sparse", "dense") if survey.sparse else ("dense", "sparse")
            raise DataError(f"{file.path}: x is {kinds[0]}, but {kinds[1]} in the run; give it as the run's data")
        if not survey.sparse and survey.d != run.dimension:
            raise DataError(f"{file.path}: x has {survey.d} columns, but {run.dimension} in the run; make them alike")
        with opened(self._fs, file) as raw:
            blocks: Iterable[Any] = reader.read(raw, file.path, file.given, survey)
            if file.has_interactions:
                blocks = [history_block(blocks, file.path, Vocabulary(tuple(run.names)))]
            for block in blocks:
                refuse_rejects(block, run.dimension)
                for start in range(0, len(block), _BLOCK_ROWS):
                    yield taken(block, np.arange(start, min(start + _BLOCK_ROWS, len(block))))

    def _annotated(self, block: RawBlock, file: RawFile, run: LoadedRun) -> pa.Table:
        unlabelled = replace(block, labels=np.zeros(0, np.int32), indptr=np.zeros(len(block) + 1, np.int64))
        rows = example_rows(unlabelled, file, run.dimension)
        with counters.kernel("annotate"):
            found = run.annotate(rows.features, self._k)
        columns: dict[str, Any] = {"id": pa.array(rows.ids)}
        if "key" in self._plan.schema.names:
            keys = [None] * len(rows) if rows.keys is None else rows.keys.tolist()
            columns["key"] = pa.array(keys, pa.string())
        return pa.table({**columns, **as_columns(found, run.names)})


def refuse_rejects(block: RawBlock, dimension: int) -> None:
    """Raise DataError for the first row that cannot be annotated: file, row and reason."""
    first = min(block.rejects, key=lambda reject: reject.line, default=None)
    if first is not None:
        raise DataError(f"{first.source}: row {first.line}: {first.reason}; mend the row, or take it out")
    x = block.features
    if not isinstance(x, np.ndarray) and x.shape[1] > dimension:
        beyond = np.flatnonzero(x.indices >= dimension)
        if len(beyond):
            row = int(np.searchsorted(x.indptr, beyond[0], side="right")) - 1
            raise DataError(
                f"{block.source}: row {block.lines[row]}: feature index {x.indices[beyond[0]]} is not below the "
                f"{dimension} features of the run; the model knows nothing of it: take it out"
            )


def main(options: PipelineOptions, request: Request) -> str:
    """Annotate the files, unless that stands there; the directory written.

    Raises
    ------
    ConfigError : a path that is not there, a format that cannot be told, a run that cannot annotate new rows.
    DataError : a row that cannot be annotated, files or a run that cannot be read.
    """
    run = ExistingRun.open(request.root, request.iteration)
    refuse_unfit(run)
    fs, files = run.context.fs, _files(run, request)
    k = request.k or run.config.evaluate.k
    plan = _plan(run, files, k, request.output.rstrip("/"))
    refuse_other(fs, plan, "--output")
    if is_current(fs, plan.directory, plan.recipe):
        return plan.directory
    transform = AnnotateFiles(fs, files, run, k, plan)

    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | "annotate files" >> with_memory(transform, _held(run))

    with timed(f"annotations of {len(files)} file{'s' * (len(files) > 1)}"):
        run_job("annotate-input", build, options, fs, fs.join(plan.directory, "log"))
    return plan.directory


def _files(run: ExistingRun, request: Request) -> list[RawFile]:
    """The raw files, found and told apart as ingest does it, whose labels are not looked at."""
    paths = [path if "://" in path else os.path.abspath(path) for path in request.inputs]
    data = {"train": paths, "format": request.format}
    config = Config.model_validate({"data": data})
    found = find_files(run.context.fs, config, ("train",), {"train": "--input"})
    for file in found:
        if file.has_interactions and not run.context.examples("train").facts["history"]:
            raise ConfigError(f"{file.path} holds interactions, but x of the run is a row of features; give such rows")
    least = run.config.data.min_rating
    return [replace(file, given=replace(file.given, labelled=False, min_rating=least)) for file in found]


def _plan(run: ExistingRun, files: Sequence[RawFile], k: int, directory: str) -> DatasetPlan:
    described = run.described(run.iteration)
    facts: dict[str, Any] = {"labels": len(run.labels.names), "k": k, "iteration": run.iteration}
    facts |= {name: described.facts[name] for name in ("scale", "bias", "offset", "mode") if name in described.facts}
    inputs = {f"model-{run.iteration}": described.fingerprint}
    inputs |= {f"{file.index:06d}-{file.format}": file.sha256 for file in files}
    keyed = any(file.format in ("parquet", "csv") for file in files)
    recipe = recipe_of("annotate-input", VERSION, {"k": k}, inputs)
    return DatasetPlan(directory, recipe, tables.explained(keyed), len(files), facts)


def _held(run: ExistingRun) -> int:
    """Bytes of a worker: two models, the base, near labels, and landmarks."""
    facts, described = run.context.examples("train").facts, run.described(run.iteration)
    held = 2 * model_bytes(described, facts["dimension"], facts["labels"]) + _landmark_bytes(run.config.data, facts)
    if run.iteration and run.config.affinity.compares_V:
        held += _NEAR_LABEL_BYTES * run.config.affinity.near_labels * int(facts["labels"])
    for dataset in base_of(run):
        stored = sum(part.bytes for part in dataset.manifest.parts) / max(1, dataset.manifest.rows)
        vector = stored if dataset.sparse else 4 * dataset.dimension
        held += int(dataset.manifest.rows * (2 * vector + _BASE_ROW_BYTES))
    return held


def _landmark_bytes(data: Data, facts: Mapping[str, Any]) -> int:
    """Their points, as they are and centred, the projection, and the kernel of a block."""
    if "mapped_from" not in facts:
        return 0
    return data.landmarks * (12 * raw_dimension(facts) + 8 * data.components + 8 * _BLOCK_ROWS)

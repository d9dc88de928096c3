"""Ingest: raw files become examples, as two Beam jobs.

    raw files  →  examples/{train,validation,test}, labels, rejects, scaling, and landmarks with `data.landmarks`

The first job surveys every file, for nothing can be written before the labels, the width of x and the number of parts
are known. The second reads the rows, refuses what cannot be an example, and sends the others, as arrays, to the writer
of their part. Nothing is committed unless rows in = rows out + rejects, and the rejects are few.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsList, AsSingleton

from awe_core.scaling import FITTED
from pipelines import log
from pipelines.config import Config, resolve
from pipelines.datasets.dataset_writer import CommitDatasets, DatasetPlan, is_current
from pipelines.datasets.labels import read_labels
from pipelines.errors import TemplateWritten
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.registry import READERS
from pipelines.formats.rows import Reject
from pipelines.ingestion import hierarchy, vocabulary
from pipelines.ingestion.fit_landmarks import SampleLandmarks, fit_landmarks, fitting_bytes
from pipelines.ingestion.hierarchy import Hierarchy
from pipelines.ingestion.raw_files import RawFile, find_files
from pipelines.ingestion.read_rows import REJECTS, TALLY, MakeUserRows, ReadExamples, ReadPairs
from pipelines.ingestion.reconcile import reconcile
from pipelines.ingestion.splits import SplitRule
from pipelines.ingestion.survey import Plan, SurveyFile, has_refit, make_plan
from pipelines.ingestion.write_parts import (
    COUNTS,
    FitScaling,
    WriteLabels,
    WritePart,
    WriteRejects,
    fitted_columns,
    write_scaling,
)
from pipelines.planning.worker_memory import with_memory
from pipelines.run_directory import RunDirectory
from pipelines.stage import Context, timed
from schemas import tables
from schemas.errors import StoreError
from schemas.manifest import read_manifest, recipe_of
from schemas.tables import EXAMPLES, REFIT

VERSION = 1

_SPARSE_ENTRIES = 512
"""Of a sparse row, at the most about: how many it has is not known before it is read."""


def settings_of(config: Config) -> dict[str, Any]:
    """The configuration keys that the datasets depend on. Paths are not among them: the files' content is."""
    data = config.data
    fractions = {split: part for split in ("validation", "test") if isinstance(part := getattr(data, split), float)}
    kept = ("x", "scale", "min_rating", "max_rejects", "rows_per_part", "block_rows")
    held = {} if data.hold_out is None else {"hold_out": data.hold_out}
    beside = {"intercept": data.intercept} if data.intercept else {}
    if data.landmarks:
        beside |= {key: getattr(data, key) for key in ("landmarks", "components", "gamma")}
    return {"seed": config.run.seed, **fractions, **held, **beside, **{key: getattr(data, key) for key in kept}}


def inputs_of(files: Sequence[RawFile], siblings: Hierarchy | None) -> dict[str, str]:
    """Fingerprints of the raw files in their order, and of the hierarchy."""
    inputs = {f"{file.index:06d}-{file.split}-{file.format}": file.sha256 for file in files}
    return inputs if siblings is None else {**inputs, "hierarchy": siblings.sha256}


@dataclass(frozen=True)
class Datasets:
    """The datasets of this stage."""

    examples: tuple[DatasetPlan, ...]
    labels: DatasetPlan
    rejects: DatasetPlan
    scaling: DatasetPlan
    landmarks: DatasetPlan | None

    @property
    def all(self) -> tuple[DatasetPlan, ...]:
        others = (self.labels, self.rejects, self.scaling)
        return (*self.examples, *others, *([self.landmarks] if self.landmarks else []))


SCALING_SCHEMA = pa.schema(
    [pa.field("mean", pa.float64(), nullable=False), pa.field("deviation", pa.float64(), nullable=False)]
)
"""Of each column of x: what is taken away (not from sparse x), and what it is then divided by."""


def plan_datasets(run: RunDirectory, recipe: str, plan: Plan, config: Config) -> Datasets:
    """Schemas, numbers of parts and facts of all that is written."""
    x = None if plan.users is None else config.data.x
    data, intercept = config.data, config.data.intercept
    mapped = {"mapped_from": {"dimension": plan.d, "sparse": plan.sparse}} if data.landmarks else {}
    d = (data.components if data.landmarks else plan.d) + bool(intercept)
    sparse = plan.sparse and not data.landmarks
    facts = {
        "dimension": d,
        "sparse": sparse,
        "labels": plan.label_count,
        "key": plan.keyed,
        "one_hot": x == "user",
        "history": x == "history",
        "block_rows": config.data.block_rows,
        **({"intercept": intercept} if intercept else {}),
        **mapped,
        **({"refit": True} if plan.parts[EXAMPLES.index(REFIT)] else {}),
    }
    schema = tables.examples(d, sparse, plan.keyed)
    examples = tuple(
        DatasetPlan(run.examples(name), recipe, schema, parts, facts)
        for name, parts in zip(EXAMPLES, plan.parts, strict=True)
        if parts
    )
    return Datasets(
        examples,
        DatasetPlan(run.labels, recipe, tables.labels(), 1, {"labels": plan.label_count}),
        DatasetPlan(run.rejects, recipe, tables.rejects(), 1),
        DatasetPlan(run.scaling, recipe, SCALING_SCHEMA, 1, {"scale": config.data.scale, "sparse": plan.sparse}),
        DatasetPlan(run.landmarks, recipe, tables.landmarks(plan.d, plan.sparse, data.components), 1)
        if data.landmarks
        else None,
    )


class Ingest(beam.PTransform):
    """PBegin → (directory, Manifest) of every dataset that was written."""

    def __init__(
        self, fs: BeamFileSystem, plan: Plan, datasets: Datasets, config: Config, tree: Hierarchy | None
    ) -> None:
        super().__init__()
        self._fs, self._plan, self._datasets, self._config, self._tree = fs, plan, datasets, config, tree

    @property
    def worker_bytes(self) -> int:
        """What a worker holds: the rows of a part, gathered, in order and as Arrow, and the lists of names; with
        landmarks the mapped rows too, and what fitting holds, another task that one worker may have beside it.
        """
        data = self._config.data
        row = 8 * _SPARSE_ENTRIES if self._plan.sparse else 4 * self._plan.d
        mapped = 3 * 4 * data.components if data.landmarks else 0
        of_part = (4 * row + mapped) * data.rows_per_part + 100 * self._plan.label_count
        return of_part + (fitting_bytes(data, self._plan, row) if data.landmarks else 0)

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        pipeline = begin.pipeline
        files = pipeline | "files" >> beam.Create(self._plan.files)
        rows, rejects, tallies = self._read(files)
        every_part = [((s, k), None) for s, parts in enumerate(self._plan.parts) for k in range(parts)]
        grouped = (
            (rows, pipeline | "name every part" >> beam.Create(every_part, reshuffle=False))
            | "join rows and names" >> beam.Flatten()
            | "gather parts' rows" >> beam.GroupByKey()
        )
        columns = self._fit(grouped)
        fitted = self._fit_landmarks(grouped, columns)
        write = WritePart(self._fs, self._plan, self._datasets.examples, self._config)
        sides = {"columns": columns, "landmarks": fitted}
        written = grouped | "write parts" >> beam.ParDo(
            write, **{name: AsSingleton(side) for name, side in sides.items() if side is not None}
        ).with_outputs(REJECTS, TALLY, COUNTS, main="parts")
        refused = self._write_rejects(pipeline, [*rejects, written[REJECTS]])
        others = [refused["parts"], *self._write_others(pipeline, written[COUNTS], columns)]
        others += [] if fitted is None else [fitted]
        all_tallies = [*tallies, written[TALLY], refused[TALLY]] | "join tallies" >> beam.Flatten()
        # The commit waits for this check: a run with too many rejects replaces nothing.
        checked = (
            pipeline
            | "one check" >> beam.Create([None])
            | "reconcile"
            >> beam.Map(
                reconcile,
                AsList(all_tallies),
                plan=self._plan,
                max_rejects=self._config.data.max_rejects,
                rejects=self._datasets.rejects.directory,
            )
        )
        return (
            [written["parts"], *others]
            | "join parts" >> beam.Flatten()
            | "commit" >> CommitDatasets(self._fs, self._datasets.all, AsSingleton(checked))
        )

    def _read(self, files: beam.PCollection) -> tuple[Any, list[Any], list[Any]]:
        """((split, part), ExampleRows), and the rejects and tallies of reading."""
        limit = self._config.data.max_rejects
        if self._plan.users is None:
            read = files | "read examples" >> beam.ParDo(ReadExamples(self._fs, self._plan, limit)).with_outputs(
                REJECTS, TALLY, main="rows"
            )
            return read["rows"], [read[REJECTS]], [read[TALLY]]
        read = files | "read pairs" >> beam.ParDo(
            ReadPairs(self._fs, self._plan, limit, buckets=max(self._plan.parts))
        ).with_outputs(REJECTS, TALLY, main="pairs")
        made = (
            read["pairs"]
            | "gather users" >> beam.GroupByKey()
            | "make user rows"
            >> beam.ParDo(MakeUserRows(self._plan, self._config.data.x)).with_outputs(TALLY, main="rows")
        )
        return made["rows"], [read[REJECTS]], [read[TALLY], made[TALLY]]

    def _fit(self, grouped: beam.PCollection) -> beam.PCollection | None:
        scale = self._config.data.scale
        if scale not in FITTED:
            return None
        parts = grouped | "moments of train parts" >> beam.ParDo(FitScaling(self._plan))
        one = grouped.pipeline | "one scaling" >> beam.Create([None])
        return one | "join moments" >> beam.Map(fitted_columns, AsList(parts), scale)

    def _fit_landmarks(self, grouped: beam.PCollection, columns: beam.PCollection | None) -> beam.PCollection | None:
        data, dataset = self._config.data, self._datasets.landmarks
        if dataset is None:
            return None
        sampled = grouped | "sample landmarks" >> beam.ParDo(SampleLandmarks(self._plan, data.landmarks))
        one = grouped.pipeline | "one map" >> beam.Create([None])
        scaling = None if columns is None else AsSingleton(columns)
        return one | "fit landmarks" >> beam.Map(
            fit_landmarks, AsList(sampled), scaling, self._fs, dataset, data, self._config.run.seed
        )

    def _write_rejects(self, pipeline: beam.Pipeline, rejects: list[beam.PCollection]) -> Any:
        none = pipeline | "no rejects" >> beam.Create([(0, list[Reject]())], reshuffle=False)
        write = WriteRejects(self._fs, self._datasets.rejects)
        return (
            [*rejects, none]
            | "join rejects" >> beam.Flatten()
            | "gather rejects" >> beam.GroupByKey()
            | "write rejects" >> beam.ParDo(write).with_outputs(TALLY, main="parts")
        )

    def _write_others(
        self, pipeline: beam.Pipeline, counts: beam.PCollection, columns: beam.PCollection | None
    ) -> list[beam.PCollection]:
        sets = self._datasets
        labels = WriteLabels(self._fs, self._plan, sets.labels, self._config.data.block_rows, self._tree)
        fitted = columns if columns is not None else pipeline | "nothing fitted" >> beam.Create([None])
        return [
            pipeline | "one label list" >> beam.Create([None]) | "write labels" >> beam.ParDo(labels, AsList(counts)),
            fitted | "write scaling" >> beam.Map(write_scaling, self._fs, sets.scaling),
        ]


def build_survey(
    pipeline: beam.Pipeline, fs: BeamFileSystem, files: Sequence[RawFile], directory: str, rule: SplitRule
) -> Any:
    """Wire the first job. Create reshuffles, so that the files spread over the workers."""
    return pipeline | "files" >> beam.Create(files) | "survey" >> beam.ParDo(SurveyFile(fs, directory, rule))


def build(pipeline: beam.Pipeline, ingest: Ingest) -> Any:
    """Wire the second job."""
    return pipeline | "ingest" >> with_memory(ingest, ingest.worker_bytes)


@contextmanager
def survey_folder(context: Context) -> Iterator[str]:
    """A folder for the surveys of this launch alone, removed with it: another launch may run beside it.

    It stays for a template, whose job will read the lists of labels and users in it.
    """
    folder = context.run.path("log", f"survey-{uuid4().hex}")
    with ExitStack() as at_the_end:
        at_the_end.callback(_remove, context.fs, folder)
        try:
            yield folder
        except TemplateWritten:
            at_the_end.pop_all()
            raise


def _remove(fs: BeamFileSystem, folder: str) -> None:
    if not isinstance(sys.exception(), StoreError):  # or the store would be waited for again
        fs.delete([fs.join(folder, name) for name in fs.names(folder)])
    # What a store calls a folder ends with its last file.
    if os.path.isdir(folder):
        os.rmdir(folder)


def main(context: Context, splits: Sequence[str] = tables.SPLITS) -> None:
    """Make the examples of a run, unless they stand there already.

    `splits` are the first of train, validation, test: what comes after them is left out, its files are not opened, and
    no label is known by it. The rows of the others are the same as with it.

    Raises
    ------
    ConfigError
        A path that is not there, or a format that cannot be told; before any work.
    DataError
        Files or rows that cannot be read, in one line; what stood in the run directory still stands.
    """
    fs, config, run = context.fs, context.config, context.run
    files = find_files(fs, config, splits)
    tree = None if config.data.hierarchy is None else hierarchy.read(fs, resolve(config, config.data.hierarchy))
    settings = settings_of(config)
    if len(splits) < len(tables.SPLITS):
        settings["splits"] = list(splits)
    written = list(splits)
    if has_refit(config, files, splits):
        settings["refit"] = True
        written.append(REFIT)
    versions = {file.format: READERS[file.format].version for file in files}
    if later := {name: version for name, version in versions.items() if version > 1}:
        settings["readers"] = later
    recipe = recipe_of("ingest", VERSION, settings, inputs_of(files, tree))
    directories = [*map(run.examples, written), run.labels, run.rejects, run.scaling]
    directories += [run.landmarks] if config.data.landmarks else []
    if all(is_current(fs, directory, recipe) for directory in directories):
        log.info("examples are up to date, skipped")
        return
    with timed("examples"), survey_folder(context) as survey:
        context.first_job(
            "ingest-survey", lambda pipeline: build_survey(pipeline, fs, files, survey, SplitRule.of(config))
        )
        plan = make_plan(fs, config, files, survey, splits)
        found = f"{log.so_many(plan.rows, 'row')}, {log.so_many(plan.label_count, 'label')}"
        log.info(f"{log.so_many(len(files), 'file')}: {found}, d = {plan.d}")
        if tree is not None:
            tree.check(vocabulary.load(*plan.labels).names)
        datasets = plan_datasets(run, recipe, plan, config)
        wired = Ingest(fs, plan, datasets, config, tree)
        counted = context.job("ingest", lambda pipeline: build(pipeline, wired), plan.rows)
        _tell(context, plan, counted)


def _tell(context: Context, plan: Plan, counted: Mapping[str, Any]) -> None:
    """Say what was found; repeated pairs and labels that no training row has where there are some."""
    found = [log.so_many(counted["rows_out"], "row"), log.so_many(plan.label_count, "label")]
    found += [f"{log.so_many(counted['rejects'], 'row')} refused"]
    if counted.get("pairs_repeated"):
        found += [f"{log.so_many(counted['pairs_repeated'], 'pair')} repeated"]
    log.info(", ".join(found))
    examples = context.examples("train").facts
    data = context.config.data
    if data.scale == "standard" and not examples["sparse"] and not (data.intercept or data.landmarks):
        as_long = round(math.sqrt(examples["dimension"]))
        log.info(f"every column of x has mean 0: with --data.intercept={as_long} labels could be popular everywhere")
    directory = context.run.labels
    labels = read_labels(context.fs, directory, read_manifest(context.fs, directory, "ingest"))
    unlearnt = int((labels.counts == 0).sum())
    if unlearnt:
        so = (
            "a refit learns those that validation has" if context.config.train.refit else "so nothing is learnt of them"
        )
        log.info(f"{unlearnt:,} of {plan.label_count:,} labels have no row in train, {so}")

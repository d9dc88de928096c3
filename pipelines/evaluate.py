"""Evaluate: the metrics of all predictions, as a Beam job.

    predictions-T/METHOD/S, examples/S  →  results.json

Parts are read side by side; what leaves a part is one row of sums.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from awe_core import metrics
from awe_core.ranking import Ranking
from pipelines import log
from pipelines.datasets.example_blocks import read_truth, same_ids
from pipelines.datasets.labels import Labels, read_labels
from pipelines.datasets.stored_dataset import StoredDataset
from pipelines.jobs import counters
from pipelines.jobs.process_cache import ProcessCache
from pipelines.planning.worker_memory import part_bytes, with_memory
from pipelines.results_table import RowKey, read_results, row_fingerprint
from pipelines.run_directory import Lane
from pipelines.stage import Context, read_cost, timed
from schemas.errors import DataError
from schemas.filesystem import FileSystem, read_bytes
from schemas.manifest import Manifest, digest, read_manifest, recipe_of
from schemas.parts import PartReader

VERSION = 1
_LABELS = ProcessCache[Labels](1)


@dataclass(frozen=True)
class EvaluateSplit:
    """One row of the results: a method's predictions on a split, beside its examples."""

    method: str
    split: str
    iteration: int
    predictions: StoredDataset
    examples: StoredDataset
    recipe: str

    @property
    def key(self) -> RowKey:
        return self.split, self.iteration, self.method


class Evaluate(beam.PTransform):
    """PBegin → one file: the metrics' sums over the parts of a split, by its position."""

    def __init__(
        self, fs: FileSystem, splits: Sequence[EvaluateSplit], labels_directory: str, labels: Manifest, totals: str
    ) -> None:
        super().__init__()
        self._fs, self._splits, self._directory, self._labels = fs, list(splits), labels_directory, labels
        self._totals = totals

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        tasks = [(s, k) for s, split in enumerate(self._splits) for k in range(len(split.examples.manifest.parts))]
        return (
            begin
            | "list parts" >> beam.Create(tasks, reshuffle=False)
            | "spread parts" >> beam.Reshuffle()  # the list is one bundle
            | "measure part" >> beam.ParDo(_MeasurePart(self._fs, self._splits, self._directory, self._labels))
            | "gather parts" >> beam.GroupByKey()
            | "add parts" >> beam.MapTuple(lambda split, parts: (0, (split, _add_in_order(parts))))
            | "gather splits" >> beam.GroupByKey()
            | "write sums" >> beam.Map(_write_sums, self._fs, self._totals)
        )


class _MeasurePart(beam.DoFn):
    def __init__(self, fs: FileSystem, splits: list[EvaluateSplit], directory: str, labels: Manifest) -> None:
        self._fs, self._splits, self._directory, self._labels = fs, splits, directory, labels

    def display_data(self) -> dict[str, Any]:
        return {"rows": sum(split.examples.manifest.rows for split in self._splits), "labels": self._labels.rows}

    def _read_labels(self) -> Labels:
        return _LABELS.get(self._labels.fingerprint, lambda: read_labels(self._fs, self._directory, self._labels))

    def process(self, task: tuple[int, int]) -> Iterator[tuple[int, tuple[int, dict[str, float]]]]:
        position, k = task
        given, predicted = self._splits[position].examples, self._splits[position].predictions
        siblings, length = self._read_labels().siblings, int(predicted.manifest.facts["k"])
        blocks = []
        with (
            PartReader(self._fs, given.directory, given.manifest.parts[k]) as examples,
            PartReader(self._fs, predicted.directory, predicted.manifest.parts[k]) as predictions,
        ):
            for index in range(examples.blocks):
                table = predictions.block(index)
                same_ids(examples.block(index, ["id"]).column("id"), table.column("id"), predictions.where(index))
                truth, seen = read_truth(examples, index, given.manifest.facts)
                lists = table.column("labels").combine_chunks()
                indptr = lists.offsets.to_numpy().astype(np.int64)
                ranking = Ranking(indptr - indptr[0], lists.flatten().to_numpy(), np.zeros(0, np.float32))
                with counters.kernel("measure"):
                    blocks.append(metrics.sums(ranking, truth, seen, siblings, length))
                counters.count("rows_measured", truth.shape[0])
        yield position, (k, metrics.add(blocks))


def _add_in_order(parts: Iterable[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Float sums depend on their order, so parts are added in theirs. A part without rows has no sums."""
    return metrics.add(sums for _, sums in sorted(parts, key=lambda item: item[0]) if sums)


def _write_sums(gathered: tuple[int, Iterable[tuple[int, dict[str, float]]]], fs: FileSystem, path: str) -> None:
    fs.put(path, json.dumps(dict(gathered[1])).encode())


def keep_only(context: Context, wanted: Collection[RowKey]) -> None:
    """Drop the rows that an earlier configuration left: other iterations, other methods."""
    path = context.run.path("results.json")
    rows = read_results(context.fs, path)
    kept = {key: row for key, row in rows.items() if key in wanted}
    if len(kept) < len(rows):
        _put_results(context.fs, path, kept)


def _splits(context: Context, lane: Lane, iteration: int) -> list[EvaluateSplit]:
    planned = []
    for split in lane.ranked:
        examples = StoredDataset(context.run.examples(split), context.examples(split))
        for method in context.config.methods(iteration, examples.manifest.facts):
            directory = lane.predictions(iteration, method, split)
            found = read_manifest(context.fs, directory, f"annotate --iteration={iteration}")
            predictions = StoredDataset(directory, context.fresh(directory, found))
            inputs = {"examples": examples.fingerprint, "predictions": predictions.fingerprint}
            inputs["labels"] = read_manifest(context.fs, context.run.labels, "ingest").fingerprint
            recipe = recipe_of("evaluate", VERSION, {}, inputs)
            planned.append(EvaluateSplit(method, split, iteration, predictions, examples, recipe))
    return planned


def build(
    pipeline: beam.Pipeline, fs: FileSystem, splits: Sequence[EvaluateSplit], labels: tuple[str, Manifest], totals: str
) -> Any:
    """Wire the job: the sums of every split, in order, become one JSON file at `totals`."""
    manifests = [dataset.manifest for split in splits for dataset in (split.examples, split.predictions)]
    held = 100 * labels[1].rows + part_bytes(manifests)
    return pipeline | "evaluate" >> with_memory(Evaluate(fs, splits, *labels, totals), held)


def _put_results(fs: FileSystem, path: str, rows: dict[RowKey, dict[str, Any]]) -> None:
    fs.put(path, json.dumps([rows[key] for key in sorted(rows)], indent=1).encode())


def _row(context: Context, lane: Lane, split: EvaluateSplit, totals: dict[str, float]) -> dict[str, Any] | None:
    """One row of the results; None where no example of the split has a label."""
    if not totals.get("scored"):
        return None
    row = {
        "method": split.method,
        "split": split.split,
        "iteration": split.iteration,
        "seed": context.config.run.seed,
        "metrics": metrics.means(totals),
        "rows": split.examples.manifest.rows,
        "scored": int(totals["scored"]),
        "recipe": split.recipe,
    }
    cost = read_cost(context, lane, split.iteration, split.method, split.split)
    spent = {"seconds": cost and cost.seconds, "bytes": cost and cost.bytes}
    return {**row, **spent, "fingerprint": row_fingerprint(row)}


def main(context: Context, lane: Lane, iteration: int) -> None:
    """Evaluate all predictions of an iteration; rows that are up to date stay."""
    path = context.run.path("results.json")
    rows = read_results(context.fs, path)
    planned = _splits(context, lane, iteration)
    todo = [split for split in planned if rows.get(split.key, {}).get("recipe") != split.recipe]
    if not todo:
        log.info(f"results of iteration {iteration} are up to date, skipped")
        return
    unlabelled: list[tuple[EvaluateSplit, dict[str, float]]] = []
    with timed(f"results of iteration {iteration}"):
        for split, totals in zip(todo, _measure(context, todo, iteration), strict=True):
            rows.pop(split.key, None)
            row = _row(context, lane, split, totals)
            if row is None:
                log.info(f"no example of {split.split} has a label: annotated by {split.method}, not scored")
                unlabelled.append((split, totals))
            else:
                rows[split.key] = row
        _put_results(context.fs, path, rows)
        context.fs.delete([_totals(context, todo)])  # results.json has all of it
        if unlabelled:  # but for these, which no job has to measure again
            kept = {position: totals for position, (_, totals) in enumerate(unlabelled)}
            context.fs.put(_totals(context, [split for split, _ in unlabelled]), json.dumps(kept).encode())


def _totals(context: Context, splits: Sequence[EvaluateSplit]) -> str:
    """Where the job leaves the sums of some splits."""
    return context.run.path("log", f"sums-{digest([split.recipe for split in splits])}.json")


def _measure(context: Context, splits: Sequence[EvaluateSplit], iteration: int) -> list[dict[str, float]]:
    """The sums of every split: measured, or found where the job of a template has left them.

    Raises DataError where they are not of all rows.
    """
    labels = context.run.labels, read_manifest(context.fs, context.run.labels, "ingest")
    totals = _totals(context, splits)
    if not context.fs.exists(totals):
        rows = sum(split.examples.manifest.rows for split in splits)
        context.job(f"evaluate-{iteration}", lambda pipeline: build(pipeline, context.fs, splits, labels, totals), rows)
    found = json.loads(read_bytes(context.fs, totals))
    measured: list[dict[str, float]] = [found.get(str(position), {}) for position in range(len(splits))]
    for split, sums in zip(splits, measured, strict=True):
        if sums.get("rows", 0) != split.examples.manifest.rows:
            context.fs.delete([totals])  # or the next start would read it again
            raise DataError(
                f"{split.predictions.directory}: {sums.get('rows', 0):.0f} of {split.examples.manifest.rows} rows were "
                "measured: the runner lost an element; run it again"
            )
    return measured

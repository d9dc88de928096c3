"""Evaluate: the metrics of all predictions, as a Beam job.

    predictions-T/METHOD/S, examples/S  →  results.json

Parts are read side by side; what leaves a part is one row of sums.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from awe_core import metrics
from awe_core.ranking import Ranking
from pipelines import counters, log
from pipelines.example_blocks import read_examples, same_ids
from pipelines.labels import Labels, read_labels
from pipelines.process_cache import ProcessCache
from pipelines.run_directory import Lane
from pipelines.stage import Context, read_seconds, timed
from schemas.errors import DataError
from schemas.filesystem import FileSystem, read_bytes
from schemas.manifest import Manifest, read_manifest, recipe_of
from schemas.parts import PartReader

VERSION = 1
_LABELS = ProcessCache(1)


@dataclass(frozen=True)
class EvaluateSplit:
    """One row of the results: a method's predictions on a split, beside its examples."""

    method: str
    split: str
    iteration: int
    predictions: str
    predicted: Manifest
    examples: str
    manifest: Manifest
    fingerprint: str

    @property
    def key(self) -> tuple[str, int, str]:
        return self.split, self.iteration, self.method


class Evaluate(beam.PTransform):
    """PBegin → (position of the split, metrics' sums over its parts)."""

    def __init__(
        self, fs: FileSystem, splits: Sequence[EvaluateSplit], labels_directory: str, labels: Manifest
    ) -> None:
        super().__init__()
        self._fs, self._splits, self._directory, self._labels = fs, list(splits), labels_directory, labels

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        tasks = [(s, k) for s, split in enumerate(self._splits) for k in range(len(split.manifest.parts))]
        return (
            begin
            | "list parts" >> beam.Create(tasks, reshuffle=False)
            | "spread parts" >> beam.Reshuffle()  # the list is one bundle
            | "measure part" >> beam.ParDo(_MeasurePart(self._fs, self._splits, self._directory, self._labels))
            | "gather parts" >> beam.GroupByKey()
            | "add parts" >> beam.MapTuple(lambda split, parts: (split, _add_in_order(parts)))
        )


class _MeasurePart(beam.DoFn):
    def __init__(self, fs: FileSystem, splits: list[EvaluateSplit], directory: str, labels: Manifest) -> None:
        self._fs, self._splits, self._directory, self._labels = fs, splits, directory, labels

    def _read_labels(self) -> Labels:
        return _LABELS.get(self._labels.fingerprint, lambda: read_labels(self._fs, self._directory, self._labels))

    def process(self, task: tuple[int, int]) -> Iterator[tuple[int, tuple[int, dict[str, float]]]]:
        position, k = task
        split = self._splits[position]
        siblings, length = self._read_labels().siblings, int(split.predicted.facts["k"])
        blocks = []
        with (
            PartReader(self._fs, split.examples, split.manifest.parts[k]) as examples,
            PartReader(self._fs, split.predictions, split.predicted.parts[k]) as predictions,
        ):
            for index in range(examples.blocks):
                table = predictions.block(index)
                same_ids(examples.block(index, ["id"]).column("id"), table.column("id"), predictions.where(index))
                block = read_examples(examples, index, split.manifest.facts)
                lists = table.column("labels").combine_chunks()
                indptr = lists.offsets.to_numpy().astype(np.int64)
                ranking = Ranking(indptr - indptr[0], lists.flatten().to_numpy(), np.zeros(0, np.float32))
                with counters.kernel("measure"):
                    blocks.append(metrics.sums(ranking, block.labels, block.seen, siblings, length))
        yield position, (k, metrics.add(blocks))


def _add_in_order(parts: Iterable[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Float sums depend on their order, so parts are added in theirs. A part without rows has no sums."""
    return metrics.add(sums for _, sums in sorted(parts, key=lambda item: item[0]) if sums)


def read_results(fs: FileSystem, path: str) -> list[dict[str, Any]]:
    """The rows of results.json; none where there is no such file yet."""
    try:
        return list(json.loads(read_bytes(fs, path)))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); remove it and run 'awe evaluate' again") from error


def _splits(context: Context, lane: Lane, iteration: int) -> list[EvaluateSplit]:
    planned = []
    for split in lane.ranked:
        manifest = context.examples(split)
        for method in context.config.methods(iteration, bool(manifest.facts["one_hot"])):
            directory = lane.predictions(iteration, method, split)
            predicted = read_manifest(context.fs, directory, f"annotate --iteration={iteration}")
            inputs = {"examples": manifest.fingerprint, "predictions": predicted.fingerprint}
            inputs["labels"] = read_manifest(context.fs, context.run.labels, "ingest").fingerprint
            fingerprint = recipe_of("evaluate", VERSION, {}, inputs)
            planned.append(
                EvaluateSplit(
                    method, split, iteration, directory, predicted, context.run.examples(split), manifest, fingerprint
                )
            )
    return planned


def build(pipeline: beam.Pipeline, context: Context, lane: Lane, splits: Sequence[EvaluateSplit]) -> Any:
    """Wire the job."""
    labels = read_manifest(context.fs, context.run.labels, "ingest")
    return (
        pipeline
        | "evaluate" >> Evaluate(context.fs, splits, context.run.labels, labels)
        | "to one place" >> beam.Map(lambda totals: (0, totals))
        | "gather splits" >> beam.GroupByKey()
        | "write results" >> beam.Map(_write_results, context, lane, splits)
    )


def _write_results(
    gathered: tuple[int, Iterable[tuple[int, dict[str, float]]]],
    context: Context,
    lane: Lane,
    splits: Sequence[EvaluateSplit],
) -> None:
    """Put the new rows among those that stand in results.json."""
    path = context.run.path("results.json")
    rows = {_key(row): row for row in read_results(context.fs, path)}
    for position, totals in gathered[1]:
        row = _row(context, lane, splits[position], totals)
        rows[_key(row)] = row
    ordered = [rows[key] for key in sorted(rows)]
    context.fs.put(path, json.dumps(ordered, indent=1).encode())


def _key(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["split"], row["iteration"], row["method"]


def _row(context: Context, lane: Lane, split: EvaluateSplit, totals: dict[str, float]) -> dict[str, Any]:
    if totals.get("rows") != split.manifest.rows:
        raise DataError(
            f"{split.predictions}: {totals.get('rows', 0):.0f} of {split.manifest.rows} rows were measured: the runner "
            "lost an element; run it again"
        )
    try:
        means = metrics.means(totals)
    except (ValueError, KeyError) as error:
        raise DataError(f"{split.examples}: {error}; leave the split out or give it labels") from error
    return {
        "method": split.method,
        "split": split.split,
        "iteration": split.iteration,
        "seed": context.config.run.seed,
        "metrics": means,
        "scored": int(totals["scored"]),
        "seconds": read_seconds(context, lane, split.iteration, split.method, split.split),
        "fingerprint": split.fingerprint,
    }


def main(context: Context, lane: Lane, iteration: int) -> None:
    """Evaluate all predictions of an iteration; rows that are up to date stay."""
    rows = {_key(row): row for row in read_results(context.fs, context.run.path("results.json"))}
    planned = _splits(context, lane, iteration)
    todo = [s for s in planned if rows.get(s.key, {}).get("fingerprint") != s.fingerprint]
    if not todo:
        log.info(f"results of iteration {iteration} are up to date, skipped")
        return
    with timed(f"results of iteration {iteration}"):
        context.job(f"evaluate-{iteration}", lambda pipeline: build(pipeline, context, lane, todo))

"""The rows of a part, gathered, become the part; and the small datasets beside the examples are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from apache_beam.pvalue import TaggedOutput

from awe_core.scaling import Columns, Moments, Scale, combined, moments_of, prepared
from pipelines.config import Config
from pipelines.datasets.dataset_writer import DatasetPlan
from pipelines.datasets.landmarks import load_landmarks
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.rows import Reject, objects, reject
from pipelines.ingestion import vocabulary
from pipelines.ingestion.example_rows import ExampleRows, Lists, arranged, tables_of
from pipelines.ingestion.hierarchy import Hierarchy
from pipelines.ingestion.read_rows import TALLY, PartKey, rejects_tagged
from pipelines.ingestion.reconcile import Tally, place
from pipelines.ingestion.survey import Plan
from pipelines.ingestion.user_rows import REFIT, TRAIN
from pipelines.jobs import counters
from schemas import tables
from schemas.parts import Part, PartWriter

COUNTS = "counts"
"""Tag of (labels, how many rows have them) of a train part."""


def joined_part(pieces: Iterable[ExampleRows | None], plan: Plan, seed: int) -> tuple[ExampleRows, list[Reject]]:
    """The rows of one part in their order, and the rejects for ids that are met again."""
    rows = ExampleRows.joined([empty_rows(plan), *(piece for piece in pieces if piece is not None)])
    kept, repeats = arranged(rows, seed)
    path_of = {file.index: file.path for file in plan.files}
    rejects = [
        reject(
            path_of[int(repeats.files[i])],
            int(repeats.lines[i]),
            f"id {repeats.ids[i] if repeats.keys is None else repeats.keys[i]} is met a second time in its split",
            f"id {repeats.ids[i]}",
        )
        for i in range(len(repeats))
    ]
    return kept, rejects


def empty_rows(plan: Plan) -> ExampleRows:
    """No rows, with the arrays that rows of this run have."""
    features = sp.csr_matrix((0, plan.d), dtype=np.float32) if plan.sparse else np.zeros((0, plan.d), np.float32)
    nothing = np.zeros(0, dtype=np.int64)
    return ExampleRows(
        nothing,
        features,
        Lists.empty(0),
        Lists.empty(0),
        np.zeros(0, np.float32),
        nothing,
        nothing,
        objects(()) if plan.keyed else None,
    )


class FitScaling(beam.DoFn):
    """((split, part), its rows) → (part, Moments), of train only."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def process(self, group: tuple[PartKey, Iterable[ExampleRows | None]]) -> Iterator[tuple[int, Moments]]:
        (split, part), pieces = group
        if split == TRAIN:
            rows, _ = joined_part(pieces, self._plan, self._plan.rule.seed)
            with counters.kernel("moments"):
                yield part, moments_of(rows.features)


def fitted_columns(_: None, parts: list[tuple[int, Moments]], scale: Scale) -> Columns:
    """Of the moments of train; parts in order, so that no worker's haste shows in a sum."""
    return combined(moments for _, moments in sorted(parts, key=lambda item: item[0])).columns(scale)


class WritePart(beam.DoFn):
    """((split, part), its rows) → (directory, Part); rejects, tallies and label counts beside it."""

    def __init__(self, fs: BeamFileSystem, plan: Plan, datasets: Sequence[DatasetPlan], config: Config) -> None:
        self._fs, self._plan, self._datasets = fs, plan, tuple(datasets)
        self._data = config.data

    def display_data(self) -> dict[str, Any]:
        plan = self._plan
        return {"files": len(plan.files), "rows": plan.rows, "labels": plan.label_count, "d": plan.d}

    def process(
        self,
        group: tuple[PartKey, Iterable[ExampleRows | None]],
        columns: Columns | None = None,
        landmarks: tuple[str, Part] | None = None,
    ) -> Iterator[Any]:
        (split, part), pieces = group
        dataset = self._datasets[split]
        rows, rejects = joined_part(pieces, self._plan, self._plan.rule.seed)
        with counters.kernel("write_part"):
            φ = None if landmarks is None else load_landmarks(self._fs, *landmarks, self._plan.d)
            rows = rows.with_features(prepared(rows.features, self._data.scale, columns, φ, self._data.intercept))
            with PartWriter(self._fs, dataset.directory, part, dataset.schema) as writer:
                for table in tables_of(rows, self._data.block_rows):
                    writer.write(table)
        yield dataset.directory, writer.part
        yield from rejects_tagged(rejects)
        if split == REFIT:  # its pairs are counted in their splits
            return
        pairs = int(rows.labels.indptr[-1])
        is_train = split == TRAIN
        counts = {"rows_out": len(rows), f"{tables.SPLITS[split]}_rows": len(rows)}
        yield TaggedOutput(TALLY, Tally.of(rejects, **counts, pairs_out=pairs, train_pairs=pairs * is_train))
        if is_train:
            yield TaggedOutput(COUNTS, np.unique(rows.labels.values, return_counts=True))


class WriteLabels(beam.DoFn):
    """One element, with the counts of all train parts → (directory, Part)."""

    def __init__(
        self, fs: BeamFileSystem, plan: Plan, dataset: DatasetPlan, block_rows: int, tree: Hierarchy | None
    ) -> None:
        self._fs, self._plan, self._dataset, self._block_rows, self._tree = fs, plan, dataset, block_rows, tree

    def process(self, _: None, counts: list[tuple[Any, Any]]) -> Iterator[tuple[str, Part]]:
        names = vocabulary.load(*self._plan.labels).names
        total = np.zeros(len(names), dtype=np.int64)
        for labels, numbers in counts:
            total[labels] += numbers
        siblings = [[] for _ in names] if self._tree is None else self._tree.siblings(names)
        with PartWriter(self._fs, self._dataset.directory, 0, self._dataset.schema) as writer:
            for start in range(0, len(names), self._block_rows):
                rows = slice(start, start + self._block_rows)
                ids = np.arange(len(names), dtype=np.int32)[rows]
                columns = [pa.array(ids), pa.array(names[rows]), pa.array(total[rows])]
                columns.append(pa.array(siblings[rows], tables.LIST_INT))
                writer.write(pa.table(dict(zip(self._dataset.schema.names, columns, strict=True))))
        yield self._dataset.directory, writer.part


class WriteRejects(beam.DoFn):
    """(0, all rejects) → (directory, Part), sorted by where they stood; a tally beside it."""

    def __init__(self, fs: BeamFileSystem, dataset: DatasetPlan) -> None:
        self._fs, self._dataset = fs, dataset

    def process(self, group: tuple[int, Iterable[list[Reject]]]) -> Iterator[Any]:
        rejects = sorted((r for some in group[1] for r in some), key=place)
        with PartWriter(self._fs, self._dataset.directory, 0, self._dataset.schema) as writer:
            if rejects:
                columns = zip(*((r.source, r.line, r.reason, r.raw) for r in rejects), strict=True)
                writer.write(pa.table(dict(zip(self._dataset.schema.names, map(pa.array, columns), strict=True))))
        yield self._dataset.directory, writer.part
        yield TaggedOutput(TALLY, Tally({"rejects_written": len(rejects)}))


def write_scaling(columns: Columns | None, fs: BeamFileSystem, dataset: DatasetPlan) -> tuple[str, Part]:
    """The fitted scaling, a row per column of x; no rows where nothing was fitted."""
    with PartWriter(fs, dataset.directory, 0, dataset.schema) as writer:
        if columns is not None:
            writer.write(pa.table(dict(zip(dataset.schema.names, map(pa.array, columns), strict=True))))
    return dataset.directory, writer.part

"""The split that the report takes its examples from, and its first rows: as good as drawn, for a hash orders them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipelines.datasets.stored_dataset import StoredDataset
from pipelines.questions.existing_run import ExistingRun
from pipelines.report.results import rows_by_split
from pipelines.run_directory import Lane
from schemas.manifest import read_manifest
from schemas.parts import PartReader


@dataclass(frozen=True)
class ShownSplit:
    """A split that was scored, so that some of its examples have labels, and the lane that ranked it."""

    run: ExistingRun
    lane: Lane
    name: str

    @classmethod
    def of(cls, run: ExistingRun) -> ShownSplit | None:
        """Test, or validation where nothing of test was scored; None where neither was."""
        name = next(iter(rows_by_split(run)), None)
        if name is None:
            return None
        lanes = [lane for lane in run.context.lanes() if name in lane.ranked]
        return cls(run, lanes[-1], name)

    def examples(self, rows: int, columns: Sequence[str]) -> pa.Table:
        """Columns of the first rows of the examples."""
        return self._first(self.run.context.run.examples(self.name), "ingest", rows, columns)

    def predictions(self, iteration: int, method: str, rows: int) -> pa.Table:
        """`id` and `labels` of the predictions for the same rows."""
        directory = self.lane.predictions(iteration, method, self.name)
        return self._first(directory, f"annotate --iteration={iteration}", rows, ["id", "labels"])

    def reweighted(self, iteration: int, rows: int) -> pa.Table:
        """`labels`, `candidates` and `affinity` of the same rows."""
        directory = self.lane.reweighted(iteration, self.name)
        return self._first(directory, f"affinity --iteration={iteration}", rows, ["labels", "candidates", "affinity"])

    def _first(self, directory: str, made_by: str, rows: int, columns: Sequence[str]) -> pa.Table:
        fs = self.run.context.fs
        manifest = self.run.context.fresh(directory, read_manifest(fs, directory, made_by))
        return first_rows(self.run, StoredDataset(directory, manifest), rows, columns)


def first_rows(run: ExistingRun, dataset: StoredDataset, rows: int, columns: Sequence[str]) -> pa.Table:
    """Columns of the first rows of a dataset that has some, whole blocks read until there are enough."""
    blocks: list[pa.Table] = []
    for part in dataset.manifest.parts:
        if sum(map(len, blocks)) >= rows:
            break
        with PartReader(run.context.fs, dataset.directory, part) as reader:
            for index in range(reader.blocks):
                blocks.append(reader.block(index, columns))
                if sum(map(len, blocks)) >= rows:
                    break
    return pa.concat_tables(blocks).slice(0, rows).combine_chunks()

"""The landmarks of train: sampled from its gathered parts, fitted in one place.

parts of train  →  sample, of m rows and a few  →  φ  →  RUN/landmarks
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np

from awe_core.arrangement import block_slices
from awe_core.landmarks import Landmarks, in_sample
from awe_core.scaling import Columns, scaled
from pipelines.config import Data
from pipelines.datasets.dataset_writer import DatasetPlan
from pipelines.datasets.landmarks import write_landmarks
from pipelines.ingestion.example_rows import ExampleRows
from pipelines.ingestion.read_rows import PartKey
from pipelines.ingestion.survey import Plan
from pipelines.ingestion.user_rows import TRAIN
from pipelines.ingestion.write_parts import joined_part
from pipelines.jobs import counters
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.parts import Part

_ROWS = 1024
"""Of an element."""


def fitting_bytes(data: Data, plan: Plan, row_bytes: int) -> int:
    """What fitting holds: three matrices of landmarks × landmarks, and the landmarks in float32 and float64."""
    count = min(data.landmarks, plan.train_rows)
    return count * (24 * count + 3 * row_bytes)


class SampleLandmarks(beam.DoFn):
    """((split, part), its rows) → those of train that may be landmarks, a few at a time."""

    def __init__(self, plan: Plan, count: int) -> None:
        self._plan, self._count = plan, count

    def process(self, group: tuple[PartKey, Iterable[ExampleRows | None]]) -> Iterator[ExampleRows]:
        (split, _), pieces = group
        if split != TRAIN:
            return
        rows, _ = joined_part(pieces, self._plan, self._plan.rule.seed)
        chosen = in_sample(self._plan.rule.seed, rows.ids, self._count, self._plan.train_rows)
        places = np.flatnonzero(chosen)
        for some in block_slices(len(places), _ROWS):
            yield rows.take(places[some])


def fit_landmarks(
    _: None,
    samples: list[ExampleRows],
    columns: Columns | None,
    fs: FileSystem,
    dataset: DatasetPlan,
    data: Data,
    seed: int,
) -> tuple[str, Part]:
    """Fit φ on the sample, and write it: a row a landmark."""
    if not samples:
        raise DataError("data.landmarks: train has no row; leave data.landmarks out")
    sample = ExampleRows.joined(samples)
    x = scaled(sample.features, data.scale, columns)
    try:
        with counters.kernel("landmarks"):
            fitted = Landmarks.fit(seed, sample.ids, x, data.landmarks, data.components, data.gamma)
    except ValueError as error:
        raise DataError(f"data.landmarks: {error}") from error
    return dataset.directory, write_landmarks(fitted, fs, dataset)

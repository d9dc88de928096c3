"""A run's model in somebody else's Beam pipeline: a handler for `RunInference`, and `Annotate` for dictionaries.

Elements are rows of x as they stand in the data; what ingest does to x is done to them. A worker process holds the run
once (`pipelines.questions.loaded_run`), and a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, PredictionResult, RunInference
from threadpoolctl import threadpool_limits

from awe_core.annotator import Annotations
from awe_core.examples import Features
from pipelines.questions.existing_run import ExistingRun
from pipelines.questions.loaded_run import LoadedRun, load, refuse_unfit
from schemas import tables

Example = Any
"""x of one row: d numbers, or a pair (indices, values) where the run's x is sparse."""
Annotation = dict[str, Any]
"""See `tables.explained`, without the id."""

BATCH_ROWS = 1024


class AnnotatorHandler(ModelHandler[Example, PredictionResult, LoadedRun]):
    """Annotates rows by a run: `RunInference(AnnotatorHandler(run))` gives a `PredictionResult` for every x.

    Parameters
    ----------
    run : directory of the run, of one seed.
    iteration : T; the last one where not given.
    k : length of the lists.
    batch_rows : rows annotated at a time, at the most.
    """

    def __init__(self, run: str, iteration: int | None = None, k: int = 10, batch_rows: int = BATCH_ROWS) -> None:
        super().__init__(max_batch_size=batch_rows)
        found = ExistingRun.open(run, iteration)
        refuse_unfit(found)
        self._run, self._iteration, self._k = run, found.iteration, k

    def load_model(self) -> LoadedRun:
        """Read the run, once a process."""
        return load(self._run, self._iteration)

    def run_inference(
        self, batch: Sequence[Example], model: LoadedRun, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """Annotate a batch.

        Raises
        ------
        ValueError : a row is not of the run's width.
        FloatingPointError : an embedding is not finite.
        """
        with threadpool_limits(1):
            found = model.annotate(stacked(batch, model), self._k)
        for example, annotation in zip(batch, as_rows(found, model.names), strict=True):
            yield PredictionResult(example, annotation)

    def get_metrics_namespace(self) -> str:
        return "awe"


class Annotate(beam.PTransform):
    """PCollection of rows as dictionaries → the same rows, x replaced by their annotation.

    A row has `features` (d numbers) or, where the run's x is sparse, `indices` and `values`; what else it has is kept.
    Added are the columns of `schemas.tables.explained`.

    Parameters
    ----------
    run, iteration, k : see `AnnotatorHandler`.
    """

    def __init__(self, run: str, iteration: int | None = None, k: int = 10) -> None:
        super().__init__()
        self._handler = KeyedModelHandler(AnnotatorHandler(run, iteration, k))

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return (
            rows
            | "x of row" >> beam.Map(_apart)
            | "annotate" >> RunInference(self._handler)
            | "with what was kept" >> beam.MapTuple(_together)
        )


_X = ("features", "indices", "values")


def _apart(row: Mapping[str, Any]) -> tuple[tuple[tuple[str, Any], ...], Example]:
    """What of a row is kept, as a key, and its x."""
    kept = tuple((name, value) for name, value in row.items() if name not in _X)
    return kept, row["features"] if "features" in row else (row["indices"], row["values"])


def _together(kept: tuple[tuple[str, Any], ...], result: PredictionResult) -> dict[str, Any]:
    return {**dict(kept), **result.inference}


def stacked(batch: Sequence[Example], model: LoadedRun) -> Features:
    """Rows of x as one array, dense or CSR. Raises ValueError where a row is not as wide as the run's x."""
    if not model.sparse:
        rows = [np.asarray(row, dtype=np.float32) for row in batch]
        other = next((row.shape for row in rows if row.shape != (model.dimension,)), None)
        if other is not None:
            raise ValueError(f"x of the shape {other}, but the run's x has {model.dimension} numbers")
        return np.stack(rows)
    pairs = [(np.asarray(indices, dtype=np.int64), np.asarray(values, np.float32)) for indices, values in batch]
    indptr = np.concatenate([[0], np.cumsum([len(indices) for indices, _ in pairs])])
    indices, values = (np.concatenate(column) for column in zip(*pairs, strict=True))
    if len(indices) and not 0 <= indices.min() <= indices.max() < model.dimension:
        raise ValueError(f"feature index {indices.max()} (or {indices.min()}) is outside 0…{model.dimension - 1}")
    matrix = sp.csr_matrix((values, indices, indptr), shape=(len(batch), model.dimension))
    matrix.sum_duplicates()
    return matrix


def as_rows(found: Annotations, names: Sequence[str]) -> list[Annotation]:
    """Annotations as plain Python, a dictionary a row."""
    columns = as_columns(found, names)
    return pa.table(columns, schema=pa.schema([f for f in tables.explained() if f.name in columns])).to_pylist()


def as_columns(found: Annotations, names: Sequence[str]) -> dict[str, pa.Array]:
    """Annotations as the columns of `tables.explained`, without the id."""
    ranking = found.ranking
    offsets, behind = pa.array(ranking.indptr.astype(np.int32)), pa.array(found.behind.indptr.astype(np.int32))

    def by_label(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, values)

    return {
        "labels": by_label(pa.array(ranking.labels)),
        "scores": by_label(pa.array(ranking.scores)),
        "names": by_label(pa.array([names[label] for label in ranking.labels.tolist()], pa.string())),
        "linear": by_label(pa.array(found.linear)),
        "affinity": by_label(pa.array(found.affinity)),
        "neighbours": by_label(pa.ListArray.from_arrays(behind, pa.array(found.behind.ids))),
        "weights": by_label(pa.ListArray.from_arrays(behind, pa.array(found.behind.weights))),
    }

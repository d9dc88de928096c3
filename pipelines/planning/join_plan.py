"""The plan of a join from the datasets it is asked of: said before it runs, with the seconds it will take."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from numpy.typing import NDArray

from awe_core.affinities.beside_neighbours import SAMPLE_ROWS
from awe_core.knn import plan as planning
from awe_core.knn.metric import Metric
from awe_core.knn.plan import Asked, Plan, Rates
from awe_core.knn.probe import probe, sample_rows
from pipelines import log
from pipelines.config import Affinity
from pipelines.datasets.vector_dataset import VectorDataset, joins_itself
from pipelines.errors import ConfigError
from schemas.filesystem import FileSystem
from schemas.parts import PartReader

# A join that takes less by the rates that are built in is not worth measuring this machine's; one that takes longer is
# worth a part of that, up to a bound.
_WORTH_A_PROBE, _PROBE_SHARE, _PROBE_SECONDS = 15.0, 0.25, 20.0


def plan_join(
    fs: FileSystem,
    base: Sequence[VectorDataset],
    queries: Sequence[VectorDataset],
    n: int,
    options: PipelineOptions,
    worker_bytes: int,
    metric: Metric = "euclidean",
    recall: float = 1.0,
    sampled: int = 0,
    shards: int | None = None,
) -> tuple[Plan, float]:
    """The plan to follow, and the seconds it will take; it and those not taken are said.

    Parameters
    ----------
    options : tell how many tasks run at once.
    worker_bytes : memory of a worker.
    recall : below 1 the base is joined with itself by lists.
    sampled : rows of the base, at the most, that are joined with it once more.
    shards : of the base, where they are given.

    Raises ConfigError where no plan keeps to it.
    """
    nonzeros = _nonzeros(fs, base)
    asked = replace(_asked(base, queries, n, options, worker_bytes, recall, nonzeros, sampled), shards=shards)
    try:
        several = planning.plans(asked)
    except ValueError as error:
        left = ", or leave out the shards that it is to have" if shards else ""
        raise ConfigError(f"{error}; give the join more memory (--memory, or affinity.memory){left}") from None
    rates = planning.rates_of(base[0].dimension, n, nonzeros)
    # The probe measures the exact join.
    guess = several[0].seconds(rates, asked.workers)
    if guess > _WORTH_A_PROBE and nonzeros is None and not asked.by_lists:
        rates = _probe(fs, base, n, metric, asked.workers, rates, min(_PROBE_SECONDS, _PROBE_SHARE * guess))
    if asked.own_process:
        rates = replace(rates, shuffle_bytes_per_second=planning.SHUFFLE_BYTES_PER_SECOND)
    for place, plan in enumerate(several):
        log.info(_said(plan, rates, asked.workers, chosen=place == 0))
    return several[0], several[0].seconds(rates, asked.workers)


def _asked(
    base: Sequence[VectorDataset],
    queries: Sequence[VectorDataset],
    n: int,
    options: PipelineOptions,
    worker_bytes: int,
    recall: float,
    nonzeros: float | None,
    sampled: int,
) -> Asked:
    rows = sum(dataset.manifest.rows for dataset in base)
    within = joins_itself(base, queries) and nonzeros is None
    others = sum(dataset.manifest.rows for dataset in queries) - (rows if within else 0)
    by_lists = within and recall < 1
    return Asked(
        rows,
        within,
        others + min(rows, sampled),
        base[0].dimension if nonzeros is None else planning.dense_dimension(nonzeros),
        n,
        _workers(options),
        worker_bytes,
        by_lists,
        parts=sum(bool(part.rows) for dataset in base for part in dataset.manifest.parts),
        own_process=not _in_process(options),
    )


def _nonzeros(fs: FileSystem, base: Sequence[VectorDataset]) -> float | None:
    """Values of a row of the base where it is sparse: rows are well mixed, so one block tells. None where dense."""
    if not base[0].sparse:
        return None
    found = next(((dataset, part) for dataset in base for part in dataset.manifest.parts if part.rows), None)
    if found is None:
        return 0.0
    dataset, part = found
    with PartReader(fs, dataset.directory, part) as reader:
        vectors = dataset.vectors(reader, 0)
    return float(vectors.nnz / vectors.shape[0])  # type: ignore[union-attr]


def _in_process(options: PipelineOptions) -> bool:
    """Whether all tasks are threads of this process."""
    mode = options.view_as(DirectOptions).direct_running_mode
    return options.view_as(StandardOptions).runner == "FnApiRunner" and mode != "multi_processing"


def shards_of(
    fs: FileSystem,
    base: Sequence[VectorDataset],
    queries: Sequence[VectorDataset],
    settings: Affinity,
    options: PipelineOptions,
    recall: float = 1.0,
) -> tuple[int, int]:
    """(shards of an affinity's join, bytes that a worker holds), by the plan.

    The sample that the median is of is joined with the base too. Raises ConfigError where no plan keeps to the memory.
    """
    sampled, shards = SAMPLE_ROWS, settings.shards
    plan, _ = plan_join(
        fs, base, queries, settings.n, options, settings.memory, recall=recall, sampled=sampled, shards=shards
    )
    return plan.shards, plan.worker_bytes


def _said(plan: Plan, rates: Rates, workers: int, chosen: bool) -> str:
    taken = "plan" if chosen else "not taken"
    return (
        f"{taken}: {plan.name}, {plan.shards} shards, {plan.tasks} tasks, {workers} workers; "
        f"{plan.shuffle_bytes / 1e6:,.0f} MB shuffled, {plan.read_bytes / 1e6:,.0f} MB read, "
        f"{plan.worker_bytes / 2**20:,.0f} MiB a worker, about {plan.seconds(rates, workers):,.0f} s"
    )


def _workers(options: PipelineOptions) -> int:
    """How many tasks run at once: as far as the options tell, else as many as this machine has cores."""
    told = options.get_all_options()
    for name in ("parallelism", "max_num_workers", "num_workers"):
        if told.get(name) and int(told[name]) > 0:
            return int(told[name])
    return int(options.view_as(DirectOptions).direct_num_workers or os.cpu_count() or 1)


def _probe(
    fs: FileSystem,
    base: Sequence[VectorDataset],
    n: int,
    metric: Metric,
    workers: int,
    built_in: Rates,
    seconds: float,
) -> Rates:
    start = time.monotonic()
    base_rows, at_once = sum(dataset.manifest.rows for dataset in base), min(workers, os.cpu_count() or 1)
    sample = _sample(fs, base, sample_rows(built_in, at_once, seconds))
    rates = probe(sample, n, base_rows, at_once, metric, seconds=seconds)
    log.info(
        f"probe of {time.monotonic() - start:.0f} s: {1e9 * rates.per_pair:.2f} ns a pair of rows; "
        f"{1e6 * rates.per_row:.1f} µs a row, {1e6 * rates.per_shard:.1f} for every shard that it meets; one worker"
    )
    return rates


def _sample(fs: FileSystem, base: Sequence[VectorDataset], rows: int) -> NDArray[np.float32]:
    """Blocks of the base, spread over its parts: as many rows, if there are."""
    parts = [(dataset, part) for dataset in base for part in dataset.manifest.parts if part.rows]
    wanted = -(-rows // len(parts))
    found: list[NDArray[np.float32]] = []
    for dataset, part in parts:
        with PartReader(fs, dataset.directory, part) as reader:
            for block in range(min(reader.blocks, -(-wanted // dataset.block_rows))):
                vectors = dataset.vectors(reader, block)
                assert isinstance(vectors, np.ndarray)
                found.append(vectors)
    return np.concatenate(found)[:rows]

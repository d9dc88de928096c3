"""The join by itself: datasets of vectors in, datasets of neighbours out.

BASE…, QUERIES…  →  OUTPUT/name of each dataset that is asked for
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from awe_core.knn.metric import Metric
from pipelines import log
from pipelines.datasets.dataset_writer import DatasetPlan, is_current, refuse_other
from pipelines.datasets.neighbour_dataset import NeighbourDataset, WriteNeighbours
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.errors import ConfigError, DataError
from pipelines.jobs.job import run_job
from pipelines.join.approximate_join import ApproximateKnnJoin, recall_facts, refuse_lists
from pipelines.join.knn_join import KnnJoin
from pipelines.planning.join_plan import plan_join
from pipelines.planning.worker_memory import with_memory
from schemas import tables
from schemas.filesystem import FileSystem
from schemas.manifest import find_manifest, read_manifest, recipe_of

VERSION = 1

_SEED = 0
"""Of the samples of a join by lists."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    base, queries : directories of datasets with vectors; no queries ask for the base itself.
    output : the neighbours of …/name are written to output/name.
    known : an output of the base as it was: only what is new is joined. None joins everything.
    shards : of the base; None leaves it to the plan.
    worker_bytes : memory of a worker.
    recall : below 1 the base is joined with itself by lists, and the manifests say what recall was measured. Other
        queries are joined exactly all the same.
    """

    base: tuple[str, ...]
    queries: tuple[str, ...]
    output: str
    n: int
    metric: Metric = "euclidean"
    known: str | None = None
    shards: int | None = None
    worker_bytes: int = 4 * 2**30
    recall: float = 1.0


class FindNeighbours(beam.PTransform):
    """PBegin → (directory, Manifest) of the neighbours of every dataset that is asked for, by a plan for each."""

    def __init__(
        self,
        fs: FileSystem,
        base: Sequence[VectorDataset],
        queries: Sequence[VectorDataset],
        request: Request,
        shards: int,
        known: Mapping[str, NeighbourDataset],
        plans: Sequence[DatasetPlan],
    ) -> None:
        super().__init__()
        self._fs, self._base, self._queries = fs, list(base), list(queries)
        self._request, self._shards, self._known, self._plans = request, shards, known, list(plans)

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        what = self._fs, self._base, self._queries, self._request.n, self._shards
        metric = self._request.metric
        if self._request.recall == 1:
            write = WriteNeighbours(self._fs, self._queries, self._plans)
            return begin | "join" >> KnnJoin(*what, metric=metric, known=self._known) | "write" >> write
        found = begin | "join" >> ApproximateKnnJoin(*what, self._request.recall, _SEED, metric=metric)
        queries = zip(self._plans, self._queries, strict=True)
        by_lists = [plan.directory for plan, query in queries if query in self._base]
        facts = found.measured | "name facts" >> beam.Map(
            lambda measured: dict.fromkeys(by_lists, recall_facts(measured))
        )
        write = WriteNeighbours(self._fs, self._queries, self._plans, late_facts=beam.pvalue.AsSingleton(facts))
        return found.neighbours | "write" >> write


def main(fs: FileSystem, options: PipelineOptions, request: Request) -> list[str]:
    """Plan the join, say the plan, and run it: the directories of what was written or stood there.

    Raises
    ------
    ConfigError : two datasets of one name, or of unlike width; an output where another dataset stands; shards that do
        not fit into the worker's memory; a recall below 1 for a join that is not one of lists.
    DataError : a dataset is missing or damaged.
    """
    base = [_dataset(fs, directory) for directory in request.base]
    queries = [_dataset(fs, directory) for directory in request.queries] or base
    _refuse_unlike(base[0], [*base, *queries])
    _refuse_recall(request, base, queries)
    known = _known(fs, request, base)
    plans = [_output(fs, request, base, query, known) for query in queries]
    for written in plans:
        refuse_other(fs, written, "--output")
    if all(is_current(fs, plan.directory, plan.recipe) for plan in plans):
        log.info(f"{request.output} is up to date, skipped")
        return [plan.directory for plan in plans]
    memory, metric, recall = request.worker_bytes, request.metric, request.recall
    plan, _ = plan_join(fs, base, queries, request.n, options, memory, metric, recall, shards=request.shards)
    transform = FindNeighbours(fs, base, queries, request, plan.shards, known, plans)

    def build(pipeline: beam.Pipeline) -> None:
        _ = pipeline | "knn" >> with_memory(transform, plan.worker_bytes)

    start = time.monotonic()
    rows = sum(query.manifest.rows for query in queries)
    run_job("knn", build, options, fs, fs.join(request.output, "log"), rows)
    log.info(f"joined in {time.monotonic() - start:,.1f} s")
    return [plan.directory for plan in plans]


def _refuse_unlike(first: VectorDataset, all_of_them: Sequence[VectorDataset]) -> None:
    for one in all_of_them:
        if (one.dimension, one.sparse) != (first.dimension, first.sparse):
            unlike, usual = (f"{d.dimension:,} {'sparse' if d.sparse else 'dense'} columns" for d in (one, first))
            raise ConfigError(
                f"{one.directory} has {unlike}, and {first.directory} has {usual}; give vectors of one space"
            )


def _refuse_recall(request: Request, base: Sequence[VectorDataset], queries: Sequence[VectorDataset]) -> None:
    if request.recall == 1:
        return
    if request.known is not None:
        raise ConfigError("a recall below 1 finds other neighbours in a base that has grown; leave out --known")
    refuse_lists(base, queries, request.recall, request.metric)


def _dataset(fs: FileSystem, directory: str) -> VectorDataset:
    try:
        dataset = VectorDataset(directory.rstrip("/"), read_manifest(fs, directory, "embed' or 'awe ingest"))
    except NotADirectoryError:
        raise DataError(f"{directory}: is no folder; give a dataset's, as RUN/embeddings-0/train") from None
    if not {"embedding", "features", "indices"} & dataset.manifest.columns:
        raise DataError(f"{directory}: has no vectors; give embeddings or examples")
    return dataset


def _name(directory: str) -> str:
    return directory.rstrip("/").rpartition("/")[2]


def _known(fs: FileSystem, request: Request, base: Sequence[VectorDataset]) -> dict[str, NeighbourDataset]:
    """The neighbours that are known, by directory of the base's dataset: those found under the same name."""
    if request.known is None:
        return {}
    found = {}
    for dataset in base:
        directory = fs.join(request.known, _name(dataset.directory))
        manifest = find_manifest(fs, directory)
        if manifest is not None:
            found[dataset.directory] = NeighbourDataset(directory, manifest)
    if not found:
        raise DataError(f"{request.known}: has neighbours of none of {', '.join(map(_name, request.base))}")
    return found


def _output(
    fs: FileSystem,
    request: Request,
    base: Sequence[VectorDataset],
    query: VectorDataset,
    known: dict[str, NeighbourDataset],
) -> DatasetPlan:
    others = [_name(directory) for directory in request.queries or request.base]
    if len(set(others)) < len(others):
        raise ConfigError(f"two datasets are called {max(others, key=others.count)}: their neighbours need two names")
    facts: dict[str, Any] = {
        "n": request.n,
        "metric": request.metric,
        "block_rows": query.block_rows,
        "base_rows": sum(dataset.manifest.rows for dataset in base),
        "base": [dataset.fingerprint for dataset in base],
    }
    inputs = {dataset.directory: dataset.fingerprint for dataset in [query, *base]}
    inputs |= {dataset.directory: dataset.fingerprint for dataset in known.values()}
    settings: dict[str, Any] = {"n": request.n, "metric": request.metric}
    if request.recall < 1 and query in base:
        settings |= {"recall": request.recall, "seed": _SEED}
        facts |= {"recall_asked": request.recall}
    # What was known is no part of the recipe: the neighbours are the same without it.
    recipe = recipe_of("knn", VERSION, settings, {"queries": query.fingerprint, "base": str(facts["base"])})
    directory = fs.join(request.output, _name(query.directory))
    return DatasetPlan(directory, recipe, tables.neighbours(), len(query.manifest.parts), facts, inputs)

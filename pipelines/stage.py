"""What every stage is given, and the few things that every stage does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import log
from pipelines.config import Config
from pipelines.datasets.dataset_writer import DatasetPlan, is_current
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs.job import in_process, run_job, template_of
from pipelines.jobs.memory import watched_peak
from pipelines.run_directory import Lane, RunDirectory
from schemas.errors import DataError
from schemas.filesystem import read_bytes
from schemas.manifest import Manifest, find_manifest, read_manifest
from schemas.model_file import ModelFile, find_model

Made = TypeVar("Made", Manifest, ModelFile)


@dataclass(frozen=True)
class Context:
    """One run: its configuration, its directory, and how its Beam jobs are launched."""

    config: Config
    run: RunDirectory
    fs: BeamFileSystem
    options: PipelineOptions
    _checked: set[tuple[str, str]] = field(default_factory=set, compare=False)
    """(path, fingerprint) of what `fresh` has found to be made from what stands there."""

    def examples(self, split: str) -> Manifest:
        """The manifest of a split. Raises DataError where ingest has not run."""
        return read_manifest(self.fs, self.run.examples(split), "ingest")

    def lanes(self) -> list[Lane]:
        """The lanes of the run in their order.

        Raises DataError where there are no examples, or those of users were made for another `train.refit`.
        """
        facts = self.examples("train").facts
        users, refit = facts["one_hot"] or facts["history"], self.config.train.refit
        if users and refit != facts.get("refit", False):
            raise DataError(
                f"{self.run.examples('')}: users were written with train.refit = {str(not refit).lower()}, and it is "
                f"{str(refit).lower()} now; run 'awe ingest' again"
            )
        return list(self.run.lanes(self.config, users))

    def fresh(self, directory: str, made: Made) -> Made:
        """A dataset or model that is to be read, after a look at what it was made from, down to the examples.

        Raises DataError where something of that was made anew since: the rows would be those of another model.
        """
        if (directory, made.fingerprint) in self._checked:
            return made
        for name, fingerprint in made.inputs.items():
            path = self.run.path(name)
            model, manifest = find_model(self.fs, path), find_manifest(self.fs, path)
            source = model or manifest
            if source is None or source.fingerprint != fingerprint:
                raise DataError(
                    f"{directory}: it was made from another {name} than the one that stands there now; make it again "
                    f"with 'awe {_stage_of(self.short(directory))}', or all of it with 'awe run'"
                )
            if model is not None:
                self.fresh(path, model)
            elif manifest is not None:
                self.fresh(path, manifest)
        self._checked.add((directory, made.fingerprint))
        return made

    def write_configuration(self) -> None:
        """Keep the resolved configuration of what was made."""
        self.fs.put(self.run.path("run.toml"), self.config.to_toml())

    def job(self, name: str, build: Callable[[beam.Pipeline], Any], rows: int | None = None) -> dict[str, Any]:
        """Run a Beam job over so many rows to its end; its counters, also kept in RUN/log/NAME.json."""
        return run_job(name, build, self.options, self.fs, self.run.path("log"), rows)

    def first_job(self, name: str, build: Callable[[beam.Pipeline], Any]) -> dict[str, Any]:
        """As `job`, of what another job is planned by. A template is of one job: the first is run here then."""
        options = self.options if template_of(self.options) is None else in_process(self.options)
        return run_job(name, build, options, self.fs, self.run.path("log"))

    def outdated(self, plans: Iterable[DatasetPlan]) -> list[DatasetPlan]:
        """The datasets that do not stand there as planned; the others are skipped, and that is said."""
        waiting = []
        for plan in plans:
            if is_current(self.fs, plan.directory, plan.recipe):
                log.info(f"{self.short(plan.directory)} is up to date, skipped")
            else:
                waiting.append(plan)
        return waiting

    def short(self, path: str) -> str:
        """A path below the run directory, as a log line shows it."""
        return path.removeprefix(self.run.root).lstrip("/")


def _stage_of(name: str) -> str:
    """The command that makes a dataset, by its path in the run directory."""
    stages = {"model": "train", "embeddings": "embed", "reweighted": "affinity", "predictions": "annotate"}
    for folder in name.split("/"):  # the first may be that of a lane or of a fold
        kind, _, iteration = folder.partition("-")
        if kind in stages:
            return f"{stages[kind]} --iteration={iteration}"
    return "ingest"


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long a stage took."""
    start = time.monotonic()
    log.info(f"{what} …")
    yield
    log.info(f"{what}: {time.monotonic() - start:.1f} s")


@contextmanager
def spent(context: Context, lane: Lane, stage: str) -> Iterator[None]:
    """Keep the seconds and the most bytes of a stage that is no job in the lane's log, as a job's are kept."""
    start = time.monotonic()
    with watched_peak() as peak:
        yield
    table = {"stage": stage, "seconds": round(time.monotonic() - start, 3), "peak_bytes": peak.bytes}
    context.fs.put(context.fs.join(lane.root, "log", f"{stage}.json"), json.dumps(table, indent=1).encode())


def features_facts(manifest: Manifest) -> Mapping[str, Any]:
    """The facts of examples that every dataset aligned with them repeats."""
    repeated = ("dimension", "sparse", "labels", "key", "one_hot", "history", "block_rows", "intercept", "mapped_from")
    return {name: manifest.facts[name] for name in repeated if name in manifest.facts}


@dataclass(frozen=True)
class Cost:
    """What ranking a split took: it is no result, and stands beside the run, outside every fingerprint.

    Attributes
    ----------
    seconds : CPU seconds of ranking all its examples, of finding their neighbours too where that is a part of it.
    bytes : of the model and, where neighbours are asked, of the base that one query has to reach.
    """

    seconds: float
    bytes: int


def write_cost(context: Context, lane: Lane, iteration: int, method: str, split: str, cost: Cost) -> None:
    """Keep what ranking took."""
    context.fs.put(_cost_path(context, lane, iteration, method, split), json.dumps(asdict(cost)).encode())


def read_cost(context: Context, lane: Lane, iteration: int, method: str, split: str) -> Cost | None:
    """What ranking took, or None where the log was removed or damaged."""
    try:
        content = json.loads(read_bytes(context.fs, _cost_path(context, lane, iteration, method, split)))
        return Cost(float(content["seconds"]), int(content["bytes"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _cost_path(context: Context, lane: Lane, iteration: int, method: str, split: str) -> str:
    return context.fs.join(lane.root, "log", f"rank-{iteration}-{method}-{split}.json")

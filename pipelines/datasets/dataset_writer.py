"""The end of every stage: parts are gathered and the manifest is written last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.jobs import counters
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.manifest import Manifest, commit, find_manifest, launch
from schemas.parts import Part


@dataclass(frozen=True)
class DatasetPlan:
    """A dataset that a job will write.

    Attributes
    ----------
    directory : where.
    recipe : what it is made from (`schemas.manifest.recipe_of`).
    schema : its columns.
    parts : how many it will have.
    facts, inputs : see `schemas.manifest.Manifest`.
    """

    directory: str
    recipe: str
    schema: pa.Schema
    parts: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def is_current(fs: FileSystem, directory: str, recipe: str) -> bool:
    """Whether the dataset stands there as this recipe would make it, with none of its parts gone."""
    manifest = find_manifest(fs, directory)
    if manifest is None or manifest.recipe != recipe:
        return False
    return {part.name for part in manifest.parts} <= set(fs.names(directory))


def refuse_other(fs: FileSystem, plan: DatasetPlan, option: str) -> None:
    """Raise ConfigError where a user's output would replace a dataset that is of another kind: its input, say."""
    manifest = find_manifest(fs, plan.directory)
    if manifest is not None and not {*plan.schema.names} - {"key"} <= manifest.columns:
        columns = ", ".join(sorted(manifest.columns))
        raise ConfigError(
            f"{option}: {plan.directory} is a dataset of {columns}, and is not replaced; name another folder"
        )


class CommitDatasets(beam.PTransform):
    """(directory, Part) of all parts → (directory, Manifest) of every dataset, once it is written.

    Announces the datasets when the pipeline is built, so that a launch that was overtaken cannot commit.

    Parameters
    ----------
    fs, plans : the datasets that the input's parts belong to.
    late_facts : facts that only the job finds out, by directory, as a side input.
    """

    def __init__(
        self, fs: FileSystem, plans: Iterable[DatasetPlan], late_facts: beam.pvalue.AsSideInput | None = None
    ) -> None:
        super().__init__()
        self._fs = fs
        self._plans = {plan.directory: plan for plan in plans}
        self._late_facts = late_facts

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        for plan in self._plans.values():
            launch(self._fs, plan.directory, plan.recipe)
        side = [] if self._late_facts is None else [self._late_facts]
        # Beside its parts, so that a dataset that lost all of them does not go unseen.
        names = [(directory, None) for directory in self._plans]
        every = parts.pipeline | "list datasets" >> beam.Create(names, reshuffle=False)
        return (
            (parts, every)
            | "with datasets" >> beam.Flatten()
            | "gather parts" >> beam.GroupByKey()
            | "write manifest" >> beam.Map(_commit, self._fs, self._plans, *side)
        )


def _commit(
    gathered: tuple[str, Iterable[Part | None]],
    fs: FileSystem,
    plans: Mapping[str, DatasetPlan],
    late_facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[str, Manifest]:
    directory, found = gathered
    plan = plans[directory]
    # An attempt that was repeated writes the same part again: one of the two is enough.
    parts = {part.name: part for part in found if part is not None}
    if len(parts) != plan.parts:
        raise DataError(f"{directory}: {len(parts)} parts were written where {plan.parts} were planned; run it again")
    facts = {**plan.facts, **(late_facts or {}).get(directory, {})}
    manifest = Manifest.of(plan.recipe, parts.values(), plan.schema, facts, plan.inputs)
    commit(fs, directory, manifest)
    counters.member(counters.DATASETS, directory)
    counters.count("rows_written", manifest.rows)
    return directory, manifest

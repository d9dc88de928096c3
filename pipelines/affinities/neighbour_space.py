"""The space that neighbours are looked for in, as embeddings keep it: [Ux, r·x], where x has a weight.

r is found before a job, by the first block of the train examples: the rows are well mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from threadpoolctl import threadpool_limits

from awe_core.model import Model
from awe_core.neighbour_space import NeighbourSpace, width
from pipelines.config import Config
from pipelines.datasets.dataset_writer import DatasetPlan
from pipelines.datasets.example_blocks import read_examples
from pipelines.datasets.models import load_model
from pipelines.errors import ConfigError
from pipelines.stage import Context
from schemas.errors import DataError
from schemas.manifest import Manifest
from schemas.model_file import ModelFile
from schemas.parts import PartReader

_SCALE = "input_scale"
"""The fact of embeddings that is r."""


def input_scale(context: Context, directory: str, model: ModelFile) -> float:
    """r of a model; 0 where x has no weight. Raises ConfigError where the rows leave it open."""
    weight = context.config.affinity.input_weight
    if not weight:
        return 0.0
    manifest, folder = context.examples("train"), context.run.examples("train")
    part = next((part for part in manifest.parts if part.rows), None)
    if part is None:
        raise DataError(f"{folder}: has no rows, so there is nothing to weigh x by; give train examples")
    with PartReader(context.fs, folder, part) as reader:
        sample = read_examples(reader, 0, manifest.facts).features
    try:
        with threadpool_limits(1):  # a product by several threads has other last bits
            return NeighbourSpace.of(load_model(context.fs, directory, model), sample, weight).input_scale
    except ValueError as error:
        raise ConfigError(f"affinity.input_weight: {error}") from None


def keys_of(config: Config) -> dict[str, Any]:
    """The key that embeddings depend on beside their inputs; none where they are Ux alone."""
    weight = config.affinity.input_weight
    return {"input_weight": weight} if weight else {}


def facts_of(config: Config, examples: Manifest, model: ModelFile) -> dict[str, Any]:
    """The facts of embeddings by a model, but for r."""
    repeated = {name: examples.facts[name] for name in ("labels", "block_rows")}
    D, d = int(model.facts["settings"]["D"]), int(examples.facts["dimension"])
    return {**repeated, **keys_of(config), "dimension": width(D, d, config.affinity.input_weight)}


def refuse_other_weight(context: Context, directory: str, manifest: Manifest, stage: str) -> None:
    """Raise DataError where x has another weight in some embeddings than the configuration gives it."""
    found, asked = manifest.facts.get("input_weight", 0.0), context.config.affinity.input_weight
    if found != asked:
        raise DataError(
            f"{directory}: it was made with affinity.input_weight = {found:g}, not {asked:g}; run 'awe {stage}' again"
        )


def space_of(model: Model, facts: Mapping[str, Any]) -> NeighbourSpace:
    """Where a model puts examples, as the facts of its embeddings say."""
    return NeighbourSpace(model, float(facts.get(_SCALE, 0.0)))


def scaled(plan: DatasetPlan, scale: float) -> DatasetPlan:
    """A dataset to be written, which says r."""
    return replace(plan, facts={**plan.facts, _SCALE: scale}) if scale else plan

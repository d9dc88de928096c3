"""Models between the numerics and the disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from awe_core.affinities.joint_kinds import joint_named
from awe_core.baselines.linear import Linear
from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.training.settings import TrainSettings
from awe_core.training.trainer import Trained
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.model_file import ModelFile, find_model, read_tensors

WARM = "accumulators"
"""Stem of the file with the optimiser's state, which only a warm start reads."""


def model_file(fs: FileSystem, directory: str, iteration: int) -> ModelFile:
    """What model.json says. Raises DataError where there is no model."""
    found = find_model(fs, directory)
    if found is None:
        raise DataError(f"{directory}: there is no model yet; run 'awe train --iteration={iteration}' first")
    return found


def is_trained(fs: FileSystem, directory: str, recipe: str) -> bool:
    """Whether the model stands there as this recipe would make it, with none of its files gone."""
    found = find_model(fs, directory)
    return found is not None and found.recipe == recipe and set(found.files) <= set(fs.names(directory))


def model_tensors(model: Model) -> dict[str, Mapping[str, np.ndarray]]:
    """What a model's directory keeps of it, by file stem."""
    tensors: dict[str, Mapping[str, np.ndarray]] = {"model": {"U": model.U, "V": model.V, **model.own}}
    return {**tensors, WARM: model.accumulators} if model.accumulators else tensors


def model_facts(
    trained: Trained, settings: TrainSettings, seed: int, iteration: int, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """What model.json says of every model."""
    kept = next((record for record in trained.history if record.epoch == trained.best_epoch), None)
    fixed = 0 if settings.affinity is None else settings.affinity.fixed_bytes
    return {
        **({"fixed_bytes": fixed} if fixed else {}),
        "iteration": iteration,
        "settings": {name: _json(value) for name, value in settings.what_decides().items()},
        "seed": seed,
        "inputs": dict(inputs),
        "best_epoch": trained.best_epoch,
        "warm_rate": trained.warm_rate,
        "validation_p@1": kept.p_at_1 if kept else None,
        **({f"validation_{settings.metric}": kept.validation} if kept and settings.metric != "p@1" else {}),
        "offset": trained.model.offset,
    }


def _json(value: Any) -> Any:
    """JSON has no infinity."""
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def model_bytes(described: ModelFile, dimension: int, labels: int) -> int:
    """Bytes of U, V and an affinity's own tensors in memory, for d features and Y labels."""
    settings = described.facts["settings"]
    width = int(settings["D"]) + settings.get("affinity", {}).get("rank", 0)
    return 4 * width * (dimension + labels) + int(described.facts.get("fixed_bytes", 0))


def load_model(fs: FileSystem, directory: str, described: ModelFile, warm: bool = False) -> Model:
    """U, V, c and the affinity that was learnt with them; with `warm` also the optimiser's accumulators.

    Raises DataError where a tensor is missing, not finite, or not of the shape that goes with the others.
    """
    tensors = read_tensors(fs, directory, described, "model")
    state = read_tensors(fs, directory, described, WARM) if warm and f"{WARM}.safetensors" in described.files else {}
    settings = described.facts["settings"]
    try:
        affinity = settings.get("affinity")
        joint = joint_named(affinity["kind"], affinity) if affinity else None
        offset, similarity = float(described.facts["offset"]), settings.get("similarity", "dot")
        U, V = tensors.pop("U"), tensors.pop("V")
        model = Model(U, V, offset, state, similarity, joint, tensors, settings.get("kernel", "numpy"))
    except KeyError as error:
        raise DataError(f"{directory}/model.safetensors: tensor {error} is missing; train again") from error
    for name, rows in (("U", model.U), ("V", model.V)):
        if rows.ndim != 2 or rows.shape[1] != settings["D"]:
            raise _misshapen(directory, "model", name, rows.shape, f"[rows, {settings['D']}]")
    expected = {"U": model.U.shape, "V": model.V.shape, "offset": (1,)}
    expected |= {name: tensor.shape for name, tensor in model.own.items()}
    for name, sums in state.items():
        if sums.shape != expected.get(name):
            raise _misshapen(directory, WARM, name, sums.shape, str(list(expected.get(name, ()))))
    return model


def load_linear(fs: FileSystem, directory: str, described: ModelFile, method: str) -> Linear:
    """A linear baseline that was fitted beside model-0."""
    tensors = read_tensors(fs, directory, described, method)
    weights, intercept = tensors["weights"], tensors["intercept"]
    if weights.ndim != 2 or intercept.shape != weights.shape[1:]:
        raise _misshapen(directory, method, "intercept", intercept.shape, f"{list(weights.shape[1:])}")
    return Linear(weights, intercept)


def _misshapen(directory: str, stem: str, name: str, shape: tuple[int, ...], expected: str) -> DataError:
    return DataError(
        f"{directory}/{stem}.safetensors: tensor {name} is {list(shape)} where {expected} belongs; train again"
    )


def gate_of(facts: dict[str, Any]) -> Gate:
    """s and b of a model that was trained with a stored affinity."""
    return Gate(float(facts["scale"]), float(facts["bias"]))

"""Models between the numerics and the disk."""

from __future__ import annotations

from typing import Any

from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.ridge import Ridge
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


def model_bytes(described: ModelFile, dimension: int, labels: int) -> int:
    """Bytes of U and V in memory, for d features and Y labels."""
    return 4 * int(described.facts["settings"]["D"]) * (dimension + labels)


def load_model(fs: FileSystem, directory: str, described: ModelFile, warm: bool = False) -> Model:
    """U, V and c; with `warm` also the optimiser's accumulators."""
    tensors = read_tensors(fs, directory, described, "model")
    state = read_tensors(fs, directory, described, WARM) if warm and f"{WARM}.safetensors" in described.files else {}
    try:
        similarity = described.facts["settings"].get("similarity", "dot")
        return Model(tensors["U"], tensors["V"], float(described.facts["offset"]), state, similarity)
    except KeyError as error:
        raise DataError(f"{directory}/model.safetensors: tensor {error} is missing; train again") from error


def load_ridge(fs: FileSystem, directory: str, described: ModelFile) -> Ridge:
    """The ridge baseline that was fitted beside model-0."""
    tensors = read_tensors(fs, directory, described, "ridge")
    return Ridge(tensors["weights"], tensors["intercept"])


def gate_of(facts: dict[str, Any]) -> Gate:
    """s and b of a model of iteration ≥ 1."""
    return Gate(float(facts["scale"]), float(facts["bias"]))

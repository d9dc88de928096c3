"""A model on disk: tensors as safetensors, everything else as JSON that is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.checkpoint_file import CHECKPOINT
from schemas.errors import DataError
from schemas.filesystem import DRAFT, Draft, FileSystem, read_bytes
from schemas.manifest import digest
from schemas.tensor_file import TensorFileError, Tensors, read_tensor_file, write_tensors

MODEL = "model.json"
FORMAT = "affinity-weighted-embedding 1"
"""What the header of a tensor file says that it is, with the version of this format."""


@dataclass(frozen=True)
class ModelFile:
    """What `model.json` says and the tensor files it vouches for.

    Attributes
    ----------
    recipe : what the model was made from (`schemas.manifest.recipe_of`).
    files : sha256 by file name.
    facts : settings and figures of the training (best epoch, scale s, bias b, offset c, median m …).
    """

    recipe: str
    files: dict[str, str]
    facts: dict[str, Any]

    @property
    def inputs(self) -> dict[str, str]:
        """Fingerprints of what the model was made from, as in `schemas.manifest.Manifest`."""
        return dict(self.facts.get("inputs", {}))

    @property
    def fingerprint(self) -> str:
        """hash(recipe, tensors, facts)."""
        return digest([self.recipe, self.files, self.facts])


def write_model(
    fs: FileSystem,
    directory: str,
    recipe: str,
    tensors: Mapping[str, Tensors],
    facts: Mapping[str, Any],
    history: list[dict[str, Any]],
) -> ModelFile:
    """Write tensor files (`tensors`: arrays by name, by file stem), history.json, and last model.json.

    An older model stays whole until all of the new one is written beside it; then its model.json goes first, so that
    there never is one that does not fit its tensors.

    Raises ValueError where a fact has the name of one of model.json's own keys, DataError where a number is not finite;
    nothing is written then.
    """
    for stem, arrays in tensors.items():
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise DataError(
                    f"{directory}: {stem}/{name} overflowed in training; lower train.learning_rate or scale the "
                    "features (data.scale)"
                )
    reserved = {"recipe", "fingerprint", "files"} & set(facts)
    if reserved:
        raise ValueError(f"a fact of a model cannot be called {min(reserved)}")
    files: dict[str, str] = {}
    drafts: dict[str, Draft] = {}
    try:
        for stem, arrays in tensors.items():
            name = f"{stem}.safetensors"
            drafts[name] = fs.draft(directory)
            files[name] = write_tensors(drafts[name], arrays, _metadata(recipe, facts))
        fs.delete([fs.join(directory, MODEL)])
        for name, draft in drafts.items():
            draft.keep(fs.join(directory, name))
    finally:
        for draft in drafts.values():
            draft.discard()
    fs.put(fs.join(directory, "history.json"), json.dumps(history, indent=1).encode())
    model = ModelFile(recipe, files, dict(facts))
    body = {"recipe": recipe, "fingerprint": model.fingerprint, "files": files, **model.facts}
    fs.put(fs.join(directory, MODEL), json.dumps(body, indent=1, sort_keys=True).encode() + b"\n")
    fs.delete([fs.join(directory, name) for name in fs.names(directory) if _is_ours(name) and name not in files])
    return model


def _is_ours(name: str) -> bool:
    """Whether a file is a model's or a training's: others in the directory stay."""
    return name == CHECKPOINT or name.startswith(DRAFT) or name.endswith(".safetensors")


def _metadata(recipe: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """What a tensor file says of itself, without model.json beside it: every fact as JSON, and a few plainly."""
    settings, iteration = facts.get("settings", {}), facts.get("iteration", 0)
    plain = {
        "format": FORMAT,
        "method": "awe" if iteration else "wsabie",
        "D": str(settings.get("D", "")),
        "recipe": recipe,
    }
    return {**{name: json.dumps(value, sort_keys=True) for name, value in facts.items()}, **plain}


def find_model(fs: FileSystem, directory: str) -> ModelFile | None:
    """What model.json says, or None where there is no model."""
    path = fs.join(directory, MODEL)
    try:
        raw = json.loads(read_bytes(fs, path))
        fingerprint = raw.pop("fingerprint")
        model = ModelFile(raw.pop("recipe"), raw.pop("files"), raw)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a model ({error}); remove it and train again") from error
    if model.fingerprint != fingerprint:
        raise DataError(f"{path}: the fingerprint does not fit the content; remove it and train again")
    return model


def read_tensors(fs: FileSystem, directory: str, model: ModelFile, stem: str) -> dict[str, NDArray[np.float32]]:
    """Read one tensor file, checked against model.json and for finite values. Nothing is unpickled."""
    name = f"{stem}.safetensors"
    path = fs.join(directory, name)
    if name not in model.files:
        raise DataError(f"{path}: {MODEL} does not list it; train again with the setting that needs it")
    try:
        tensors = read_tensor_file(fs, path, model.files[name])
    except (FileNotFoundError, TensorFileError) as error:
        raise DataError(
            f"{path}: cannot be read as the file that {MODEL} lists ({error}); remove {MODEL} and train again"
        ) from error
    for tensor, array in tensors.items():
        if not np.isfinite(array).all():
            raise DataError(f"{path}: tensor {tensor} is not finite; train again with a lower train.learning_rate")
    return tensors

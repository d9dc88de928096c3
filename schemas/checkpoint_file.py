"""An interrupted training on disk: beside the model it will become, and never mistaken for one.

    DIRECTORY/checkpoint.json            what follows, written last and in one put
    DIRECTORY/checkpoint-….safetensors   the training's arrays
    DIRECTORY/checkpoint-….safetensors   those of the best epoch so far, which may be the same file

A kill at any moment leaves the last checkpoint whole: a new file goes beside the old ones, which are removed after
checkpoint.json has stopped naming them. Writing the model removes all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.filesystem import DRAFT, FileSystem, read_bytes
from schemas.manifest import digest
from schemas.tensor_file import TensorFileError, Tensors, read_tensor_file, write_tensors

CHECKPOINT = "checkpoint.json"
_PREFIX = "checkpoint-"


@dataclass(frozen=True)
class CheckpointFile:
    """What checkpoint.json says.

    Attributes
    ----------
    recipe : of the model that is being trained (`schemas.manifest.recipe_of`).
    files : sha256 by file name.
    current, best : names of the files with the arrays now and at the best epoch's end; None before there is one.
    facts : where the training stands, and what else it has to say.
    """

    recipe: str
    files: dict[str, str]
    current: str
    best: str | None
    facts: dict[str, Any]

    def body(self) -> dict[str, Any]:
        """As JSON, with a checksum of itself."""
        content = dict(vars(self))
        return {**content, "checksum": digest([json.dumps(content, sort_keys=True)])}


def write_checkpoint(
    fs: FileSystem,
    directory: str,
    recipe: str,
    before: CheckpointFile | None,
    tensors: Tensors,
    facts: Mapping[str, Any],
    best: bool,
) -> CheckpointFile:
    """Write a checkpoint in place of the one before it; `best` says that its arrays are the best epoch's."""
    name = f"{_PREFIX}{uuid4().hex}.safetensors"
    draft = fs.draft(directory)
    try:
        files = {name: write_tensors(draft, tensors)}
        draft.keep(fs.join(directory, name))
    finally:
        draft.discard()
    kept = name if best else (None if before is None else before.best)
    if kept is not None and before is not None and not best:
        files[kept] = before.files[kept]
    saved = CheckpointFile(recipe, files, name, kept, dict(facts))
    fs.put(fs.join(directory, CHECKPOINT), json.dumps(saved.body(), indent=1, sort_keys=True).encode())
    stale = [other for other in fs.names(directory) if other.startswith((_PREFIX, DRAFT)) and other not in files]
    fs.delete([fs.join(directory, other) for other in stale])
    return saved


def find_checkpoint(fs: FileSystem, directory: str) -> CheckpointFile | None:
    """What checkpoint.json says; None where there is none. Raises DataError where it is damaged."""
    path = fs.join(directory, CHECKPOINT)
    try:
        raw = json.loads(read_bytes(fs, path))
        checksum = raw.pop("checksum")
        found = CheckpointFile(**raw)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a checkpoint ({error}); remove it to train from the start") from error
    if found.body()["checksum"] != checksum:
        raise DataError(f"{path}: the checksum does not fit the content; remove it to train from the start")
    return found


def read_checkpoint_tensors(
    fs: FileSystem, directory: str, saved: CheckpointFile, name: str
) -> dict[str, NDArray[np.float32]]:
    """Read one of the files that a checkpoint names. Raises DataError where it is not the one that was written."""
    path = fs.join(directory, name)
    try:
        return read_tensor_file(fs, path, saved.files[name])
    except (FileNotFoundError, TensorFileError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove {CHECKPOINT} to train from the start") from error

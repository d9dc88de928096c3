"""What a training leaves behind between two steps, so that it can go on as if it had never stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from awe_core.affinities.joint import Joint
from awe_core.kernels.kernel import KernelName
from awe_core.model import Model
from awe_core.similarity import Similarity

SUMS = "accumulators/"
"""Before the name of a parameter: its accumulator."""
Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps.

    Attributes
    ----------
    arrays : U, V, offset, an affinity's own tensors and the optimiser's accumulators by name; they are those of the
        training, not copies.
    progress : where it stands and what it has counted, as JSON.
    """

    arrays: Arrays
    progress: dict[str, Any]


class Checkpoints(Protocol):
    """Where a training's checkpoints and its best epoch's model are kept."""

    def due(self) -> bool:
        """Asked after every step, and every block that the model is examined on: whether to save a checkpoint now."""

    def save(self, checkpoint: Checkpoint, best: bool) -> None:
        """Keep a checkpoint in place of the last one; `best` marks the best epoch's end. May end the process."""

    def load(self) -> Checkpoint | None:
        """The last checkpoint, in arrays that the training may change; None for a training that begins."""

    def best(self) -> Arrays:
        """The arrays of the last checkpoint that was marked as the best."""


class InMemory:
    """Keeps the best epoch's model alone: one copy, made when there is the first and written over from then on."""

    def __init__(self) -> None:
        self._best: Arrays = {}

    def due(self) -> bool:
        return False

    def save(self, checkpoint: Checkpoint, best: bool) -> None:
        if not best:
            return
        for name, values in checkpoint.arrays.items():
            if name in self._best:
                np.copyto(self._best[name], values)
            else:
                self._best[name] = values.copy()

    def load(self) -> Checkpoint | None:
        return None

    def best(self) -> Arrays:
        return self._best


def arrays_of(model: Model) -> Arrays:
    """A model's arrays as a checkpoint has them."""
    sums = {SUMS + name: values for name, values in model.accumulators.items()}
    return {"U": model.U, "V": model.V, "offset": np.array([model.offset], dtype=np.float32), **model.own, **sums}


def model_of(arrays: Arrays, similarity: Similarity, joint: Joint | None = None, kernel: KernelName = "numpy") -> Model:
    """The way back."""
    sums = {name.removeprefix(SUMS): values for name, values in arrays.items() if name.startswith(SUMS)}
    offset = float(arrays["offset"][0])
    return Model(arrays["U"], arrays["V"], offset, sums, similarity, joint, own_tensors(arrays), kernel)


def own_tensors(arrays: Arrays) -> Arrays:
    """Those of an affinity that is learnt jointly."""
    others = ("U", "V", "offset")
    return {name: values for name, values in arrays.items() if name not in others and not name.startswith(SUMS)}

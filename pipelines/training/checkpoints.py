"""A training's checkpoints, beside the model that it will become."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from signal import Signals

from awe_core.kernels.kernel import KernelName
from awe_core.training.checkpoint import Arrays, Checkpoint
from pipelines import log
from pipelines.errors import ConfigError
from pipelines.training.interruption import Stop
from schemas.checkpoint_file import CheckpointFile, find_checkpoint, read_checkpoint_tensors, write_checkpoint
from schemas.filesystem import FileSystem


class DiskCheckpoints:
    """`awe_core.training.checkpoint.Checkpoints` in a model's directory.

    Parameters
    ----------
    directory : of the model; writing the model removes what is kept here.
    recipe : of the model for a kernel (`schemas.manifest.recipe_of`): a checkpoint of another is not gone on with.
    kernel : of this run.
    minutes : between two checkpoints within an epoch.
    stop : noted signals: the next step saves, and the process leaves with 128 + the signal's number.
    """

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        recipe: Callable[[KernelName], str],
        kernel: KernelName,
        minutes: float,
        stop: Stop,
    ) -> None:
        self._fs, self._directory, self._stop = fs, directory, stop
        self._recipe, self._kernel, self._seconds = recipe(kernel), kernel, 60 * minutes
        self._saved = self._found(recipe)
        self._last = time.monotonic()

    def _found(self, recipe: Callable[[KernelName], str]) -> CheckpointFile | None:
        found = find_checkpoint(self._fs, self._directory)
        if found is None or found.recipe == self._recipe:
            return found
        other: KernelName = "numpy" if self._kernel == "numba" else "numba"
        if found.recipe == recipe(other):
            raise ConfigError(
                f"{self._directory}: the training that was interrupted here ran with train.kernel = {other!r}, and "
                f"with {self._kernel!r} it would end in other bits; give --train.kernel={other}, or remove "
                "checkpoint.json"
            )
        return None

    def due(self) -> bool:
        return self._stop.signal is not None or time.monotonic() - self._last >= self._seconds

    def save(self, checkpoint: Checkpoint, best: bool) -> None:
        facts = {"progress": checkpoint.progress}
        before = self._saved
        self._saved = write_checkpoint(self._fs, self._directory, self._recipe, before, checkpoint.arrays, facts, best)
        self._last = time.monotonic()
        if self._stop.signal is not None:
            place = checkpoint.progress["course"]["place"]
            log.notice(
                f"stopped by {Signals(self._stop.signal).name}: a checkpoint of epoch {place['epoch']}, step "
                f"{place['steps']} is kept, run the same command to go on"
            )
            sys.exit(128 + self._stop.signal)

    def load(self) -> Checkpoint | None:
        if self._saved is None:
            return None
        arrays = read_checkpoint_tensors(self._fs, self._directory, self._saved, self._saved.current)
        progress = self._saved.facts["progress"]
        place = progress["course"]["place"]
        log.info(f"going on from the checkpoint of epoch {place['epoch']}, step {place['steps']}")
        return Checkpoint(arrays, progress)

    def best(self) -> Arrays:
        assert self._saved is not None
        assert self._saved.best is not None
        return read_checkpoint_tensors(self._fs, self._directory, self._saved, self._saved.best)

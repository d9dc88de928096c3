"""What a training says of itself: a record of every epoch, and where it stands."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from awe_core.warp.samplers import Sampler


@dataclass(frozen=True)
class EpochRecord:
    """One line of history.json.

    Attributes
    ----------
    epoch : from 1; 0 is the model that a warm start goes on from, under the affinity (gxf).
    loss : mean of weight · L(rank) · hinge over the pairs trained on; None for epoch 0.
    pairs : pairs (x, y) visited = updates + skipped + no_negatives + uncovered.
    updates : pairs that found a violator.
    skipped : pairs that found none.
    no_negatives : pairs with M = 0.
    uncovered : pairs left out because their label is no candidate.
    p_at_1 : on the validation set, or its sample, a fraction; None without one.
    offset : c after the epoch.
    seconds : of training alone.
    sampler : what negatives were drawn by; None for epoch 0.
    draws : mean draws a pair took, skipped ones included (for "pooled" and "geometric" the number expected of draws
        one by one); None for epoch 0.
    rate : learning rate.
    validation : the metric that stops the training, of the same rows, a fraction; None without them.
    """

    epoch: int
    loss: float | None
    pairs: int
    updates: int
    skipped: int
    no_negatives: int
    uncovered: int
    p_at_1: float | None
    offset: float
    seconds: float
    sampler: Sampler | None = None
    draws: float | None = None
    rate: float | None = None
    validation: float | None = None


@dataclass(frozen=True)
class Progress:
    """Where a training stands: `rows` of `rows_of_epoch` visited in `epoch` of at most `epochs`."""

    epoch: int
    epochs: int
    rows: int
    rows_of_epoch: int
    seconds: float
    sampler: Sampler | None = None
    first_epoch: int = 1

    @property
    def seconds_left(self) -> float:
        """Estimate, as if all epochs were run at the pace so far; inf at the very start."""
        done = self.epoch - self.first_epoch + self.rows / max(1, self.rows_of_epoch)
        left = self.epochs - self.first_epoch + 1 - done
        return self.seconds * left / done if done > 0 else math.inf


@dataclass
class Tally:
    """What an epoch has counted so far. All of it is summed in the order of the steps, so it can be gone on with."""

    pairs: int = 0
    updates: int = 0
    no_negatives: int = 0
    uncovered: int = 0
    loss: float = 0.0
    draws: float = 0.0
    seconds: float = 0.0

    def record(self, epoch: int, offset: float, sampler: Sampler, rate: float) -> EpochRecord:
        """The line of an epoch that has ended, without its validation."""
        trained = self.pairs - self.no_negatives
        return EpochRecord(
            epoch=epoch,
            loss=self.loss / trained if trained else 0.0,
            pairs=self.pairs + self.uncovered,
            updates=self.updates,
            skipped=trained - self.updates,
            no_negatives=self.no_negatives,
            uncovered=self.uncovered,
            p_at_1=None,
            offset=offset,
            seconds=self.seconds,
            sampler=sampler,
            draws=self.draws / trained if trained else 0.0,
            rate=rate,
        )

    def as_json(self) -> dict[str, Any]:
        """For a checkpoint: JSON keeps every bit of a float."""
        return asdict(self)

"""The learning rate of an epoch."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine", "1/sqrt"]


def scheduled(schedule: Schedule, learning_rate: float, epoch: int, horizon: int) -> float:
    """The rate of epoch e = 1, 2, … of H: η; η·(1 − (e − 1) / H); η·(1 + cos(π(e − 1) / H)) / 2; η / √e.

    Parameters
    ----------
    schedule : one of the four, in that order: "constant", "linear", "cosine", "1/sqrt".
    learning_rate : η, the rate of the first epoch.
    epoch : e.
    horizon : H, the epochs that the configuration allows; not those that early stopping leaves, which nobody knows.
    """
    gone = min(1.0, (epoch - 1) / horizon)
    if schedule == "linear":
        return learning_rate * (1 - gone)
    if schedule == "cosine":
        return learning_rate * (1 + math.cos(math.pi * gone)) / 2
    return learning_rate / math.sqrt(epoch) if schedule == "1/sqrt" else learning_rate

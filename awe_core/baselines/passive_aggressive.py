"""How the passive-aggressive baselines are trained: by settings that validation chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AGGRESSIVENESS = (0.001, 0.01, 0.1, 1.0)
"""C: no step is larger than C·x (PA-I of Crammer et al. 2006)."""

EPOCHS = 10
"""Epochs at the most."""

BYTES_AT_MOST = 4 * 2**30


@dataclass(frozen=True)
class Choice:
    """C, epochs, and whether the model is the mean over all steps or the last one."""

    aggressiveness: float
    epochs: int
    averaged: bool

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Choice:
        return cls(float(raw["aggressiveness"]), int(raw["epochs"]), bool(raw["averaged"]))


def bytes_needed(dimension: int, labels: int) -> int:
    """Bytes of the full matrix in float64, its running mean and the best so far: 24 d Y."""
    return 24 * dimension * labels

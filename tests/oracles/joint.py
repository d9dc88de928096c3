"""f(x, y) = Σᵢ Gᵢ(x, y) xᵢUᵢᵀVy with affinities that are learnt jointly, one feature of all d after another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def _given(affinity: Mapping[str, Any], own: Mapping[str, Array], feature: int, label: int) -> float:
    """G of a pair as the three tensors list it."""
    start, stop = (int(place) for place in own["pair_starts"][feature : feature + 2])
    listed = dict(zip(own["pair_labels"][start:stop].tolist(), own["pair_weights"][start:stop].tolist(), strict=True))
    return float(listed.get(label, affinity["other"]))


def score(affinity: Mapping[str, Any], x: Array, y: int, U: Array, V: Array, own: Mapping[str, Array]) -> float:
    """Weston, Weiss, Yee 2014: `affinity` names the kind and its parameters."""
    z = [float(x[i] * (U[i] @ V[y])) for i in range(len(x))]
    linear, kind = math.fsum(z), affinity["kind"]
    if kind == "sigmoid":
        return math.fsum(sigmoid(part) * part for part in z)
    if kind == "low-rank":
        return math.fsum(sigmoid(float(own["g"][i] @ own["h"][y])) * part for i, part in enumerate(z))
    if kind == "pair-matrix":
        return math.fsum(_given(affinity, own, i, y) * part for i, part in enumerate(z))
    if kind == "constant":
        return float(affinity["c"]) * linear
    if kind == "linear-sigmoid":
        return max(affinity["beta"], min(affinity["alpha"], linear)) * linear
    largest = {"max": 1, "top-k": affinity.get("k", 1)}[kind]
    return math.fsum(sorted(z, reverse=True)[:largest]) * linear

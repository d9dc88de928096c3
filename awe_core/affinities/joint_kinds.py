"""The affinities learnt jointly with U and V, by the name of their kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from awe_core.affinities.constant import Constant
from awe_core.affinities.joint import Joint
from awe_core.affinities.linear_sigmoid import LinearSigmoid
from awe_core.affinities.low_rank import LowRank
from awe_core.affinities.max import Max
from awe_core.affinities.pair_matrix import PairMatrix
from awe_core.affinities.sigmoid import Sigmoid
from awe_core.affinities.top_k import TopK

JointKind = Literal["constant", "linear-sigmoid", "sigmoid", "max", "top-k", "low-rank", "pair-matrix"]
JOINT_KINDS: dict[str, type[Joint]] = {
    affinity.kind: affinity for affinity in (Constant, LinearSigmoid, Sigmoid, Max, TopK, LowRank, PairMatrix)
}


def joint_named(kind: str, parameters: Mapping[str, Any]) -> Joint:
    """The affinity of a kind; of the parameters those are taken that it has. Raises ValueError for one out of range."""
    affinity = JOINT_KINDS[kind]
    names = {one.name for one in fields(affinity)}  # type: ignore[arg-type]
    return affinity(**{name: value for name, value in parameters.items() if name in names})

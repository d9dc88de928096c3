"""Which affinity, and what it is made with: every choice that a G depends on, checked in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, Literal, get_args

from awe_core.affinities.joint_kinds import JOINT_KINDS, JointKind
from awe_core.affinities.neighbour_labels import Mode
from awe_core.affinities.stored import STORED_KINDS, StoredKind

KINDS: tuple[str, ...] = (*STORED_KINDS, *JOINT_KINDS)
"""Of affinities: those that are stored, and those that are learnt with U and V."""

Embedding = Literal["previous", "first"]


@dataclass(frozen=True)
class AffinitySettings:
    """What an affinity is made with.

    Attributes
    ----------
    kind : one of `KINDS`.
    embedding : the model whose U and V it is made of: that of the iteration before, or always Wsabie.
    input_weight : ρ, see `awe_core.neighbour_space`.
    n : neighbours of an example.
    lambda_x, lambda_y : in units of 1 / the median of their d²; a λy of inf counts equal labels alone.
    near_labels : nearest other labels of a label that the latent RBF counts.
    leaf_rows, leaf_labels : of clusters.
    mode : how the neighbours that have a label are joined.
    epsilon : ε, by how much G may be too small.
    bias : b.
    recall : share of the neighbours of the examples that are trained on to find.
    folds : from 2 on examples have G of models trained without their own.

    Raises
    ------
    ValueError : a value is out of range, or values do not go together; the message names the keys and the mend.
    """

    kind: StoredKind | JointKind = "knn"
    embedding: Embedding = "previous"
    input_weight: float = 0.0
    n: int = 50
    lambda_x: float = 4.0
    lambda_y: float = math.inf
    near_labels: int = 10
    leaf_rows: int = 500
    leaf_labels: int = 50
    mode: Mode = "sum"
    epsilon: float = 0.0
    bias: float = 0.0
    recall: float = 1.0
    folds: int = 1

    def __post_init__(self) -> None:
        self._check_values()
        kind, finite = STORED_KINDS.get(self.kind), math.isfinite(self.lambda_y)
        if self.input_weight and (kind is None or not kind.embedded):
            raise ValueError(
                f'affinity.kind = "{self.kind}" looks for no neighbours in Ux that x could stand beside: leave out '
                "affinity.input_weight, or give 0"
            )
        if self.out_of_fold and (kind is None or not kind.flattered):
            raise ValueError(f'affinity.kind = "{self.kind}" is not made of neighbours in Ux: leave out affinity.folds')
        if self.out_of_fold and self.recall < 1:
            raise ValueError("affinity.folds joins no rows with themselves, as affinity.recall does: leave one out")
        if kind is None:
            return
        if kind.lambda_y == "finite" and not finite:
            raise ValueError(f'affinity.kind = "{self.kind}" needs a finite affinity.lambda_y; or take kind = "knn"')
        if kind.lambda_y == "none" and finite:
            raise ValueError(
                f'affinity.kind = "{self.kind}" compares no labels: leave out affinity.lambda_y, or take "hybrid"'
            )
        if finite and self.epsilon:
            raise ValueError("affinity.epsilon bounds the error where only equal labels count: leave out lambda_y")
        if finite and self.bias and not kind.near_labels:
            raise ValueError(
                f"affinity.bias would stand in place of what a finite lambda_y gives the labels that no neighbour of "
                f'kind = "{self.kind}" has: leave one of the two out'
            )
        if not kind.by_neighbours and (self.mode != "sum" or self.epsilon or self.recall < 1):
            raise ValueError(f'affinity.kind = "{self.kind}" has no neighbours: leave out mode, epsilon and recall')
        if not kind.embedded and self.embedding == "first":
            raise ValueError(f'affinity.kind = "{self.kind}" is made of x itself: leave out affinity.embedding')

    def _check_values(self) -> None:
        for name, known in (("kind", KINDS), ("embedding", get_args(Embedding)), ("mode", get_args(Mode))):
            if getattr(self, name) not in known:
                raise ValueError(f"affinity.{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        for name in ("n", "near_labels", "leaf_rows", "leaf_labels"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"affinity.{name} must be 1 or more and whole, not {value!r}")
        for name in ("input_weight", "bias"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"affinity.{name} must be finite and 0 or more, not {getattr(self, name)}")
        if not 0 < self.lambda_x < math.inf:
            raise ValueError(f"affinity.lambda_x must be finite and above 0, not {self.lambda_x}")
        if not self.lambda_y > 0:
            raise ValueError(f"affinity.lambda_y must be above 0, not {self.lambda_y}")
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"affinity.epsilon must be 0 or more and below 1, not {self.epsilon}")
        if not 0 < self.recall <= 1:
            raise ValueError(f"affinity.recall must be above 0 and at most 1, not {self.recall}")
        if self.folds < 0:
            raise ValueError(f"affinity.folds must be 0 or more, not {self.folds}")

    @property
    def out_of_fold(self) -> bool:
        """Whether G of the training examples is made by models that were not fitted to them."""
        return self.folds > 1

    def reads(self) -> dict[str, Any]:
        """The keys that a stored G depends on, with their values; JSON has no infinity."""
        beside = ("input_weight",) if self.input_weight else ()
        names = ("kind", *keys_of(self.kind), *beside)
        values = {name: getattr(self, name) for name in names}
        return {name: "inf" if value == math.inf else value for name, value in values.items()}


def keys_of(kind: str) -> tuple[str, ...]:
    """The keys that the G of a kind depends on. Which embedding it is made of, its inputs say."""
    if kind in STORED_KINDS:
        return STORED_KINDS[kind].reads
    return tuple(one.name for one in fields(JOINT_KINDS[kind]))  # type: ignore[arg-type]

"""f of the rows and pairs of a sub-block, and its gradient: without an affinity, with a stored one, or with one that is
learnt jointly with U and V. The draws and the step of `awe_core.warp.loss` know no more of f than this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from awe_core.affinities.joint import Joint, OfScore, Point
from awe_core.gate import Gate
from awe_core.kernels.feature_rows import RowGradient, through_features
from awe_core.kernels.feature_runs import FeatureRuns
from awe_core.kernels.kernel import Kernel
from awe_core.kernels.sub_blocks import LINEAR, Bounds
from awe_core.rows import entry_positions, row_of_entry
from awe_core.similarity import Similarity, all_similarities, pair_similarities, slope
from awe_core.warp.minibatch import Minibatch

Floats = NDArray[np.floating]

# Of a product of one feature and label: where it stands, the label and the value, in float32.
_GATHERED = 8


@dataclass(frozen=True)
class Parameters:
    """What a step changes in place: U [d, D], V [Y, D], the offset c [1], of one float type; and how f reads them.

    With an affinity that is learnt jointly there are its own tensors too, by name.
    """

    U: Floats
    V: Floats
    offset: Floats
    similarity: Similarity = "dot"
    joint: Joint | None = None
    own: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def bounds(self) -> Bounds:
        """Those of f as a function of the score alone."""
        return self.joint.bounds if isinstance(self.joint, OfScore) else LINEAR


@dataclass(frozen=True)
class Gradient:
    """Gradient of a sub-block's loss, summed over its pairs, and that loss; the parts of V's are to be added up.

    `own` is by the tensors, by name, of an affinity that is learnt jointly.
    """

    U: RowGradient
    V: list[RowGradient]
    offset: float
    loss: float
    own: Mapping[str, list[RowGradient]] = field(default_factory=dict)


class Scores(Protocol):
    """f of a minibatch's examples at one set of parameters, and its gradient: what draws and step go by."""

    @property
    def batch(self) -> Minibatch:
        """The rows and pairs."""

    @property
    def gate(self) -> Gate | None:
        """None where there is no stored affinity."""

    @property
    def labels(self) -> int:
        """Y."""

    @property
    def gathered(self) -> int:
        """Numbers that the score of one pair gathers."""

    def every(self) -> Floats:
        """f of every row and label, [rows, Y], for the caller to write in; −inf where only candidates are ranked."""

    def of(self, rows: NDArray[np.intp], labels: NDArray[np.intp]) -> Floats:
        """f of chosen (row, label), in the shape of `labels`: [pairs] or [pairs, columns] with one row a pair."""

    def gradient(
        self, rows: NDArray[np.intp], labels: tuple[NDArray[np.intp], NDArray[np.intp]], share: Floats, loss: float
    ) -> Gradient:
        """Gradient of Σ share · (f(x, ȳ) − f(x, y)); `labels` are y and ȳ of every row of x, rows ascending."""


def candidates_only(gate: Gate | None) -> bool:
    """Whether an example's labels are its candidates: there is an affinity and no bias lifts the other labels."""
    return gate is not None and gate.bias == 0


def gate_of(batch: Minibatch, gate: Gate | None, rows: NDArray[np.intp], labels: NDArray[np.intp]) -> Floats:
    """s·G + b of the given labels (0 for G where they are no candidates; 1 without an affinity), in their shape."""
    if gate is None or batch.affinity is None:
        return np.ones(labels.shape, dtype=np.float32)
    if not batch.affinity.nnz:
        return np.full(labels.shape, gate.bias, dtype=np.float32)
    at = entry_positions(batch.affinity, rows, labels)
    return gate.of(np.where(at >= 0, batch.affinity.data[at], np.float32(0)))


@dataclass(frozen=True)
class LinearScores:
    """f = s(Ux, Vy), with a stored affinity f = (s·G + b)·(xᵀUᵀVy + c): ∂f/∂(xᵀUᵀVy) = ∂f/∂c = s·G + b; and where an
    affinity that is learnt jointly is a function of the score alone, f = φ(xᵀUᵀVy).

    Attributes
    ----------
    embedding : Ux, float [rows, D].
    parameters : at which f is evaluated.
    kernel : adds up the pairs of an example.
    """

    batch: Minibatch
    embedding: Floats
    parameters: Parameters
    gate: Gate | None
    kernel: Kernel

    @property
    def _phi(self) -> OfScore | None:
        return self.parameters.joint if isinstance(self.parameters.joint, OfScore) else None

    @property
    def labels(self) -> int:
        return len(self.parameters.V)

    @property
    def gathered(self) -> int:
        return int(self.parameters.V.shape[1])

    def every(self) -> Floats:
        parameters, gate, affinity = self.parameters, self.gate, self.batch.affinity
        f = all_similarities(parameters.similarity, self.embedding, parameters.V)
        if gate is not None:
            assert affinity is not None
            candidate = row_of_entry(affinity), affinity.indices
            f += parameters.offset
            gated = gate.of(affinity.data) * f[candidate]
            if candidates_only(gate):
                f.fill(-np.inf)
            else:
                f *= f.dtype.type(gate.bias)
            f[candidate] = gated
        return f if self._phi is None else self._phi.phi(f)

    def of(self, rows: NDArray[np.intp], labels: NDArray[np.intp]) -> Floats:
        own = rows if labels.ndim == 1 else rows[:, 0]
        linear = pair_similarities(self.parameters.similarity, self.embedding[own], self.parameters.V[labels])
        if self.gate is not None:
            linear = gate_of(self.batch, self.gate, rows, labels) * (linear + self.parameters.offset)
        return linear if self._phi is None else self._phi.phi(linear)

    def gradient(
        self, rows: NDArray[np.intp], labels: tuple[NDArray[np.intp], NDArray[np.intp]], share: Floats, loss: float
    ) -> Gradient:
        own, parts, offset = self.embedding[rows], [], 0.0
        pulls = np.zeros_like(own)
        for sign, label in zip((-1, 1), labels, strict=True):
            V_own, similarity = self.parameters.V[label], self.parameters.similarity
            by_linear = sign * share * gate_of(self.batch, self.gate, rows, label)
            s = pair_similarities(similarity, own, V_own)
            k = slope(similarity, by_linear, s) if self._phi is None else by_linear * self._phi.slope(s)
            by_V, pull = pulled_pairs(similarity, k, own, V_own)
            parts.append(RowGradient(label, by_V))
            pulls += pull
            offset += float(np.sum(by_linear)) if self.gate is not None else 0.0
        by_embedding = np.zeros_like(self.embedding)
        self.kernel.add_at(by_embedding, rows, pulls)
        return Gradient(through_features(self.batch.features, by_embedding), parts, offset, loss)


class JointScores:
    """f with an affinity that is learnt jointly, whose own gradient is part of f's.

    Parameters
    ----------
    batch, parameters, kernel : as for `LinearScores`; `parameters.joint` is the affinity.
    """

    gate: Gate | None = None

    def __init__(self, batch: Minibatch, parameters: Parameters, kernel: Kernel) -> None:
        assert parameters.joint is not None
        self.batch, self._joint, self._kernel = batch, parameters.joint, kernel
        self._at = Point(parameters.U, parameters.V, parameters.own)
        self._x = FeatureRuns.of(batch.features)

    @property
    def labels(self) -> int:
        return len(self._at.V)

    @property
    def gathered(self) -> int:
        return _GATHERED * max(1, len(self._x.value) // max(1, len(self.batch)))

    def every(self) -> Floats:
        return self._joint.all_scores(self.batch.features, self._at, self._kernel)

    def of(self, rows: NDArray[np.intp], labels: NDArray[np.intp]) -> Floats:
        if labels.ndim == 1:
            return self.of(rows[:, None], labels[:, None])[:, 0]
        return self._joint.scores(self._x.take(rows[:, 0]), self._at, labels, self._kernel)

    def gradient(
        self, rows: NDArray[np.intp], labels: tuple[NDArray[np.intp], NDArray[np.intp]], share: Floats, loss: float
    ) -> Gradient:
        weight = np.column_stack((-share, share)).astype(self._at.V.dtype)
        made = self._joint.gradient(self._x.take(rows), self._at, np.column_stack(labels), weight, self._kernel)
        return Gradient(made.U, [made.V], 0.0, loss, {name: [part] for name, part in made.own.items()})


def pulled_pairs(similarity: Similarity, coefficient: Floats, own: Floats, V_own: Floats) -> tuple[Floats, Floats]:
    """Gradients by V and by Ux of every pair's own similarity, from ∂/∂s times its slope [pairs]: [pairs, D] each."""
    k = coefficient.astype(own.dtype)[:, None]
    if similarity == "dot":
        return k * own, k * V_own
    apart = k * (own - V_own)
    return apart, -apart


def pulled(similarity: Similarity, coefficient: Floats, embedding: Floats, V: Floats) -> tuple[Floats, Floats]:
    """Gradients by Ux and by some labels' rows of V, from ∂/∂s times the similarity's slope for every row and label.

    Parameters
    ----------
    coefficient : [rows, labels].
    embedding, V : [rows, D] and [labels, D].
    """
    by_embedding, by_V = np.asarray(coefficient @ V), np.asarray(coefficient.T @ embedding)
    if similarity != "dot":
        by_embedding -= coefficient.sum(axis=1)[:, None] * embedding
        by_V -= coefficient.sum(axis=0)[:, None] * V
    return by_embedding, by_V

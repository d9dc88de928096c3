"""What a compiled kernel offers for an affinity that is a function of the features' own scores zᵢ = xᵢUᵢᵀVy.

Two forms cover them all:

    f = Σᵢ σ(wᵢ) zᵢ                             wᵢ = gᵢᵀh_y, or zᵢ itself where the affinity has no g and h
    f = (the sum of the k largest zᵢ) · Σᵢ zᵢ    over all d features, those that x lacks being 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from awe_core.kernels.feature_runs import FeatureRuns, Floats, Index

LeftPairs = tuple[Index, Index, Index]
"""(row of x, label, feature of the row that x leaves out, by its place in the row's run; −1: none), rows ascending."""


@dataclass(frozen=True)
class FeatureTensors:
    """Where f is evaluated, and its form.

    Attributes
    ----------
    U, g : [touched, D] and [touched, rank], rank = 0 where the affinity has none.
    V, h : [Y, D] and [Y, rank].
    largest : k of the second form, 0 for the first.
    """

    U: Floats
    V: Floats
    g: Floats
    h: Floats
    largest: int


@dataclass(frozen=True)
class FeatureGradients:
    """Gradients of a sub-block's loss, summed over its pairs.

    Attributes
    ----------
    by_U, by_g : by the touched rows.
    labels : rows of V and h that have a part of the gradient, intp [parts]; one may stand there several times.
    by_V, by_h : those parts.
    loss : summed over the pairs.
    finite : whether all scores are.
    """

    by_U: Floats
    by_g: Floats
    labels: Index
    by_V: Floats
    by_h: Floats
    loss: float
    finite: bool


@dataclass(frozen=True)
class FoundPairs:
    """The pairs that drew a violator, as `awe_core.kernels.sub_blocks.DrawnProducts` has them."""

    pair: Index
    number: NDArray[np.int64]
    negative: Index
    negatives: NDArray[np.int64]


class FeatureBlocks(Protocol):
    """f, and all of a sub-block in one call."""

    def joined(self, x: FeatureRuns, UV: Floats, gh: Floats | None, largest: int) -> Floats:
        """f of every row and n labels, [rows, n], from UᵢᵀVy and gᵢᵀh_y of the features that occur, [touched, n]."""

    def rounds(
        self,
        x: FeatureRuns,
        at: FeatureTensors,
        pairs: LeftPairs,
        excluded: tuple[Index, NDArray[np.integer], NDArray[np.integer]],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        key: np.uint64,
    ) -> tuple[FoundPairs, FeatureGradients]:
        """Negatives drawn one by one; the arguments are those of `awe_core.kernels.sub_blocks.SubBlocks.rounds`."""

    def pooled(
        self,
        x: FeatureRuns,
        at: FeatureTensors,
        pool: Index,
        pairs: LeftPairs,
        barred: tuple[Index, Index],
        negatives: tuple[NDArray[np.int64], NDArray[np.int64]],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
    ) -> tuple[NDArray[np.int64], FeatureGradients]:
        """Pooled negatives, and v of every pair, of the arguments of `awe_core.kernels.sub_blocks.SubBlocks.pooled`.

        `barred` has its rows ascending.
        """

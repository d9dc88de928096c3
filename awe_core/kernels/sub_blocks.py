"""All of a sub-block in one call: what a compiled kernel offers, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Index = NDArray[np.intp]
Pairs = tuple[Index, Index]
"""(row of the sub-block's embeddings, label or entry) of every pair, rows ascending."""

Bounds = tuple[float, float]
"""(low, high) of f = clip(z, low, high) · z, z the product of Ux and Vy."""

LINEAR: Bounds = (1.0, 1.0)
"""Those of the linear f."""

BARRED = np.float32(-3e38)
"""A score that nothing falls below, finite so that 0 times it is 0."""


@dataclass(frozen=True)
class PooledProducts:
    """A sub-block against its pool, with the linear f: what `awe_core.warp.pooled` makes a gradient of.

    Attributes
    ----------
    by_embedding, by_pool, by_own : gradients by Ux, by the pool's rows of V and by every pair's own row of V.
    violators : v of every pair.
    loss : estimated, summed over the pairs.
    finite : whether all scores are.
    """

    by_embedding: Floats
    by_pool: Floats
    by_own: Floats
    violators: NDArray[np.int64]
    loss: float
    finite: bool


@dataclass(frozen=True)
class DrawnProducts:
    """A sub-block whose pairs drew their negatives: what `awe_core.warp.drawn` makes a gradient of.

    Attributes
    ----------
    pair : the pairs that found a violator, ascending; number, negative : their N and ȳ.
    negatives : M of every pair.
    by_embedding : gradient by Ux; by_positive, by_negative : by V's rows of y and ȳ, a row a found pair.
    by_offset, loss : gradient by c and the loss, summed over the pairs.
    finite : whether all scores are.
    """

    pair: Index
    number: NDArray[np.int64]
    negative: Index
    negatives: NDArray[np.int64]
    by_embedding: Floats
    by_positive: Floats
    by_negative: Floats
    by_offset: float
    loss: float
    finite: bool


class SubBlocks(Protocol):
    """Gradients of a sub-block by Ux and V at one set of parameters, with the dot product for a similarity.

    Without candidates f is the linear one, or a function of it that `bounds` stand for.
    """

    def pooled(
        self,
        embedding: Floats,
        V: Floats,
        pool: Index,
        pairs: Pairs,
        barred: tuple[Index, Index],
        negatives: tuple[NDArray[np.int64], NDArray[np.int64]],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        bounds: Bounds,
    ) -> PooledProducts:
        """All of a sub-block with pooled negatives.

        Parameters
        ----------
        pairs : with labels.
        barred : (row, place in the pool) of the labels that are no negatives.
        negatives : (M, m') of every pair.
        weight : of every pair.
        """

    def geometric(
        self,
        embedding: Floats,
        V: Floats,
        pairs: Pairs,
        excluded: tuple[Index, NDArray[np.integer], NDArray[np.integer]],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        u: NDArray[np.float64],
        bounds: Bounds,
    ) -> DrawnProducts:
        """All of a sub-block with negatives drawn from all scores.

        Parameters
        ----------
        pairs : with labels.
        excluded : (row of a CSR matrix of every row of `embedding`, its indptr, its indices): the labels that are no
            negatives.
        weight : of every row.
        u : float64 [2, pairs], see `awe_core.warp.loss.draw_violators`.
        """

    def rounds(
        self,
        embedding: Floats,
        V: Floats,
        pairs: Pairs,
        excluded: tuple[Index, NDArray[np.integer], NDArray[np.integer]],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        key: np.uint64,
        bounds: Bounds,
    ) -> DrawnProducts:
        """The same, with the labels scored that are drawn; `key` as `awe_core.warp.draw_numbers.DrawNumbers` has it."""

    def among_candidates(
        self,
        embedding: Floats,
        V: Floats,
        offset: Floats,
        pairs: Pairs,
        candidates: tuple[Index, Index, Index, Floats, NDArray[np.bool_]],
        negatives: NDArray[np.int64],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        u: NDArray[np.float64],
    ) -> DrawnProducts:
        """All of a sub-block with the gated f, negatives drawn from each row's candidates.

        Parameters
        ----------
        offset : c, [1].
        pairs : with the entries of their labels among the candidates.
        candidates : (row among the starts of every row of `embedding`, starts, label, gate, barred), see
            `awe_core.warp.candidates.Candidates`.
        negatives : M of every row of `embedding`.
        """

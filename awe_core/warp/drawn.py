"""What the pairs of a sub-block drew by the paper's law, and the gradient that came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from awe_core.affinities.joint import OfScore
from awe_core.gate import Gate
from awe_core.kernels.feature_blocks import FeatureBlocks
from awe_core.kernels.feature_rows import FeatureRows, RowGradient, embed_rows, through_features
from awe_core.kernels.kernel import Kernel
from awe_core.kernels.sub_blocks import DrawnProducts, SubBlocks
from awe_core.warp.draw_numbers import DrawNumbers
from awe_core.warp.loss import draw_geometric, draw_in_rounds, warp_gradient
from awe_core.warp.minibatch import Visit
from awe_core.warp.scores import Gradient, JointScores, LinearScores, Parameters, Scores
from awe_core.warp.touched import through_touched, touched


@dataclass(frozen=True)
class Drawn:
    """What a sub-block's pairs drew.

    Attributes
    ----------
    gradient : of the loss, summed over the pairs; None where no pair found a violator.
    pair : the pairs that found one, by their place in the sub-block, ascending.
    number : their number of draws N.
    negative : the label drawn.
    negatives : M of every pair.
    """

    gradient: Gradient | None
    pair: NDArray[np.intp]
    number: NDArray[np.int64]
    negative: NDArray[np.intp]
    negatives: NDArray[np.int64]

    @property
    def draws(self) -> float:
        """All draws that were made: N where there is a violator, M where a pair gave up."""
        given_up = int(self.negatives.sum() - self.negatives[self.pair].sum())
        return float(self.number.sum() + given_up)

    @classmethod
    def of(cls, made: DrawnProducts, x: FeatureRows, pair_label: NDArray[np.intp]) -> Drawn:
        """From what a kernel made of the sub-block in one call. Raises FloatingPointError if a score is not finite."""
        if not made.finite:
            raise FloatingPointError("a score is not finite")
        gradient = None
        if len(made.pair):
            V = [RowGradient(pair_label[made.pair], made.by_positive), RowGradient(made.negative, made.by_negative)]
            gradient = Gradient(through_features(x, made.by_embedding), V, made.by_offset, made.loss)
        return cls(gradient, made.pair, made.number, made.negative, made.negatives)


def drawn_gradient(
    visit: Visit,
    these: slice,
    sampler: Literal["geometric", "rounds"],
    parameters: Parameters,
    gate: Gate | None,
    margin: float,
    losses: NDArray[np.float64],
    numbers: DrawNumbers,
    kernel: Kernel,
) -> Drawn:
    """Draw a violator for every pair of a run and step against it.

    Parameters
    ----------
    visit : the block.
    these : the pairs of the sub-block.
    sampler : how the one law is followed: from all scores, or by scoring what is drawn.
    parameters : at which f is evaluated.
    gate : None where there is no stored affinity.
    margin : γ.
    losses : L, float64 [Y + 1].
    numbers : of the sub-block.
    kernel : does all of it in one call where it can.

    Raises
    ------
    FloatingPointError
        A score is not finite.
    """
    joint = parameters.joint
    of_score = joint is None or isinstance(joint, OfScore)
    if of_score and gate is None and parameters.similarity == "dot" and kernel.sub_blocks:
        return _at_once(visit, these, sampler, parameters, margin, losses, numbers, kernel.sub_blocks)
    if joint is not None and joint.compiled and sampler == "rounds" and kernel.feature_blocks:
        return _features_at_once(visit, these, parameters, margin, losses, numbers, kernel.feature_blocks)
    batch = visit.minibatch(these)
    if of_score:
        embedding = np.asarray(batch.features @ parameters.U)
        scores: Scores = LinearScores(batch, embedding, parameters, gate, kernel)
    else:
        scores = JointScores(batch, parameters, kernel)
    draws = (draw_in_rounds if sampler == "rounds" else draw_geometric)(scores, margin, numbers)
    gradient = warp_gradient(scores, margin, draws, losses) if len(draws.pair) else None
    return Drawn(gradient, draws.pair, draws.number, draws.negative, draws.negatives)


def _at_once(
    visit: Visit,
    these: slice,
    sampler: Literal["geometric", "rounds"],
    parameters: Parameters,
    margin: float,
    losses: NDArray[np.float64],
    numbers: DrawNumbers,
    sub_blocks: SubBlocks,
) -> Drawn:
    rows, pair_row, pair_label = visit.rows_and_pairs(these)
    x = visit.feature_rows(rows, pair_label)
    embedding = embed_rows(x, parameters.U)
    excluded = rows, visit.excluded.indptr, visit.excluded.indices
    weight = visit.block.weight[rows]
    V, pairs, bounds = parameters.V, (pair_row, pair_label), parameters.bounds
    if sampler == "rounds":
        made = sub_blocks.rounds(embedding, V, pairs, excluded, weight, losses, margin, numbers.key, bounds)
    else:
        u = numbers.two(len(pair_row))
        made = sub_blocks.geometric(embedding, V, pairs, excluded, weight, losses, margin, u, bounds)
    return Drawn.of(made, x, pair_label)


def _features_at_once(
    visit: Visit,
    these: slice,
    parameters: Parameters,
    margin: float,
    losses: NDArray[np.float64],
    numbers: DrawNumbers,
    blocks: FeatureBlocks,
) -> Drawn:
    rows, pairs, x, at = touched(visit, these, parameters)
    excluded = rows, visit.excluded.indptr, visit.excluded.indices
    weight = visit.block.weight[rows]
    found, made = blocks.rounds(x, at, pairs, excluded, weight, losses, margin, numbers.key)
    gradient = through_touched(x, made, parameters)
    return Drawn(gradient if len(found.pair) else None, found.pair, found.number, found.negative, found.negatives)

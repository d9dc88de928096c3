"""Pooled negatives: an estimate of WARP's loss from one pool of labels that all pairs of a sub-block share.

One product scores the sub-block's examples against a pool of m labels, a piece of a permutation of all. Of a
pair's m' negatives in the pool, v violate f(x, ȳ) > f(x, y) − γ. Its rank among all M negatives is estimated as
⌊v·M / m'⌋, and the step goes down

    weight · L(⌊v·M / m'⌋) · (1 / v) · Σ_violators (γ + f(x, ȳ) − f(x, y))

It is the paper's loss with a rank seen in m' draws without replacement instead of up to the first violator, and with
the mean over all violators in place of one: less variance, but not the paper's draw. A rank below M / m' is often not
seen at all, as with m' draws one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from awe_core.affinities.joint import Joint, JointGradient, OfScore, Point
from awe_core.arrangement import generator
from awe_core.gate import Gate
from awe_core.kernels.feature_blocks import FeatureBlocks, FeatureTensors, LeftPairs
from awe_core.kernels.feature_rows import RowGradient, embed_rows, through_features
from awe_core.kernels.feature_runs import FeatureRuns
from awe_core.kernels.kernel import Kernel
from awe_core.kernels.sub_blocks import BARRED, SubBlocks
from awe_core.rows import entry_positions
from awe_core.similarity import all_similarities, pair_similarities, slope
from awe_core.warp.minibatch import Visit
from awe_core.warp.scores import Floats, Gradient, Parameters, pulled, pulled_pairs
from awe_core.warp.touched import through_touched, touched

POOL_PAIRS = 512
"""Pairs of a sub-block at the most: scores against the pool, 512 × 256 float32, stay in a core's cache."""
POOL_LABELS = 256
_FEATURE_POOL_PAIRS = 64
"""The same in whole arrays where every feature of an example has scores of its own."""


def pool_pairs(joint: Joint | None, kernel: Kernel) -> int:
    """Pairs of a sub-block at the most."""
    in_arrays = joint is not None and joint.by_entry and not (joint.compiled and kernel.feature_blocks)
    return _FEATURE_POOL_PAIRS if in_arrays else POOL_PAIRS


class Pools:
    """The pools of an epoch: pieces of permutations of all labels, each label in as many pools as any other.

    Parameters
    ----------
    labels : Y.
    seed, iteration, epoch : name the random stream.
    """

    def __init__(self, labels: int, seed: int, iteration: int, epoch: int) -> None:
        self._labels, self._key = labels, (seed, iteration, epoch)
        self._size = min(POOL_LABELS, labels)
        self._of_round = labels // self._size
        self._round, self._permutation = -1, np.zeros(0, dtype=np.int32)

    def __getitem__(self, number: int) -> NDArray[np.intp]:
        """Pool `number` of the epoch, from 0: distinct labels, ascending, intp [min(256, Y)]."""
        turn, place = divmod(number, self._of_round)
        if turn != self._round:
            seed, iteration, epoch = self._key
            rng = generator(seed, "pool", iteration, epoch, turn)
            self._round, self._permutation = turn, rng.permutation(np.arange(self._labels, dtype=np.int32))
        piece = self._permutation[place * self._size : (place + 1) * self._size]
        return np.sort(piece).astype(np.intp)


@dataclass(frozen=True)
class Pooled:
    """What a sub-block found in its pool.

    Attributes
    ----------
    gradient : of the estimated loss, summed over the pairs.
    updates : pairs with a violator in the pool.
    negatives : M of every pair, int64 [pairs].
    draws : estimate of the draws one by one that the pairs would take, Σ (m' + 1) / (v + 1).
    """

    gradient: Gradient
    updates: int
    negatives: NDArray[np.int64]
    draws: float


def pooled_gradient(
    visit: Visit,
    these: slice,
    pool: NDArray[np.intp],
    parameters: Parameters,
    gate: Gate | None,
    margin: float,
    losses: NDArray[np.float64],
    kernel: Kernel,
) -> Pooled:
    """Gradient of a run of pairs against a pool.

    Parameters
    ----------
    visit : the block.
    these : the pairs of the sub-block.
    pool : distinct labels, ascending.
    parameters : at which f is evaluated.
    gate : None for the linear f; else with a bias, so that every label may be a negative.
    margin : γ.
    losses : L, float64 [Y + 1].
    kernel : finds the violators.

    Raises
    ------
    FloatingPointError
        A score is not finite.
    """
    joint = parameters.joint
    if joint is not None and joint.compiled and kernel.feature_blocks:
        rows, pairs, x, at = touched(visit, these, parameters)
        found = _SubBlock.of(visit, (rows, *pairs[:2]), pool, margin, losses)
        return _of_features(found, pairs, x, at, parameters, kernel.feature_blocks)
    found = _SubBlock.of(visit, visit.rows_and_pairs(these), pool, margin, losses)
    if joint is not None and not isinstance(joint, OfScore):
        return _jointly(found, joint, parameters, kernel)
    if gate is None and parameters.similarity == "dot" and kernel.sub_blocks:
        return _at_once(found, parameters, kernel.sub_blocks)
    return _by_score(found, joint, parameters, gate, kernel)


@dataclass(frozen=True)
class _SubBlock:
    """Some pairs of a visit and the pool that they are trained against.

    Attributes
    ----------
    visit, pool, margin, losses : as `pooled_gradient` has them.
    rows, pair_row, pair_label : rows of the visit that the pairs need, and the pairs by (place among them, label).
    barred : (row, column) of the pool's labels that are no negatives, by column.
    M, eligible : M and m' of every pair.
    """

    visit: Visit
    pool: NDArray[np.intp]
    margin: float
    losses: NDArray[np.float64]
    rows: NDArray[np.intp]
    pair_row: NDArray[np.intp]
    pair_label: NDArray[np.intp]
    barred: tuple[NDArray[np.intp], NDArray[np.intp]]
    M: NDArray[np.int64]
    eligible: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        visit: Visit,
        rows_and_pairs: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]],
        pool: NDArray[np.intp],
        margin: float,
        losses: NDArray[np.float64],
    ) -> _SubBlock:
        rows, pair_row, pair_label = rows_and_pairs
        row, column, _ = visit.excluded_by_label.among(pool, rows)
        eligible = len(pool) - np.bincount(row, minlength=len(rows))[pair_row]
        M = (visit.block.labels.shape[1] - visit.excluded_of_row[rows])[pair_row]
        return cls(visit, pool, margin, losses, rows, pair_row, pair_label, (row, column), M, eligible)

    @property
    def weight(self) -> Floats:
        """Of every pair."""
        return self.visit.block.weight[self.rows[self.pair_row]]

    def pooled(self, gradient: Gradient, violators: NDArray[np.int64]) -> Pooled:
        """What was found, from the gradient and v of every pair."""
        draws = float(np.sum((self.eligible + 1) / (violators + 1)))
        return Pooled(gradient, int(np.count_nonzero(violators)), self.M, draws)


def _of_features(
    found: _SubBlock,
    pairs: LeftPairs,
    x: FeatureRuns,
    at: FeatureTensors,
    parameters: Parameters,
    blocks: FeatureBlocks,
) -> Pooled:
    """f of the features' own scores, compiled."""
    row, column = found.barred
    by_row = np.argsort(row, kind="stable")
    barred, negatives = (row[by_row], column[by_row]), (found.M, found.eligible)
    v, made = blocks.pooled(x, at, found.pool, pairs, barred, negatives, found.weight, found.losses, found.margin)
    return found.pooled(through_touched(x, made, parameters), v)


def _at_once(found: _SubBlock, parameters: Parameters, sub_blocks: SubBlocks) -> Pooled:
    """f a function of xᵀUᵀVy alone, compiled."""
    x = found.visit.feature_rows(found.rows, found.pair_label)
    pairs, negatives = (found.pair_row, found.pair_label), (found.M, found.eligible)
    made = sub_blocks.pooled(
        embed_rows(x, parameters.U),
        parameters.V,
        found.pool,
        pairs,
        found.barred,
        negatives,
        found.weight,
        found.losses,
        found.margin,
        parameters.bounds,
    )
    if not made.finite:
        raise FloatingPointError("a score is not finite")
    parts = [RowGradient(found.pair_label, made.by_own), RowGradient(found.pool, made.by_pool)]
    return found.pooled(Gradient(through_features(x, made.by_embedding), parts, 0.0, made.loss), made.violators)


def _jointly(found: _SubBlock, joint: Joint, parameters: Parameters, kernel: Kernel) -> Pooled:
    """f with an affinity that is learnt jointly, in whole arrays."""
    at, pool = Point(parameters.U, parameters.V, parameters.own), found.pool
    features = FeatureRuns.of(found.visit.features(found.rows, found.pair_label))
    of_pairs, labels = features.take(found.pair_row), found.pair_label[:, None]
    f = joint.pool_scores(features, at.U[features.touched], at, pool, kernel)
    f_own = joint.scores(of_pairs, at, labels, kernel)[:, 0]
    v, down, up, loss = _estimated(found, f, f_own, kernel)
    lifted = joint.gradient(of_pairs, at, labels, up[:, None], kernel)
    return found.pooled(_joined(lifted, joint.pool_gradient(features, at, pool, down), loss), v)


def _by_score(
    found: _SubBlock, joint: OfScore | None, parameters: Parameters, gate: Gate | None, kernel: Kernel
) -> Pooled:
    """f a function of a similarity and of a stored affinity, in whole arrays."""
    similarity, visit, pool, pair_row = parameters.similarity, found.visit, found.pool, found.pair_row
    x = visit.feature_rows(found.rows, found.pair_label)
    embedding = embed_rows(x, parameters.U)
    V_pool, V_own, own = parameters.V[pool], parameters.V[found.pair_label], embedding[pair_row]
    s = all_similarities(similarity, embedding, V_pool)
    s_own = pair_similarities(similarity, own, V_own)
    gates = _gates(visit, gate, found.rows, pool)
    gates_own = _own_gates(visit, gate, found.rows, pair_row, found.pair_label)
    f, f_own = s, s_own
    if gate is not None:
        f, f_own = gates * (s + parameters.offset), gates_own * (s_own + parameters.offset)
    elif joint is not None:
        f, f_own = joint.phi(s), joint.phi(s_own)
    elif similarity != "dot":
        f = s.copy()  # the slope of a distance needs its value
    v, down, up, loss = _estimated(found, f, f_own, kernel)
    offset = 0.0
    if gate is not None:
        down, up = down * gates, up * gates_own
        offset = float(np.sum(down, dtype=np.float64) + np.sum(up, dtype=np.float64))
    if joint is not None:
        down, up = down * joint.slope(s), up * joint.slope(s_own)
    by_embedding, by_pool = pulled(similarity, slope(similarity, down, s), embedding, V_pool)
    by_own, by_pair = pulled_pairs(similarity, slope(similarity, up, s_own), own, V_own)
    kernel.add_at(by_embedding, pair_row, by_pair)
    parts = [RowGradient(found.pair_label, by_own), RowGradient(pool, by_pool)]
    return found.pooled(Gradient(through_features(x, by_embedding), parts, offset, loss), v)


def _estimated(
    found: _SubBlock, f: Floats, f_own: Floats, kernel: Kernel
) -> tuple[NDArray[np.int64], Floats, Floats, float]:
    """v of every pair, the estimated loss's gradient by f of the pool [rows, pool] and by f(x, y), and the loss.

    `f` is written in where labels are barred.
    """
    if not (np.isfinite(f.sum()) and np.isfinite(f_own).all()):
        raise FloatingPointError("a score is not finite")

    f[found.barred] = BARRED
    threshold = f_own - f.dtype.type(found.margin)
    v = kernel.count_above(f, found.pair_row, threshold)
    rank_losses = found.losses[v * found.M // np.maximum(1, found.eligible)]
    each = (found.weight * rank_losses / np.maximum(1, v)).astype(f.dtype)
    down = kernel.spread_above(f, found.pair_row, threshold, each)
    up = -each * v  # minus the pair's share of `down`
    loss = float(np.vdot(down, f)) + float(np.vdot(up, f_own)) - found.margin * float(up.sum(dtype=np.float64))
    return v, down, up, loss


def _joined(pairs: JointGradient, pool: JointGradient, loss: float) -> Gradient:
    """The gradient of the pairs' own labels and of the pool's."""
    own = {name: [pairs.own[name], pool.own[name]] for name in pairs.own}
    assert pairs.U.rows is not None
    assert pool.U.rows is not None
    rows, values = (pairs.U.rows, pool.U.rows), (pairs.U.values, pool.U.values)
    return Gradient(RowGradient(np.concatenate(rows), np.concatenate(values)), [pairs.V, pool.V], 0.0, loss, own)


def _gates(visit: Visit, gate: Gate | None, rows: NDArray[np.intp], pool: NDArray[np.intp]) -> Floats:
    """s·G + b of every row and label of the pool; 1 without an affinity."""
    if gate is None:
        return np.ones((1, 1), dtype=np.float32)
    gates = np.full((len(rows), len(pool)), gate.bias, dtype=np.float32)
    row, column, position = visit.affinity_by_label.among(pool, rows)
    gates[row, column] = gate.of(visit.block.affinity.data[position])  # type: ignore[union-attr]
    return gates


def _own_gates(
    visit: Visit, gate: Gate | None, rows: NDArray[np.intp], pair_row: NDArray[np.intp], pair_label: NDArray[np.intp]
) -> Floats:
    """s·G + b of every pair."""
    if gate is None:
        return np.ones(1, dtype=np.float32)
    affinity = visit.block.affinity
    assert affinity is not None
    if not affinity.nnz:
        return np.full(len(pair_row), gate.bias, dtype=np.float32)
    at = entry_positions(affinity, rows[pair_row], pair_label)
    return gate.of(np.where(at >= 0, affinity.data[at], np.float32(0)))

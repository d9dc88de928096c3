"""The weighted stage: WARP's exact law where an example's labels are its candidates.

What costs a lookup (which candidate is a pair's label, which may be drawn) is done once a block, for all its steps; a
sub-block then scores its candidates in one flat run, so that its cost is a function of their number and not of Y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from awe_core.gate import Gate
from awe_core.kernels.feature_rows import RowGradient, embed_rows, through_features
from awe_core.kernels.kernel import Kernel
from awe_core.rows import entry_positions, ranges, row_of_entry
from awe_core.warp.draw_numbers import DrawNumbers
from awe_core.warp.drawn import Drawn
from awe_core.warp.loss import draw_violators
from awe_core.warp.minibatch import Visit
from awe_core.warp.scores import Gradient, Parameters


@dataclass(frozen=True)
class Candidates:
    """The candidates of a visit's rows, one entry each, rows ascending.

    Attributes
    ----------
    starts : intp [rows + 1], where each row's entries begin.
    row, label : intp [entries].
    gate : s·G + b of every entry, float32.
    barred : whether the entry is true or seen, and so never drawn; bool [entries].
    negatives : M of every row, int64 [rows].
    of_pair : intp [pairs], the entry of every pair's label.
    """

    starts: NDArray[np.intp]
    row: NDArray[np.intp]
    label: NDArray[np.intp]
    gate: NDArray[np.float32]
    barred: NDArray[np.bool_]
    negatives: NDArray[np.int64]
    of_pair: NDArray[np.intp]

    @classmethod
    def of(cls, visit: Visit, gate: Gate) -> Candidates:
        """Look up a block's candidates."""
        affinity = visit.block.affinity
        assert affinity is not None
        row, label = row_of_entry(affinity), affinity.indices.astype(np.intp)
        barred = entry_positions(visit.excluded, row, label) >= 0
        negatives = np.bincount(row[~barred], minlength=len(visit.block)).astype(np.int64)
        of_pair = entry_positions(affinity, visit.pairs.row, visit.pairs.label)
        starts = affinity.indptr.astype(np.intp)
        return cls(starts, row, label, gate.of(affinity.data), barred, negatives, of_pair)


def candidate_gradient(
    visit: Visit,
    these: slice,
    candidates: Candidates,
    parameters: Parameters,
    margin: float,
    losses: NDArray[np.float64],
    numbers: DrawNumbers,
    kernel: Kernel,
) -> Drawn:
    """Draw a violator for every pair of a run from the scores of all its negative candidates, and step against it.

    Parameters
    ----------
    visit, candidates : the block.
    these : the pairs of the sub-block.
    parameters : at which f is evaluated.
    margin : γ.
    losses : L, float64 [Y + 1].
    numbers : of the sub-block.
    kernel : scores and counts.

    Raises
    ------
    FloatingPointError
        A score is not finite.
    """
    rows, pair_row, pair_label = visit.rows_and_pairs(these)
    x = visit.feature_rows(rows, pair_label)
    embedding = embed_rows(x, parameters.U)
    weight, u = visit.block.weight[rows], numbers.two(len(pair_row))
    if kernel.sub_blocks:
        entries = rows, candidates.starts, candidates.label, candidates.gate, candidates.barred
        pairs, M = (pair_row, candidates.of_pair[these]), candidates.negatives[rows]
        made = kernel.sub_blocks.among_candidates(
            embedding, parameters.V, parameters.offset, pairs, entries, M, weight, losses, margin, u
        )
        return Drawn.of(made, x, pair_label)

    starts, lengths = candidates.starts[rows], np.diff(candidates.starts)[rows]
    first = np.cumsum(lengths) - lengths  # of every row in the run of entries
    entry = ranges(starts, lengths)
    label, gate = candidates.label[entry], candidates.gate[entry]
    linear = kernel.dots(embedding, np.repeat(np.arange(len(rows)), lengths), parameters.V, label)
    f = gate * (linear + parameters.offset)
    own = candidates.of_pair[these] - starts[pair_row] + first[pair_row]
    f_own = f[own]
    if not np.isfinite(f.sum()):
        raise FloatingPointError("a score is not finite")

    f[candidates.barred[entry]] = -np.inf
    threshold = f_own - f.dtype.type(margin)
    v = kernel.count_in_runs(f, first[pair_row], lengths[pair_row], threshold)
    M = candidates.negatives[rows[pair_row]]
    pair, number, choice = draw_violators(v, M, u)
    if not len(pair):
        return Drawn(None, pair, number, np.zeros(0, dtype=np.intp), M)
    row = pair_row[pair]
    drawn = kernel.nth_in_runs(f, first[row], lengths[row], threshold[pair], choice)

    up, down = own[pair], drawn
    hinge = margin + f[down].astype(np.float64) - f_own[pair]
    share = weight[row] * losses[M[pair] // number] * (hinge > 0)
    lift, push = (-share * gate[up]).astype(f.dtype), (share * gate[down]).astype(f.dtype)
    by_embedding = np.zeros_like(embedding)
    kernel.add_at(
        by_embedding, row, lift[:, None] * parameters.V[label[up]] + push[:, None] * parameters.V[label[down]]
    )
    mine = embedding[row]
    V = [RowGradient(label[up], lift[:, None] * mine), RowGradient(label[down], push[:, None] * mine)]
    offset = float(np.sum(lift, dtype=np.float64) + np.sum(push, dtype=np.float64))
    gradient = Gradient(through_features(x, by_embedding), V, offset, float(np.sum(share * hinge)))
    return Drawn(gradient, pair, number, label[down], M)

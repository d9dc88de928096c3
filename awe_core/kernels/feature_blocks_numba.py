"""`awe_core.kernels.feature_blocks` compiled by numba.

A label is scored by a product with every feature of the row, a pool by one matrix product a row, which the pairs of a
history share: what each leaves out is taken from their sums. Random numbers are those of the whole-array functions, and
so are the sums, but for the order in which they are added up.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from awe_core.kernels.feature_blocks import (
    FeatureGradients,
    FeatureTensors,
    FoundPairs,
    LeftPairs,
)
from awe_core.kernels.feature_runs import FeatureRuns, Floats, Index
from awe_core.kernels.sigmoid_numba import sigmoid
from awe_core.kernels.sub_blocks import BARRED
from awe_core.kernels.sub_blocks_numba import dot, negative_of_rank, uniform_at

njit = numba.njit(nogil=True, cache=True, error_model="numpy")

Counts = NDArray[np.int64]
Entries = tuple[Index, Index, Floats, int]
"""starts, place, value, d of `FeatureRuns`."""
Tensors = tuple[Floats, Floats, Floats, Floats, int]
"""U, V, g, h of `FeatureTensors`, and k + 1, or 0 for the sigmoid: one more than k, as one may be left out."""
Label = tuple[Floats, Floats, Floats, np.floating, np.floating]
"""A label of a row: z and σ(w) of the row's features, the k + 1 largest of all features' z, and what f is made of:
(Σ σ(w) z, 0), or (the sum of the k largest, Σ z)."""
Labels = tuple[Floats, Floats, Floats, Floats, Floats]
"""The same of many labels, as arrays with a row a label."""


@njit
def _start_largest(top: Floats, lacking: int) -> None:
    """Before any feature of x: the zeros of those that it lacks."""
    for t in range(len(top)):
        top[t] = 0 if t < lacking else -np.inf


@njit
def _largest(z: Floats, top: Floats, lacking: int) -> None:
    """The largest of all features' z into `top`, descending; −inf where there are no more."""
    _start_largest(top, lacking)
    last = len(top) - 1
    for value in z:
        if value > top[last]:
            t = last
            while t > 0 and top[t - 1] < value:
                top[t] = top[t - 1]
                t -= 1
            top[t] = value


@njit
def _joined_row(place: Index, value: Floats, UV: Floats, gh: Floats, dimension: int, largest: int, f: Floats) -> None:
    """f of one row and many labels, from the products of the features that occur [touched, n] → f [n]."""
    f[:] = 0
    one = UV.dtype.type(1)
    if largest == 0:
        for i in range(len(place)):
            own, v = UV[place[i]], value[i]
            if len(gh):
                w = gh[place[i]]
                for c in range(len(f)):
                    f[c] += sigmoid(w[c], one) * (v * own[c])
            else:
                for c in range(len(f)):
                    z = v * own[c]
                    f[c] += sigmoid(z, one) * z
        return
    top = np.empty((min(largest, dimension), len(f)), UV.dtype)
    for t in range(len(top)):
        _start_largest(top[t], len(f) if t < dimension - len(place) else 0)
    falling = np.empty(len(f), UV.dtype)
    for i in range(len(place)):
        own, v = UV[place[i]], value[i]
        for c in range(len(f)):
            falling[c] = v * own[c]
            f[c] += falling[c]
        for t in range(len(top)):
            best = top[t]
            for c in range(len(f)):
                higher = max(best[c], falling[c])
                falling[c] = min(best[c], falling[c])
                best[c] = higher
    for t in range(1, len(top)):
        for c in range(len(f)):
            top[0, c] += top[t, c]
    for c in range(len(f)):
        f[c] *= top[0, c]


@njit
def _joined(x: Entries, UV: Floats, gh: Floats, largest: int) -> Floats:
    starts, places, values, dimension = x
    f = np.empty((len(starts) - 1, UV.shape[1]), UV.dtype)
    for row in range(len(f)):
        own = slice(starts[row], starts[row + 1])
        _joined_row(places[own], values[own], UV, gh, dimension, largest, f[row])
    return f


@njit
def _summed(z: Floats, w: Floats, G: Floats, top: Floats, dimension: int) -> Label:
    """A label from z and w of the row's features; G and top are written."""
    total, linear, one = z.dtype.type(0), z.dtype.type(0), z.dtype.type(1)
    if len(top) == 0:
        for i in range(len(z)):
            G[i] = sigmoid(w[i], one)
        for i in range(len(z)):
            total += G[i] * z[i]
    else:
        _largest(z, top, dimension - len(z))
        for i in range(len(z)):
            linear += z[i]
        for t in range(len(top) - 1):
            total += top[t]
    return z, G, top, total, linear


@njit
def _without(
    total: np.floating, last: np.floating, following: np.floating, left: np.floating, zero: np.floating
) -> tuple[np.floating, np.floating]:
    """(The sum of the k largest, the one that came in) where one feature is left out, and so one 0 more may be chosen.

    `total` is the sum with it, `last` and `following` the k-th and the (k + 1)-th largest, `left` that feature's z,
    `zero` 0 in their type.
    """
    chosen = left >= last
    new = max(following if chosen else last, zero)
    return total - (left if chosen else last) + new, new


@njit
def _f(label: Label, left: int) -> np.floating:
    """f of a row and label without the row's feature `left`; −1 is none."""
    z, G, top, total, linear = label
    k = len(top) - 1
    if k < 0:
        return total if left < 0 else total - G[left] * z[left]
    if left < 0:
        return total * linear
    affinity, _ = _without(total, top[k - 1], top[k], z[left], z.dtype.type(0))
    f: np.floating = affinity * (linear - z[left])
    return f


@njit
def _f_of_pool(labels: Labels, left: int, f: Floats) -> None:
    """The same of the first labels of many; rows taken out of arrays would cost more than f."""
    z, G, top, total, linear = labels
    k = top.shape[1] - 1
    for c in range(len(f)):
        if k < 0:
            f[c] = total[c] if left < 0 else total[c] - G[c, left] * z[c, left]
        elif left < 0:
            f[c] = total[c] * linear[c]
        else:
            own = z[c, left]
            f[c] = _without(total[c], top[c, k - 1], top[c, k], own, z.dtype.type(0))[0] * (linear[c] - own)


@njit
def _add_slopes(share: np.floating, label: Label, left: int, by_z: Floats, by_w: Floats) -> None:
    """Add share · ∂f/∂z and share · ∂f/∂w; where `by_w` is empty w is z."""
    z, G, top, total, linear = label
    one, kept, at_left = z.dtype.type(1), z.dtype.type(0), max(left, 0)
    kept_z, kept_w = by_z[at_left] if len(z) else kept, by_w[at_left] if len(by_w) else kept
    if len(top):
        k, rest = len(top) - 1, linear
        smallest = top[k - 1]
        if left >= 0:
            total, new = _without(total, top[k - 1], top[k], z[left], kept)
            rest -= z[left]
            last = top[k - 1] if z[left] > top[k - 1] else top[k - 2] if k > 1 else new
            smallest = min(new, last)
        for i in range(len(z)):
            by_z[i] += share * (total + rest if z[i] >= smallest else total)
    elif len(by_w):
        for i in range(len(z)):
            by_z[i] += share * G[i]
            by_w[i] += share * G[i] * (one - G[i]) * z[i]
    else:
        for i in range(len(z)):
            by_z[i] += share * (G[i] + G[i] * (one - G[i]) * z[i])
    if left >= 0:
        by_z[left] = kept_z
        if len(by_w):
            by_w[left] = kept_w


@njit
def _row(x: Entries, at: Tensors, row: int) -> tuple[Index, Floats, Floats, Floats]:
    """Of a row's features: place, xᵢ, xᵢUᵢ [features, D] and gᵢ [features, rank]."""
    starts, places, values, _ = x
    U, _, g, _, _ = at
    place, value = places[starts[row] : starts[row + 1]], values[starts[row] : starts[row + 1]]
    e, g_own = np.empty((len(place), U.shape[1]), U.dtype), np.empty((len(place), g.shape[1]), U.dtype)
    for i in range(len(place)):
        for j in range(U.shape[1]):
            e[i, j] = value[i] * U[place[i], j]
        for j in range(g.shape[1]):
            g_own[i, j] = g[place[i], j]
    return place, value, e, g_own


@njit
def _spread(place: Index, value: Floats, by_e: Floats, by_own: Floats, by_U: Floats, by_g: Floats) -> None:
    """Add the gradients of a row's features to those of the touched ones."""
    for i in range(len(place)):
        for j in range(by_U.shape[1]):
            by_U[place[i], j] += value[i] * by_e[i, j]
        for j in range(by_g.shape[1]):
            by_g[place[i], j] += by_own[i, j]


@njit
def _products(rows: Floats, own: Floats) -> Floats:
    found = np.empty(len(rows), own.dtype)
    for i in range(len(rows)):
        found[i] = dot(rows[i], own)
    return found


@njit
def _pull(by: Floats, rows: Floats, own: Floats, by_rows: Floats, by_own: Floats) -> None:
    """Gradients of Σ byᵢ · rowsᵢᵀown."""
    for i in range(len(by)):
        row, into, s = rows[i], by_rows[i], by[i]
        for j in range(len(own)):
            into[j] += s * own[j]
            by_own[j] += s * row[j]


@njit
def _scored(e: Floats, g_own: Floats, at: Tensors, label: int, G: Floats, top: Floats, dimension: int) -> Label:
    _, V, _, h, _ = at
    z = _products(e, V[label])
    found: Label = _summed(z, _products(g_own, h[label]) if h.shape[1] else z, G, top, dimension)
    return found


@njit
def _rounds(
    x: Entries,
    at: Tensors,
    pair_row: Index,
    pair_label: Index,
    left: Index,
    excluded_row: Index,
    indptr: Index,
    indices: Index,
    weight: Floats,
    losses: NDArray[np.float64],
    margin: np.floating,
    key: np.uint64,
) -> tuple[Index, Counts, Index, Counts, Floats, Floats, Index, Floats, Floats, float, bool]:
    U, V, g, h, room = at
    pairs, rank, kind, finite, loss = len(pair_row), g.shape[1], V.dtype.type, True, 0.0
    M, found, number = np.empty(pairs, np.int64), np.empty(pairs, np.intp), np.empty(pairs, np.int64)
    labels, count, p = np.empty(2 * pairs, np.intp), 0, 0
    by_U, by_g = np.zeros_like(U), np.zeros_like(g)
    by_V, by_h = np.zeros((2 * pairs, V.shape[1]), V.dtype), np.zeros((2 * pairs, rank), V.dtype)
    for row in range(len(x[0]) - 1):
        place, value, e, g_own = _row(x, at, row)
        n, excluded = len(place), indices[indptr[excluded_row[row]] : indptr[excluded_row[row] + 1]]
        by_e, by_own, by = np.zeros_like(e), np.zeros_like(g_own), np.empty((2, n), V.dtype)
        G, top = np.empty((2, n), V.dtype), np.empty((2, room), V.dtype)
        while p < pairs and pair_row[p] == row:
            M[p] = len(V) - len(excluded)
            above = _scored(e, g_own, at, pair_label[p], G[0], top[0], x[3])
            f_own = _f(above, left[p])
            finite = finite and np.isfinite(f_own)
            for draw in range(M[p]):
                label = negative_of_rank(np.int64(uniform_at(key, p, draw) * M[p]), excluded)
                below = _scored(e, g_own, at, label, G[1], top[1], x[3])
                f = _f(below, left[p])
                if f <= f_own - margin:
                    continue
                finite = finite and np.isfinite(f)  # what is no number, and compares with nothing, ends it too
                hinge = np.float64(margin) + np.float64(f) - np.float64(f_own)
                share = weight[row] * losses[M[p] // (draw + 1)] if hinge > 0 else 0.0
                loss += share * hinge
                found[count], number[count] = p, draw + 1
                labels[2 * count], labels[2 * count + 1] = pair_label[p], label
                for part in (2 * count, 2 * count + 1):
                    by[:] = 0
                    if part == 2 * count:
                        _add_slopes(kind(-share), above, left[p], by[0], by[1, : n if rank else 0])
                    else:
                        _add_slopes(kind(share), below, left[p], by[0], by[1, : n if rank else 0])
                    _pull(by[0], e, V[labels[part]], by_e, by_V[part])
                    if rank:
                        _pull(by[1], g_own, h[labels[part]], by_own, by_h[part])
                count += 1
                break
            p += 1
        _spread(place, value, by_e, by_own, by_U, by_g)
    ends = 2 * count
    negative = labels[1:ends:2].copy()
    return found[:count], number[:count], negative, M, by_U, by_g, labels[:ends], by_V[:ends], by_h[:ends], loss, finite


@njit
def _scored_at_once(z: Floats, w: Floats, room: int, dimension: int) -> Labels:
    """The labels of z and w [labels, features]."""
    G, top = np.empty_like(z), np.empty((len(z), room), z.dtype)
    total, linear = np.empty(len(z), z.dtype), np.empty(len(z), z.dtype)
    for c in range(len(z)):
        _, _, _, total[c], linear[c] = _summed(z[c], w[c], G[c], top[c], dimension)
    return z, G, top, total, linear


@njit
def _label(labels: Labels, c: int) -> Label:
    z, G, top, total, linear = labels
    return z[c], G[c], top[c], total[c], linear[c]


@njit
def _pooled(
    x: Entries,
    at: Tensors,
    pool: Index,
    pair_row: Index,
    pair_label: Index,
    left: Index,
    barred_row: Index,
    barred_column: Index,
    M: Counts,
    eligible: Counts,
    weight: Floats,
    losses: NDArray[np.float64],
    margin: np.floating,
    barred: np.floating,
) -> tuple[Counts, Floats, Floats, Floats, Floats, float, bool]:
    U, V, g, h, room = at
    pairs, P, rank, kind, finite, loss = len(pair_row), len(pool), g.shape[1], V.dtype.type, True, 0.0
    by_U, by_g, violators, f = np.zeros_like(U), np.zeros_like(g), np.zeros(pairs, np.int64), np.empty(P, V.dtype)
    by_V, by_h = np.zeros((P + pairs, V.shape[1]), V.dtype), np.zeros((P + pairs, rank), V.dtype)
    p, bar = 0, 0
    for row in range(len(x[0]) - 1):
        first, first_bar = p, bar
        while p < pairs and pair_row[p] == row:
            p += 1
        while bar < len(barred_row) and barred_row[bar] == row:
            bar += 1
        # The labels of the row's own pairs stand behind those of the pool: one product for all of them.
        labels = np.concatenate((pool, pair_label[first:p]))
        place, value, e, g_own = _row(x, at, row)
        V_row, h_row = V[labels], h[labels]
        z = np.dot(V_row, e.T)
        scored = _scored_at_once(z, np.dot(h_row, g_own.T) if rank else z, room, x[3])
        by_z, by_w = np.zeros_like(z), np.zeros((len(z), len(e) if rank else 0), V.dtype)
        for q in range(first, p):
            _f_of_pool(scored, left[q], f)
            own = P + q - first
            f_own = _f(_label(scored, own), left[q])
            finite = finite and np.isfinite(f.sum()) and np.isfinite(f_own)
            for column in barred_column[first_bar:bar]:
                f[column] = barred
            least, v = f_own - margin, np.int64(0)
            for c in range(P):
                v += np.int64(f[c] > least)
            violators[q] = v
            if v == 0:
                continue
            each = kind(weight[q] * losses[v * M[q] // max(1, eligible[q])] / v)
            up = -each * kind(v)
            loss += np.float64(up) * np.float64(least)
            _add_slopes(up, _label(scored, own), left[q], by_z[own], by_w[own])
            for c in range(P):
                if f[c] > least:
                    loss += np.float64(each) * np.float64(f[c])
                    _add_slopes(each, _label(scored, c), left[q], by_z[c], by_w[c])
        by_labels = np.dot(by_z, e)
        by_V[:P] += by_labels[:P]
        by_V[P + first : P + p] = by_labels[P:]
        by_own = by_g[:0]
        if rank:
            by_labels, by_own = np.dot(by_w, g_own), np.dot(by_w.T, h_row)
            by_h[:P] += by_labels[:P]
            by_h[P + first : P + p] = by_labels[P:]
        _spread(place, value, np.dot(by_z.T, V_row), by_own, by_U, by_g)
    return violators, by_U, by_g, by_V, by_h, loss, finite


class NumbaFeatureBlocks:
    """Compiled at the first use."""

    def joined(self, x: FeatureRuns, UV: Floats, gh: Floats | None, largest: int) -> Floats:
        return np.asarray(_joined(_entries(x, UV), UV, UV[:0] if gh is None else gh, largest))

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
        own = at.V.dtype.type(margin)
        *found, by_U, by_g, labels, by_V, by_h, loss, finite = _rounds(
            _entries(x, at.U), _tensors(at, x.dimension), *pairs, *excluded, weight, losses, own, key
        )
        return FoundPairs(*found), FeatureGradients(by_U, by_g, labels, by_V, by_h, loss, finite)

    def pooled(
        self,
        x: FeatureRuns,
        at: FeatureTensors,
        pool: Index,
        pairs: LeftPairs,
        barred: tuple[Index, Index],
        negatives: tuple[Counts, Counts],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
    ) -> tuple[Counts, FeatureGradients]:
        own, lowest = at.V.dtype.type(margin), at.V.dtype.type(BARRED)
        violators, by_U, by_g, *rest = _pooled(
            _entries(x, at.U), _tensors(at, x.dimension), pool, *pairs, *barred, *negatives, weight, losses, own, lowest
        )
        return violators, FeatureGradients(by_U, by_g, np.concatenate((pool, pairs[1])), *rest)


def _entries(x: FeatureRuns, like: Floats) -> Entries:
    return x.starts, x.place, x.value.astype(like.dtype, copy=False), x.dimension


def _tensors(at: FeatureTensors, dimension: int) -> Tensors:
    return at.U, at.V, at.g, at.h, min(at.largest, dimension) + 1 if at.largest else 0

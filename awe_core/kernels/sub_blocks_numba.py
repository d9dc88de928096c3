"""All of a sub-block in one compiled call, which holds no interpreter lock.

The random numbers and the order of the operations are those of the whole-array functions, in the float type of V; only
the sum of a product of two rows may be taken in another order.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from awe_core.arrangement import GOLDEN, mix
from awe_core.kernels.sub_blocks import BARRED, Bounds, DrawnProducts, Floats, Index, Pairs, PooledProducts

Counts = NDArray[np.int64]
_mix = numba.njit(nogil=True, cache=True)(mix)

Products = tuple[Index, Counts, Index, Floats, Floats, Floats, float, float]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def count_above(f: Floats, pair_row: Index, threshold: Floats) -> NDArray[np.int64]:
    found = np.empty(len(pair_row), dtype=np.int64)
    for p in range(len(pair_row)):
        row, least, count = f[pair_row[p]], threshold[p], np.int32(0)
        for j in range(len(row)):
            count += np.int32(row[j] > least)
        found[p] = count
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def spread_above(f: Floats, pair_row: Index, threshold: Floats, each: Floats) -> Floats:
    spread = np.zeros_like(f)
    for p in range(len(pair_row)):
        row, into, least, share = f[pair_row[p]], spread[pair_row[p]], threshold[p], each[p]
        if share != 0:
            for j in range(len(row)):
                into[j] += share if row[j] > least else f.dtype.type(0)
    return spread


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})
def dots(embedding: Floats, row: Index, V: Floats, label: Index) -> Floats:
    # A sum of one row may be taken in another order than numpy's: without that it could not be vectorised.
    found = np.empty(len(row), dtype=V.dtype)
    for e in range(len(row)):
        left, right, total = embedding[row[e]], V[label[e]], V.dtype.type(0)
        for j in range(len(left)):
            total += left[j] * right[j]
        found[e] = total
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _bounded(z: np.floating, low: np.floating, high: np.floating) -> np.floating:
    return min(max(z, low), high) * z


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _slope(z: np.floating, low: np.floating, high: np.floating) -> np.floating:
    G = min(max(z, low), high)
    return G + z if low < z < high else G


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _all_bounded(z: Floats, low: np.floating, high: np.floating) -> Floats:
    """f of all z; z itself where f is linear."""
    if low == high == 1:
        return z
    f = np.empty_like(z)
    for row in range(len(z)):
        for column in range(z.shape[1]):
            f[row, column] = _bounded(z[row, column], low, high)
    return f


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _pooled(
    embedding: Floats,
    V: Floats,
    pool: Index,
    pair_row: Index,
    pair_label: Index,
    barred_row: Index,
    barred_column: Index,
    negatives: NDArray[np.int64],
    eligible: NDArray[np.int64],
    weight: Floats,
    losses: NDArray[np.float64],
    margin: np.floating,
    barred: np.floating,
    low: np.floating,
    high: np.floating,
) -> tuple[Floats, Floats, Floats, NDArray[np.int64], float, bool]:
    V_pool, V_own = V[pool], V[pair_label]
    z = np.dot(embedding, V_pool.T)
    f = _all_bounded(z, low, high)
    finite = np.isfinite(f.sum())
    for entry in range(len(barred_row)):
        f[barred_row[entry], barred_column[entry]] = barred
    z_own = dots(embedding, pair_row, V_own, np.arange(len(pair_row)))
    f_own = np.empty_like(z_own)
    for p in range(len(z_own)):
        f_own[p] = _bounded(z_own[p], low, high)
    finite = finite and np.isfinite(f_own.sum())
    threshold = f_own - margin
    v = count_above(f, pair_row, threshold)
    each = np.empty_like(f_own)
    for p in range(len(v)):
        each[p] = weight[p] * losses[v[p] * negatives[p] // max(1, eligible[p])] / max(1, v[p])
    down = spread_above(f, pair_row, threshold, each)
    by_own, loss = np.empty_like(V_own), 0.0
    for row in range(len(down)):
        for column in range(len(pool)):
            loss += down[row, column] * f[row, column]
            if f is not z and down[row, column] != 0:
                down[row, column] *= _slope(z[row, column], low, high)
    by_embedding, by_pool = np.dot(down, V_pool), np.dot(down.T, embedding)
    for p in range(len(pair_row)):
        up, own, into = -each[p] * v[p], embedding[pair_row[p]], by_embedding[pair_row[p]]
        loss += up * (f_own[p] - margin)
        up *= _slope(z_own[p], low, high)
        for j in range(len(own)):
            by_own[p, j] = up * own[j]
            into[j] += up * V_own[p, j]
    return by_embedding, by_pool, by_own, v, loss, finite


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})
def dot(left: Floats, right: Floats) -> np.floating:
    total = left.dtype.type(0)
    for j in range(len(left)):
        total += left[j] * right[j]
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _draw(u: Floats, pair: int, violators: int, negatives: int) -> tuple[int, int]:
    """(N, which violator), N = 0 for a pair that gives up: `awe_core.warp.loss.draw_violators`."""
    if violators == 0:
        return 0, 0
    number = max(1.0, np.ceil(np.log1p(-u[0, pair]) / np.log1p(-(violators / negatives))))
    if number > negatives:
        return 0, 0
    return int(number), int(u[1, pair] * violators)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _step(
    embedding: Floats,
    V: Floats,
    rows: Index,
    positive: Index,
    found: Index,
    number: Counts,
    negative: Index,
    share: NDArray[np.float64],
    hinge: NDArray[np.float64],
    gate_up: Floats,
    gate_down: Floats,
) -> Products:
    """Gradients of Σ share · hinge over the found pairs, which stand first in number … gate_down."""
    pairs, D = len(found), V.shape[1]
    by_embedding = np.zeros_like(embedding)
    by_positive, by_negative = np.empty((pairs, D), V.dtype), np.empty((pairs, D), V.dtype)
    by_offset, loss = 0.0, 0.0
    for i in range(pairs):
        row, of_pair = rows[found[i]], share[i] if hinge[i] > 0 else 0.0
        up, down = V.dtype.type(-of_pair * gate_up[i]), V.dtype.type(of_pair * gate_down[i])
        own, into, above, below = embedding[row], by_embedding[row], V[positive[found[i]]], V[negative[i]]
        for j in range(D):
            into[j] += up * above[j] + down * below[j]
            by_positive[i, j] = up * own[j]
            by_negative[i, j] = down * own[j]
        by_offset += np.float64(up) + np.float64(down)
        loss += of_pair * hinge[i]
    return found, number[:pairs], negative[:pairs], by_embedding, by_positive, by_negative, by_offset, loss


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _geometric(
    embedding: Floats,
    V: Floats,
    pair_row: Index,
    pair_label: Index,
    excluded_row: Index,
    indptr: Index,
    indices: Index,
    weight: Floats,
    losses: NDArray[np.float64],
    margin: np.floating,
    u: NDArray[np.float64],
    barred: np.floating,
    low: np.floating,
    high: np.floating,
) -> tuple[Products, Counts, bool]:
    z, pairs = np.dot(embedding, V.T), len(pair_row)
    f = _all_bounded(z, low, high)
    finite = np.isfinite(f.sum())
    f_own = np.empty(pairs, V.dtype)
    for p in range(pairs):
        f_own[p] = f[pair_row[p], pair_label[p]]
    for i in range(len(excluded_row)):
        for label in indices[indptr[excluded_row[i]] : indptr[excluded_row[i] + 1]]:
            f[i, label] = barred
    v = count_above(f, pair_row, f_own - margin)
    M = np.empty(pairs, np.int64)
    found, number, negative = np.empty(pairs, np.intp), np.empty(pairs, np.int64), np.empty(pairs, np.intp)
    share, hinge = np.empty(pairs), np.empty(pairs)
    up, down = np.empty(pairs, V.dtype), np.empty(pairs, V.dtype)
    count = 0
    for p in range(pairs):
        row = pair_row[p]
        M[p] = V.shape[0] - (indptr[excluded_row[row] + 1] - indptr[excluded_row[row]])
        N, left = _draw(u, p, v[p], M[p])
        if N == 0:
            continue
        least = f_own[p] - margin
        for label in range(f.shape[1]):
            if f[row, label] > least:
                if left == 0:
                    negative[count] = label
                    up[count] = _slope(z[row, pair_label[p]], low, high)
                    down[count] = _slope(z[row, label], low, high)
                    break
                left -= 1
        found[count], number[count] = p, N
        share[count] = weight[row] * losses[M[p] // N]
        hinge[count] = np.float64(margin) + np.float64(f[row, negative[count]]) - np.float64(f_own[p])
        count += 1
    made = _step(embedding, V, pair_row, pair_label, found[:count], number, negative, share, hinge, up, down)
    return made, M, finite


@numba.njit(nogil=True, cache=True, error_model="numpy")
def uniform_at(key: np.uint64, pair: int, draw: int) -> float:
    count = (np.uint64(pair) << np.uint64(32)) + np.uint64(draw) + np.uint64(1)
    return np.float64(_mix(key + count * GOLDEN) >> np.uint64(11)) * 2.0**-53


@numba.njit(nogil=True, cache=True, error_model="numpy")
def negative_of_rank(rank: int, excluded: Index) -> int:
    """The r-th label, from 0, that is not among the ascending excluded: j of them lie before it where e_j − j ≤ r."""
    low, high = 0, len(excluded)
    while low < high:
        middle = (low + high) // 2
        if excluded[middle] - middle <= rank:
            low = middle + 1
        else:
            high = middle
    return rank + low


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rounds(
    embedding: Floats,
    V: Floats,
    pair_row: Index,
    pair_label: Index,
    excluded_row: Index,
    indptr: Index,
    indices: Index,
    weight: Floats,
    losses: NDArray[np.float64],
    margin: np.floating,
    key: np.uint64,
    low: np.floating,
    high: np.floating,
) -> tuple[Products, Counts, bool]:
    pairs, finite = len(pair_row), True
    M = np.empty(pairs, np.int64)
    found, number, negative = np.empty(pairs, np.intp), np.empty(pairs, np.int64), np.empty(pairs, np.intp)
    share, hinge = np.empty(pairs), np.empty(pairs)
    up, down = np.empty(pairs, V.dtype), np.empty(pairs, V.dtype)
    count = 0
    for p in range(pairs):
        row = pair_row[p]
        own, excluded = embedding[row], indices[indptr[excluded_row[row]] : indptr[excluded_row[row] + 1]]
        M[p] = V.shape[0] - len(excluded)
        z_own = dot(own, V[pair_label[p]])
        f_own = _bounded(z_own, low, high)
        finite = finite and np.isfinite(f_own)
        least = f_own - margin
        for draw in range(M[p]):
            label = negative_of_rank(np.int64(uniform_at(key, p, draw) * M[p]), excluded)
            z = dot(own, V[label])
            f = _bounded(z, low, high)
            if f > least:
                found[count], number[count], negative[count] = p, draw + 1, label
                share[count] = weight[row] * losses[M[p] // (draw + 1)]
                hinge[count] = np.float64(margin) + np.float64(f) - np.float64(f_own)
                up[count], down[count] = _slope(z_own, low, high), _slope(z, low, high)
                finite = finite and np.isfinite(f)
                count += 1
                break
            if not f <= least:  # not a number: nothing compares
                finite = False
                break
    made = _step(embedding, V, pair_row, pair_label, found[:count], number, negative, share, hinge, up, down)
    return made, M, finite


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _among_candidates(
    embedding: Floats,
    V: Floats,
    offset: Floats,
    pair_row: Index,
    pair_entry: Index,
    candidate_row: Index,
    starts: Index,
    labels: Index,
    gate: Floats,
    barred: NDArray[np.bool_],
    negatives: Counts,
    weight: Floats,
    losses: NDArray[np.float64],
    margin: Floats,
    u: NDArray[np.float64],
) -> tuple[Products, Counts, bool]:
    pairs, finite, widest = len(pair_row), True, 0
    for row in candidate_row:
        widest = max(widest, starts[row + 1] - starts[row])
    f = np.empty(widest, V.dtype)
    M, positive = np.empty(pairs, np.int64), np.empty(pairs, np.intp)
    found, number, negative = np.empty(pairs, np.intp), np.empty(pairs, np.int64), np.empty(pairs, np.intp)
    share, hinge = np.empty(pairs), np.empty(pairs)
    gate_up, gate_down = np.empty(pairs, V.dtype), np.empty(pairs, V.dtype)
    count, scored, first, entries = 0, -1, 0, 0
    for p in range(pairs):
        row = pair_row[p]
        if row != scored:
            scored, first = row, starts[candidate_row[row]]
            entries = starts[candidate_row[row] + 1] - first
            for e in range(entries):
                f[e] = gate[first + e] * (dot(embedding[row], V[labels[first + e]]) + offset[0])
                finite = finite and np.isfinite(f[e])
        f_own, M[p], positive[p] = f[pair_entry[p] - first], negatives[row], labels[pair_entry[p]]
        least, v = f_own - margin, 0
        for e in range(entries):
            v += not barred[first + e] and f[e] > least
        N, left = _draw(u, p, v, M[p])
        if N == 0:
            continue
        for e in range(entries):
            if not barred[first + e] and f[e] > least:
                if left == 0:
                    negative[count], gate_down[count] = labels[first + e], gate[first + e]
                    hinge[count] = np.float64(margin) + np.float64(f[e]) - np.float64(f_own)
                    break
                left -= 1
        found[count], number[count], gate_up[count] = p, N, gate[pair_entry[p]]
        share[count] = weight[row] * losses[M[p] // N]
        count += 1
    made = _step(embedding, V, pair_row, positive, found[:count], number, negative, share, hinge, gate_up, gate_down)
    return made, M, finite


Excluded = tuple[Index, NDArray[np.integer], NDArray[np.integer]]


class NumbaSubBlocks:
    """Compiled at the first use."""

    def pooled(
        self,
        embedding: Floats,
        V: Floats,
        pool: Index,
        pairs: Pairs,
        barred: Pairs,
        negatives: tuple[Counts, Counts],
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        bounds: Bounds,
    ) -> PooledProducts:
        own, lowest, low, high = (V.dtype.type(value) for value in (margin, BARRED, *bounds))
        return PooledProducts(
            *_pooled(embedding, V, pool, *pairs, *barred, *negatives, weight, losses, own, lowest, low, high)
        )

    def geometric(
        self,
        embedding: Floats,
        V: Floats,
        pairs: Pairs,
        excluded: Excluded,
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        u: NDArray[np.float64],
        bounds: Bounds,
    ) -> DrawnProducts:
        own, lowest, low, high = (V.dtype.type(value) for value in (margin, BARRED, *bounds))
        return _drawn(*_geometric(embedding, V, *pairs, *excluded, weight, losses, own, u, lowest, low, high))

    def rounds(
        self,
        embedding: Floats,
        V: Floats,
        pairs: Pairs,
        excluded: Excluded,
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        key: np.uint64,
        bounds: Bounds,
    ) -> DrawnProducts:
        own, low, high = (V.dtype.type(value) for value in (margin, *bounds))
        return _drawn(*_rounds(embedding, V, *pairs, *excluded, weight, losses, own, key, low, high))

    def among_candidates(
        self,
        embedding: Floats,
        V: Floats,
        offset: Floats,
        pairs: Pairs,
        candidates: tuple[Index, Index, Index, Floats, NDArray[np.bool_]],
        negatives: Counts,
        weight: Floats,
        losses: NDArray[np.float64],
        margin: float,
        u: NDArray[np.float64],
    ) -> DrawnProducts:
        own = V.dtype.type(margin)
        made = _among_candidates(embedding, V, offset, *pairs, *candidates, negatives, weight, losses, own, u)
        return _drawn(*made)


def _drawn(products: Products, negatives: Counts, finite: bool) -> DrawnProducts:
    pair, number, negative, by_embedding, by_positive, by_negative, by_offset, loss = products
    return DrawnProducts(
        pair, number, negative, negatives, by_embedding, by_positive, by_negative, by_offset, loss, finite
    )

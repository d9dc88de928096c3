"""σ(w) = 1 / (1 + e^(−w)), compiled so that a loop over float32 takes several at once.

The machine's own exponential is a call for every number. In float32 it is here

    e^w = 2ⁿ · e^r,   n = round(w / ln 2),   r = w − n · ln 2

with Taylor's polynomial of degree seven for |r| ≤ ln 2 / 2, whose remainder is 5 · 10⁻⁹: no call and no branch. In
float64 it is the machine's.
"""

from __future__ import annotations

from math import factorial, log

import numba
import numpy as np
from numba import types
from numba.extending import overload

_C7, _C6, _C5, _C4, _C3, _C2 = (np.float32(1 / factorial(power)) for power in range(7, 1, -1))
_ONE, _MOST = np.float32(1), np.float32(87)  # beyond it 2ⁿ is no normal number
_PER_LN2 = np.float32(1 / log(2))
_LN2 = np.float32(355 / 512)  # times n it is exact
_REST = np.float32(log(2) - 355 / 512)
_ROUND = np.float32(1.5 * 2**23)  # added and taken away it leaves whole numbers
_MANTISSA, _EXPONENT_OF_ONE = np.int32(23), np.int32(127)


def _exp(w: np.floating) -> np.floating:
    """e^w; compiled, NaN of NaN, and of float32 beyond ±87 that of ±87."""
    found: np.floating = np.exp(w)
    return found


@overload(_exp)
def _exp_of(w):  # type: ignore[no-untyped-def]  # numba compares the signatures, annotations too
    if w != types.float32:
        return lambda w: np.exp(w)

    def exp(w):  # type: ignore[no-untyped-def]
        w = min(max(w, -_MOST), _MOST)
        n = (w * _PER_LN2 + _ROUND) - _ROUND
        r = (w - n * _LN2) - n * _REST
        of_r = ((((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r + _ONE) * r + _ONE
        power = np.int32((np.int32(n) + _EXPONENT_OF_ONE) << _MANTISSA).view(np.float32)
        return of_r * power

    return exp


@numba.njit(nogil=True, cache=True, error_model="numpy")
def sigmoid(w: np.floating, one: np.floating) -> np.floating:
    """`one` is 1 in the type of w."""
    G: np.floating = one / (one + _exp(-w))
    return G

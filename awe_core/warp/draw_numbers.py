"""The random numbers of a sub-block's draws: the same for every kernel, in whatever order they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from awe_core.arrangement import GOLDEN, hash_key, mix

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DrawNumbers:
    """A stream of uniform numbers for every pair of a sub-block, by counter: number k of pair p is a hash of both.

    Attributes
    ----------
    key : names the sub-block.
    """

    key: np.uint64

    @classmethod
    def of(cls, seed: int, *key: int) -> Self:
        """The stream of a sub-block named by (seed, key…)."""
        return cls(hash_key(seed, "/".join(("warp", *map(str, key)))))

    def uniform(self, pair: NDArray[np.integer], draw: NDArray[np.integer]) -> Floats:
        """Uniform in [0, 1), float64 in the shape that `pair` and `draw` have together; both from 0, below 2³²."""
        count = (pair.astype(np.uint64) << np.uint64(32)) + draw.astype(np.uint64) + np.uint64(1)
        return np.asarray((mix(self.key + count * GOLDEN) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)

    def two(self, pairs: int) -> Floats:
        """The first two numbers of every pair: float64 [2, pairs]."""
        return self.uniform(np.arange(pairs), np.arange(2)[:, None])


def number_of_draws(u: Floats, p: Floats) -> Floats:
    """N of a geometric law by inversion, P(N > k) = (1 − p)ᵏ, as whole float64 from 1 on: it may exceed every integer.

    Parameters
    ----------
    u : uniform in [0, 1).
    p : chance of a draw to succeed, in (0, 1].
    """
    with np.errstate(divide="ignore"):
        return np.maximum(1.0, np.ceil(np.log1p(-u) / np.log1p(-p)))

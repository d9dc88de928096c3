"""Joining pieces in any order and any tree, for the laws of what Beam merges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def merge_in_some_tree(pieces: Sequence[T], merge: Callable[[list[T]], T], rng: np.random.Generator) -> T:
    """Join random runs of what is left, shuffled, until one is left."""
    left = list(pieces)
    while len(left) > 1:
        rng.shuffle(left)  # type: ignore[arg-type]
        taken = int(rng.integers(2, len(left) + 1))
        left = [*left[taken:], merge(left[:taken])]
    return left[0]


def random_split(rows: int, pieces: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows 0 … rows − 1 dealt at random to that many pieces, some of them perhaps empty."""
    owner = rng.integers(pieces, size=rows)
    return [np.flatnonzero(owner == piece) for piece in range(pieces)]

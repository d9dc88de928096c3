"""Blocks of examples: what every kernel takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Features: TypeAlias = NDArray[np.float32] | sp.csr_matrix


@dataclass(frozen=True)
class Block:
    """A run of rows of one part, handled as one array.

    Attributes
    ----------
    ids : int64 [rows].
    features : x, float32 [rows, d], dense or CSR with sorted indices.
    labels : CSR [rows, Y], sorted indices, the true labels; only the structure counts.
    seen : CSR [rows, Y], labels that are never ranked, drawn or counted.
    weight : float32 [rows], multiplies the step.
    affinity : CSR [rows, Y] of G(x, y), or None before there is one. Its structure is the candidates: a stored zero
        (an affinity that underflowed) is a candidate too.
    """

    ids: NDArray[np.int64]
    features: Features
    labels: sp.csr_matrix
    seen: sp.csr_matrix
    weight: NDArray[np.float32]
    affinity: sp.csr_matrix | None = None

    def __len__(self) -> int:
        return len(self.ids)


class BlockSource(Protocol):
    """Blocks in the order of their parts, read one at a time: a list in memory, or a dataset on disk."""

    @property
    def rows_of_block(self) -> Sequence[int]:
        """Number of rows of every block."""

    def __getitem__(self, index: int) -> Block:
        """Read one block."""

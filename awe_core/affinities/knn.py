"""The k-NN affinity: only equal labels count.

    G(x, y) = Σₘ exp(−λx ‖Ux − Uxₘ‖²) [y ∈ Yₘ]   over the n nearest training examples (or their maximum)

(Weston, Weiss, Yee 2013, equation 1, with λy so large that only equal labels count.) λx is `affinity.lambda_x` / m, m
the median of ‖Ux − Uxₘ‖² over the neighbours. With approximate neighbours (`affinity.recall`) it is the same function
of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from awe_core.affinities.neighbour_labels import Mode, NeighbourLabels


@dataclass(frozen=True)
class Knn:
    """Candidates are the labels of the neighbours.

    Attributes
    ----------
    mode : sum over the neighbours that have y, or their maximum. With ε, every G is at most ε too small, and a label
        that only neighbours left out have is no candidate.
    """

    mode: Mode

    def of(self, near: NeighbourLabels) -> sp.csr_matrix:
        """See `FromNeighbours`."""
        return near.joined(self.mode).astype(np.float32)

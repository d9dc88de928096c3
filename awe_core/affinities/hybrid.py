"""The hybrid latent RBF and, on neighbours in the space of x itself, the RBF: labels compared as one-hot vectors.

    G(x, y) = Σₘ exp(−λx d²(x, xₘ)) Σ_{y'∈Yₘ} exp(−λy ‖y − y'‖²)   over the n nearest examples and each of their labels

‖y − y'‖² is 0 or 2, so this is, with w the weight of a neighbour and G_knn the k-NN affinity,

    sum      (1 − e^(−2λy)) · G_knn(x, y) + e^(−2λy) · Σₘ wₘ |Yₘ|
    maximum  max(G_knn(x, y), e^(−2λy) · max of wₘ over the neighbours that have a label)

The second term is the same for all labels of an example. Stored is G of the labels of the neighbours, exactly; every
other label has the second term alone as its G, the least there is, and is no candidate.

The median of ‖y − y'‖² over different labels is 2, and `affinity.lambda_y` counts in 1 / median, as λx does: the factor
e^(−2λy) is exp(−`affinity.lambda_y`). Infinite, it gives G_knn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from awe_core.affinities.neighbour_labels import Mode, NeighbourLabels
from awe_core.rows import row_of_entry


@dataclass(frozen=True)
class Hybrid:
    """Candidates are the labels of the neighbours.

    Attributes
    ----------
    mode : sum over the training pairs (xₘ, y'), or their maximum.
    lambda_y : λy in units of 1 / median ‖y − y'‖²; may be infinite.
    """

    mode: Mode
    lambda_y: float

    def of(self, near: NeighbourLabels) -> sp.csr_matrix:
        """See `FromNeighbours`."""
        affinity, other = near.joined(self.mode), math.exp(-self.lambda_y)
        others = other * near.totals(self.mode)[row_of_entry(affinity)]
        if self.mode == "sum":
            affinity.data = (1 - other) * affinity.data + others
        else:
            affinity.data = np.maximum(affinity.data, others)
        return affinity.astype(np.float32)

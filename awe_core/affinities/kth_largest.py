"""The k-th largest of the zᵢ of every row, those of the features that x lacks included."""

from __future__ import annotations

import numpy as np

from awe_core.kernels.feature_runs import FeatureRuns, Floats
from awe_core.rows import ranges


def kth_largest(x: FeatureRuns, z: Floats, k: int) -> Floats:
    """The k-th largest of all d features' z, or the smallest where k > d: z [entries, n] → [rows, n].

    Rows are taken together by the binary logarithm of how many features they store, and filled up with the zeros of
    those that they lack.
    """
    k = min(k, x.dimension)
    lengths = np.diff(x.starts)
    kth = np.zeros((len(x), z.shape[1]), dtype=z.dtype)
    size = np.ceil(np.log2(np.maximum(1, lengths))).astype(np.int64)
    for bits in np.unique(size[lengths > 0]).tolist():
        rows = np.flatnonzero((size == bits) & (lengths > 0))
        width = min(x.dimension, (1 << bits) + k)
        filled = np.zeros((len(rows), width, z.shape[1]), dtype=z.dtype)
        place = ranges(np.zeros(len(rows), dtype=np.intp), lengths[rows])
        filled[np.repeat(np.arange(len(rows)), lengths[rows]), place] = z[ranges(x.starts[rows], lengths[rows])]
        kth[rows] = np.partition(filled, width - k, axis=1)[:, width - k]
    return kth

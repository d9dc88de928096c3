"""A sub-block's features and the rows of U that they touch, for a compiled kernel, and the way back to a gradient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from awe_core.kernels.feature_blocks import FeatureGradients, FeatureTensors, LeftPairs
from awe_core.kernels.feature_rows import RowGradient
from awe_core.kernels.feature_runs import FeatureRuns
from awe_core.warp.minibatch import Visit
from awe_core.warp.scores import Gradient, Parameters


def touched(
    visit: Visit, these: slice, parameters: Parameters
) -> tuple[NDArray[np.intp], LeftPairs, FeatureRuns, FeatureTensors]:
    """The rows of the visit that a run of pairs needs, the pairs, the rows' features, and the parameters of their f."""
    rows, pair_row, pair_label = visit.examples_and_pairs(these)
    x, entry = visit.examples_without(rows, pair_row, pair_label)
    joint, own, runs = parameters.joint, parameters.own, FeatureRuns.of(x)
    left = np.where(entry >= 0, entry - runs.starts[pair_row], -1)
    assert joint is not None
    U, V = parameters.U[runs.touched], parameters.V
    g, h = (own["g"][runs.touched], own["h"]) if own else (U[:, :0].copy(), V[:, :0].copy())
    return rows, (pair_row, pair_label, left), runs, FeatureTensors(U, V, g, h, joint.largest)


def through_touched(x: FeatureRuns, made: FeatureGradients, parameters: Parameters) -> Gradient:
    """The gradient of a sub-block. Raises FloatingPointError if a score is not finite."""
    if not made.finite:
        raise FloatingPointError("a score is not finite")
    own = {"g": [RowGradient(x.touched, made.by_g)], "h": [RowGradient(made.labels, made.by_h)]}
    V = [RowGradient(made.labels, made.by_V)]
    return Gradient(RowGradient(x.touched, made.by_U), V, 0.0, made.loss, own if parameters.own else {})

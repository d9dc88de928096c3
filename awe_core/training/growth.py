"""Labels and features that a model has not met: a start that keeps what is known and begins the rest anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from awe_core.model import Model

NEW = -1
"""Where a label or a feature has no counterpart in the model."""


def matched(names: list[str], known: list[str]) -> NDArray[np.intp]:
    """Place of every name among the known ones, `NEW` where it is none of them: intp [names]."""
    place = {name: position for position, name in enumerate(known)}
    return np.array([place.get(name, NEW) for name in names], dtype=np.intp)


def grown(model: Model, fresh: Model, features: NDArray[np.intp], labels: NDArray[np.intp]) -> Model:
    """A model of the size of `fresh`: rows with a counterpart as `model` has them, the others as `fresh` has.

    Accumulators are carried over with their rows; a new row's are 0, so that it takes AdaGrad's long first steps.

    Parameters
    ----------
    model : the trained model.
    fresh : one to train from scratch, with as many features and labels as are wanted; its U and V are written over.
    features, labels : counterpart of every row of U and V, or `NEW`.

    Raises
    ------
    ValueError
        The two have another D.
    """
    if model.dimension != fresh.dimension:
        raise ValueError(f"the model to begin with has D = {model.dimension}, and train.D is {fresh.dimension}")
    accumulators = {}
    for name, rows, counterpart in (("U", fresh.U, features), ("V", fresh.V, labels)):
        known = counterpart != NEW
        rows[known] = getattr(model, name)[counterpart[known]]
        if name in model.accumulators:
            sums = np.zeros_like(rows)
            sums[known] = model.accumulators[name][counterpart[known]]
            accumulators[name] = sums
    return Model(fresh.U, fresh.V, model.offset, accumulators, model.similarity)

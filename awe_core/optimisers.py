"""How a gradient moves the rows of a parameter: SGD, AdaGrad, and the norm constraint after either."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

OptimiserName = Literal["sgd", "adagrad"]

# Keeps 0 / 0 away where a coordinate has had no gradient yet; far below any gradient that matters.
_EPSILON = np.float32(1e-10)


class Optimiser(Protocol):
    """Moves chosen rows of named parameters against their gradient, in place."""

    accumulators: dict[str, NDArray[np.float32]]

    def update(
        self, name: str, parameter: NDArray[np.float32], rows: NDArray[np.intp] | None, gradient: NDArray[np.float32]
    ) -> None:
        """Step on `parameter[rows]` (None: all rows); `rows` are distinct, `gradient` has one row for each."""


class Sgd:
    """w ← w − η·g.

    Parameters
    ----------
    learning_rate : η.
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = np.float32(learning_rate)
        self.accumulators: dict[str, NDArray[np.float32]] = {}

    def update(
        self, name: str, parameter: NDArray[np.float32], rows: NDArray[np.intp] | None, gradient: NDArray[np.float32]
    ) -> None:
        step = self.learning_rate * gradient
        if rows is None:
            parameter -= step
        else:
            parameter[rows] -= step


class AdaGrad:
    """A ← A + g², w ← w − η·g / (√A + ε), coordinate by coordinate; A starts at 0 (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
    learning_rate : η: the length of a coordinate's first step.
    accumulators : A by parameter to go on from; copied.
    """

    def __init__(self, learning_rate: float, accumulators: dict[str, NDArray[np.float32]] | None = None) -> None:
        self.learning_rate = np.float32(learning_rate)
        self.accumulators: dict[str, NDArray[np.float32]] = {
            name: sums.copy() for name, sums in (accumulators or {}).items()
        }

    def update(
        self, name: str, parameter: NDArray[np.float32], rows: NDArray[np.intp] | None, gradient: NDArray[np.float32]
    ) -> None:
        sums = self.accumulators.setdefault(name, np.zeros_like(parameter))
        if rows is None:
            sums += gradient * gradient
            parameter -= self.learning_rate * gradient / (np.sqrt(sums) + _EPSILON)
        else:
            touched = sums[rows] + gradient * gradient
            sums[rows] = touched
            parameter[rows] -= self.learning_rate * gradient / (np.sqrt(touched) + _EPSILON)


def optimiser_named(
    name: OptimiserName, learning_rate: float, accumulators: dict[str, NDArray[np.float32]] | None = None
) -> Optimiser:
    """The optimiser of a configuration; SGD has no use for accumulators."""
    return Sgd(learning_rate) if name == "sgd" else AdaGrad(learning_rate, accumulators)


def project(parameter: NDArray[np.float32], rows: NDArray[np.intp] | None, C: float) -> None:
    """Shorten rows longer than C to the length C, in place: ‖wᵢ‖ ≤ C. C = inf does nothing.

    Parameters
    ----------
    parameter : float32 [rows, D].
    rows : the rows to look at, distinct; None for all.
    """
    if math.isinf(C):
        return
    chosen = parameter if rows is None else parameter[rows]
    length = np.sqrt(np.einsum("rd,rd->r", chosen, chosen))
    long = np.flatnonzero(length > C)
    if len(long):
        at = long if rows is None else rows[long]
        parameter[at] *= (np.asarray(C, dtype=parameter.dtype) / length[long])[:, None]

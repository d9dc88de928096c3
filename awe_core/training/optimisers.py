"""How a gradient moves the rows of a parameter: SGD, AdaGrad, and the norm constraint after either."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from awe_core.kernels.kernel import Kernel, NumpyKernel
from awe_core.kernels.sorted_rows import SortedRows
from awe_core.threads import Workers

OptimiserName = Literal["sgd", "adagrad"]

# Distinct rows that one thread moves at a time: their gradient, parameter and sums stay in a core's cache.
_ROWS_OF_A_TASK = 1024


class Optimiser(Protocol):
    """Moves chosen rows of named parameters against their gradient, in place."""

    learning_rate: np.float32
    accumulators: dict[str, NDArray[np.float32]]

    def update(self, name: str, parameter: NDArray[np.float32], gradient: NDArray[np.float32]) -> None:
        """Step on all of a parameter."""

    def update_rows(self, name: str, parameter: NDArray[np.float32], gradient: SortedRows, these: slice) -> None:
        """Step on the rows `gradient.rows[these]` of a parameter, and touch no other."""


class Sgd:
    """w ← w − η·g.

    Parameters
    ----------
    learning_rate : η.
    kernel : adds up and moves rows.
    """

    def __init__(self, learning_rate: float, kernel: Kernel | None = None) -> None:
        self.learning_rate = np.float32(learning_rate)
        self.accumulators: dict[str, NDArray[np.float32]] = {}
        self._kernel = kernel or NumpyKernel()

    def update(self, name: str, parameter: NDArray[np.float32], gradient: NDArray[np.float32]) -> None:
        parameter -= self.learning_rate * gradient

    def update_rows(self, name: str, parameter: NDArray[np.float32], gradient: SortedRows, these: slice) -> None:
        self._kernel.sgd(parameter, gradient, these, self.learning_rate)


class AdaGrad:
    """A ← A + g², w ← w − η·g / (√A + ε), coordinate by coordinate; A starts at 0 (Duchi, Hazan and Singer 2011).

    Parameters
    ----------
    learning_rate : η: the length of a coordinate's first step.
    accumulators : A by parameter to go on from; changed in place, so a caller who needs them gives a copy.
    kernel : adds up and moves rows.
    """

    def __init__(
        self,
        learning_rate: float,
        accumulators: dict[str, NDArray[np.float32]] | None = None,
        kernel: Kernel | None = None,
    ) -> None:
        self.learning_rate = np.float32(learning_rate)
        self.accumulators = dict(accumulators or {})
        self._kernel = kernel or NumpyKernel()

    def _sums(self, name: str, parameter: NDArray[np.float32]) -> NDArray[np.float32]:
        if name not in self.accumulators:  # pages of zeros take no memory before they are written
            self.accumulators[name] = np.zeros(parameter.shape, dtype=parameter.dtype)
        return self.accumulators[name]

    def update(self, name: str, parameter: NDArray[np.float32], gradient: NDArray[np.float32]) -> None:
        self._kernel.adagrad_whole(parameter, self._sums(name, parameter), gradient, self.learning_rate)

    def update_rows(self, name: str, parameter: NDArray[np.float32], gradient: SortedRows, these: slice) -> None:
        self._kernel.adagrad(parameter, self._sums(name, parameter), gradient, these, self.learning_rate)


def optimiser_named(
    name: OptimiserName,
    learning_rate: float,
    accumulators: dict[str, NDArray[np.float32]] | None = None,
    kernel: Kernel | None = None,
) -> Optimiser:
    """The optimiser of a configuration; SGD has no use for accumulators."""
    return Sgd(learning_rate, kernel) if name == "sgd" else AdaGrad(learning_rate, accumulators, kernel)


def move_rows(
    optimiser: Optimiser,
    name: str,
    parameter: NDArray[np.float32],
    gradient: SortedRows,
    C: float,
    workers: Workers,
    free: int = 0,
) -> None:
    """Step on the rows that a gradient touches and `project` them; the rows are shared out in fixed runs."""
    if not len(gradient.rows):
        return
    runs = [slice(at, at + _ROWS_OF_A_TASK) for at in range(0, len(gradient.rows), _ROWS_OF_A_TASK)]
    runs[-1] = slice(runs[-1].start, len(gradient.rows))
    # The first task runs alone where it has yet to make the accumulator that all write to.
    if optimiser.accumulators.get(name) is None:
        optimiser.update_rows(name, parameter, gradient, slice(0, 0))

    def task(number: int) -> None:
        optimiser.update_rows(name, parameter, gradient, runs[number])
        project(parameter, gradient.rows[runs[number]], C, free)

    workers.map(task, len(runs))


def project(parameter: NDArray[np.float32], rows: NDArray[np.intp] | None, C: float, free: int = 0) -> None:
    """Shorten rows longer than C to the length C, in place: ‖wᵢ‖ ≤ C. C = inf does nothing.

    Parameters
    ----------
    parameter : float32 [rows, D].
    rows : the rows to look at, distinct; None for all.
    C : the longest that a row may be.
    free : last coordinates that are no part of a row's length, and are left as they are.
    """
    if math.isinf(C):
        return
    held = parameter[:, : parameter.shape[1] - free]
    chosen = held if rows is None else held[rows]
    length = np.sqrt(np.einsum("rd,rd->r", chosen, chosen))
    long = np.flatnonzero(length > C)
    if len(long):
        at = long if rows is None else rows[long]
        held[at] *= (np.asarray(C, dtype=parameter.dtype) / length[long])[:, None]

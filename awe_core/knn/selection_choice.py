"""The selection that belongs to a kernel's name."""

from __future__ import annotations

from collections.abc import Callable

from awe_core.kernels.kernel import KernelName
from awe_core.knn.selection import NumpySelection, Selection


def selection(kernel: KernelName) -> Callable[[], Selection]:
    """What makes the selection of a thread. Raises ModuleNotFoundError where numba is asked for and not installed."""
    if kernel == "numpy":
        return NumpySelection
    from awe_core.knn.selection_numba import NumbaSelection

    return NumbaSelection

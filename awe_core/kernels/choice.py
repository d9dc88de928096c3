"""Which kernel a name stands for."""

from __future__ import annotations

import importlib.util
from typing import Literal

from awe_core.kernels.kernel import Kernel, KernelName, NumpyKernel


def kernel_named(name: KernelName) -> Kernel:
    """The kernel of a configuration. Raises ModuleNotFoundError where numba is asked for and not installed."""
    if name == "numpy":
        return NumpyKernel()
    if resolved_kernel("auto") != name:
        raise ModuleNotFoundError(
            'the kernel "numba" is not installed; pip install "affinity-weighted-embedding[fast]"', name="numba"
        )
    from awe_core.kernels.kernel_numba import NumbaKernel

    return NumbaKernel()


def resolved_kernel(name: KernelName | Literal["auto"]) -> KernelName:
    """ "auto" is numba where it is installed."""
    if name != "auto":
        return name
    return "numba" if importlib.util.find_spec("numba") is not None else "numpy"

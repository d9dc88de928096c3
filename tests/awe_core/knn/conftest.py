from __future__ import annotations

import pytest

from awe_core.kernels.kernel import KernelName
from tests.compiled import needs_numba


@pytest.fixture(params=["numpy", "numba"])
def kernel(request: pytest.FixtureRequest) -> KernelName:
    if request.param == "numba":
        needs_numba()
    return request.param

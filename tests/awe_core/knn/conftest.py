from __future__ import annotations

import pytest

from awe_core.kernels import KernelName


@pytest.fixture(params=["numpy", "numba"])
def kernel(request: pytest.FixtureRequest) -> KernelName:
    if request.param == "numba":
        pytest.importorskip("numba")
    return request.param

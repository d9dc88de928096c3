"""Tests of compiled kernels run where numba is installed, and say elsewhere what runs them."""

from __future__ import annotations

import pytest


def needs_numba() -> None:
    """Leave out a test, or a module, where there is no numba."""
    pytest.importorskip("numba", reason="`make test-compiled` installs numba and runs these tests")

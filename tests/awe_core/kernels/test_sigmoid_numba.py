"""The compiled sigmoid against its equation in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.compiled import needs_numba

needs_numba()

import numba  # noqa: E402

from awe_core.kernels.sigmoid_numba import sigmoid  # noqa: E402


@numba.njit
def of_each(w: Any, one: Any, into: Any) -> None:
    for i in range(len(w)):
        into[i] = sigmoid(w[i], one)


def compiled(w: np.ndarray) -> np.ndarray:
    found = np.empty_like(w)
    of_each(w, w.dtype.type(1), found)
    return found


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_it_is_the_equation_to_the_last_digits(dtype: type, error: float) -> None:
    w = np.concatenate([np.linspace(-85, 85, 300_001), [0.0, -0.0, 1e-30, -1e-30]]).astype(dtype)
    expected = 1 / (1 + np.exp(-w.astype(np.float64)))
    assert np.abs(compiled(w) / expected - 1).max() < error


def test_far_out_it_is_0_or_1_and_of_no_number_none() -> None:
    found = compiled(np.array([-1e4, -np.inf, 1e4, np.inf, np.nan], np.float32))
    assert found[:2] == pytest.approx([0, 0], abs=1e-37)
    assert found[2:4].tolist() == [1, 1]
    assert np.isnan(found[4])

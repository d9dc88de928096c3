"""The estimator hands its settings on to the trainer."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core import course
from awe_core.estimator import AffinityWeightedEmbedding

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 5)).astype(np.float32)
Y = np.eye(3)[RNG.integers(0, 3, 60)]
SMALL = {"D": 2, "epochs": 1, "n": 3, "batch": 16}


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
def test_the_kernel_that_is_asked_for_trains_every_iteration(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel == "numba":
        pytest.importorskip("numba")
    named, used = course.kernel_named, []
    monkeypatch.setattr(course, "kernel_named", lambda name: used.append(name) or named(name))
    AffinityWeightedEmbedding(**SMALL, kernel=kernel).fit(X, Y)
    assert used == [kernel] * 2


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match='train.kernel must be one of "auto", "numpy", "numba"'):
        AffinityWeightedEmbedding(**SMALL, kernel="fortran").fit(X, Y)

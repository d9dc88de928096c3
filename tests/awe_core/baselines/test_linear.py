"""The linear model and a metric of it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.baselines.linear import Linear, quality
from tests.awe_core.blocks import InMemory, block


def test_scores_are_those_of_the_equation_dense_and_sparse() -> None:
    rng = np.random.default_rng(0)
    model = Linear(rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32))
    x = rng.standard_normal((5, 4)).astype(np.float32)
    expected = x.astype(np.float64) @ model.weights + model.intercept
    np.testing.assert_allclose(model.scores(x), expected, rtol=1e-5)
    np.testing.assert_allclose(model.scores(sp.csr_matrix(x)), expected, rtol=1e-5)


@pytest.mark.parametrize(("metric", "expected"), [("p@1", 2 / 3), ("p@2", 1 / 3), ("map@3", 7 / 9), ("recall@20", 1.0)])
def test_quality_is_over_the_rows_with_labels_and_seen_is_not_ranked(metric: str, expected: float) -> None:
    x = np.eye(4)
    rows = [block(x[:2], [[0], [2]], 4), block(x[2:], [[], [1]], 4, seen=[[], [3]])]
    scores = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 2.0]], np.float32)
    found = quality(lambda features: features @ scores, InMemory(rows), metric)
    assert found == pytest.approx(expected)
    assert quality(lambda features: features @ scores, InMemory([block(x[:1], [[]], 4)]), metric) == 0

"""What reaches the thresholds of a tile's rows and columns, by either kernel, and where it is put."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core.kernels.kernel import KernelName
from awe_core.knn.selection import Pools
from awe_core.knn.selection_choice import selection


@pytest.mark.parametrize("shape", [(1, 1), (3, 15), (7, 64), (5, 130), (64, 200)])
@pytest.mark.parametrize("often", [0.0, 0.01, 0.5, 1.0])
def test_hits_are_those_of_the_definition(shape: tuple[int, int], often: float, kernel: KernelName) -> None:
    rng = np.random.default_rng(shape[1])
    scores = rng.random(shape, np.float32)
    of_rows, of_columns = (np.quantile(scores, 1 - often) + 0.1 * rng.standard_normal(size) for size in shape)
    of_rows, of_columns = of_rows.astype(np.float32), of_columns.astype(np.float32)
    hidden, kinds = rng.random((shape[1], 4)) < 0.5, rng.integers(0, 4, shape[0])
    ours, theirs = selection(kernel)().reached(scores, of_rows, of_columns, hidden, kinds)
    wanted_ours, wanted_theirs = [], []
    for row in range(shape[0]):
        for column in range(shape[1]):
            score = scores[row, column]
            if score >= of_rows[row]:
                wanted_ours.append((row, column, score))
            if score >= of_columns[column] and not hidden[column, kinds[row]]:
                wanted_theirs.append((column, row, score))
    assert list(zip(*(part.tolist() for part in ours), strict=True)) == wanted_ours  # by row
    assert sorted(zip(*(part.tolist() for part in theirs), strict=True)) == sorted(wanted_theirs)


def test_a_pool_keeps_the_largest_that_are_pushed(kernel: KernelName) -> None:
    rng, n = np.random.default_rng(0), 3
    zeros, scores = np.zeros(5, np.float32), rng.permutation(2000).astype(np.float32)
    rows, others = np.sort(rng.integers(0, 5, 2000)), np.arange(2000)
    pools = Pools(n, zeros, zeros, np.zeros(2000, np.float32))
    for some in (slice(0, 700), slice(700, 701), slice(701, 2000), slice(0, 0)):
        selection(kernel)().push(pools, (rows[some], others[some], scores[some]))
    pools.finish()
    for row in range(5):
        found = pools.columns[row, : pools.filled[row]]
        mine = np.flatnonzero(rows == row)
        assert set(found.tolist()) == set(mine[np.argsort(-scores[mine])[:n]].tolist())

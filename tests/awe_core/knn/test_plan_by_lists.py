"""The plan of a join by lists: few shards, and no more memory than there is."""

from __future__ import annotations

from itertools import pairwise

import pytest

from awe_core.knn.plan import Asked, plans, rates_of

RATES = rates_of(128, 20)


def asked(rows: int, workers: int = 2, worker_bytes: int = 2**40, by_lists: bool = True) -> Asked:
    return Asked(rows, True, 0, 128, 20, workers, worker_bytes, by_lists)


@pytest.mark.parametrize("rows", [1, 1000, 10**6, 10**8])
@pytest.mark.parametrize("worker_bytes", [2**28, 2**31, 2**34])
def test_shards_are_as_many_as_the_memory_needs(rows: int, worker_bytes: int) -> None:
    (plan,) = plans(asked(rows, worker_bytes=worker_bytes))
    assert plan.worker_bytes <= worker_bytes
    assert plan.tasks == plan.shards * (plan.shards + 1) // 2
    assert plan.shards >= plans(asked(rows))[0].shards


def test_one_worker_takes_one_shard_and_more_workers_have_a_few_tasks_each() -> None:
    assert plans(asked(10**6, workers=1))[0].shards == 1
    for workers in (2, 10, 100):
        (plan,) = plans(asked(10**6, workers))
        assert 3 * workers <= plan.tasks < 6 * workers


def test_lists_pay_the_more_the_larger_the_base() -> None:
    gains = [
        plans(asked(rows, by_lists=False))[0].seconds(RATES, 2) / plans(asked(rows))[0].seconds(RATES, 2)
        for rows in (10**4, 10**5, 10**6, 10**7)
    ]
    assert all(less < more for less, more in pairwise(gains))


def test_a_join_that_fits_in_no_way_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes a worker"):
        plans(asked(10**6, worker_bytes=10**6))

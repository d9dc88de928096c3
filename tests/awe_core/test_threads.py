"""Threads that only say who works."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from awe_core.threads import Workers, available_threads


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_results_come_in_the_order_of_the_tasks(threads, count):
    with Workers(threads) as workers:
        assert workers.map(lambda number: number * number, count) == [n * n for n in range(count)]


def test_tasks_really_run_side_by_side():
    # Each of two tasks waits for the other: alone, neither would end.
    meeting = threading.Barrier(2, timeout=20)
    with Workers(2) as workers:
        assert sorted(workers.map(lambda number: meeting.wait(), 2)) == [0, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_in_the_order_of_the_tasks_is_raised(threads):
    def task(number: int) -> int:
        if number in (2, 5):
            raise ValueError(f"task {number}")
        return number

    with Workers(threads) as workers, pytest.raises(ValueError, match="task 2"):
        workers.map(task, 8)


def test_numpys_error_state_is_the_callers():
    with Workers(2) as workers, np.errstate(over="raise"), pytest.raises(FloatingPointError):
        workers.map(lambda number: np.float32(1e38) * np.float32(10 if number else 1), 2)


def test_no_threads_are_refused_by_the_settings_name():
    with pytest.raises(ValueError, match=r"train\.threads"):
        Workers(0)
    assert available_threads() >= 1

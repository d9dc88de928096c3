"""The probe: something of any sample, and from the seconds of its joins the rates that they were made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.knn import probe as probing
from awe_core.knn.plan import Rates, rates_of
from awe_core.knn.probe import LEAST_ROWS, MOST_ROWS, probe, sample_rows

RATES = ("per_pair", "per_row", "per_shard")


@pytest.mark.parametrize("rows", [2, 3, 50, 3000])
def test_it_measures_something_of_any_sample(rows: int) -> None:
    sample = np.random.default_rng(0).standard_normal((rows, 8), dtype=np.float32)
    rates = probe(sample, 5, 10 * rows, 2, seconds=0.01)
    assert rates.per_pair > 0
    assert all(getattr(rates, name) >= 0 for name in RATES)


@given(st.integers(8, 2000), st.integers(1, 300), st.integers(1, 16), st.floats(0.1, 60))
def test_a_sample_is_as_large_as_the_seconds_allow(d: int, n: int, workers: int, seconds: float) -> None:
    rates = rates_of(d, n)
    rows = sample_rows(rates, workers, seconds)
    assert LEAST_ROWS <= rows <= MOST_ROWS
    shard, half = rows // 2, rows // 4
    searched = (half**2 * 2 + shard**2 * 2) / workers  # the halves of both shards with themselves, and both shards
    timed = half**2 / 2 + 2 * half**2 + shard**2
    predicted = (searched + timed) * rates.per_pair + 4 * shard * (rates.per_row + rates.per_shard)
    if LEAST_ROWS < rows < MOST_ROWS:
        assert predicted == pytest.approx(seconds, rel=0.01)
    assert rows == LEAST_ROWS or predicted < 1.01 * seconds


def seconds_of(rates: Rates, rows: int) -> np.ndarray:
    """What the joins of the probe take where the plan is right."""
    half, met = rows // 2, rates.per_shard
    within = half * (half + 1) / 2 * rates.per_pair + half * met
    across = half**2 * rates.per_pair + 2 * half * met
    large = rows**2 * rates.per_pair + 2 * rows * met
    return np.array([half * rates.per_row, within, across, across, large])


@given(st.integers(10_000, 50_000), st.floats(1e-9, 1e-8), *[st.floats(0, 1e-5)] * 2)
def test_the_rates_are_those_that_the_joins_were_made_of(half: int, pair: float, row: float, shard: float) -> None:
    rates = Rates(pair, row, shard)
    found = probing._rates(seconds_of(rates, 2 * half), 2 * half)
    largest = pair * half + row + shard  # of a row: differences have no more digits than what is subtracted
    for name in RATES:
        assert getattr(found, name) == pytest.approx(getattr(rates, name), rel=1e-6, abs=1e-9 * largest)


@given(st.integers(1, 50_000), st.lists(st.floats(1e-6, 1e3), min_size=5, max_size=5))
def test_noise_makes_nothing_cost_less_than_nothing(rows: int, seconds: list[float]) -> None:
    found = probing._rates(np.array(seconds), rows)
    assert found.per_pair > 0
    assert all(getattr(found, name) >= 0 for name in RATES)

"""The rates by which `plan` predicts, measured on this machine: joins of a sample, all workers at work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.knn.join import KernelChoice, Reach, join_both, join_within, knn_join
from awe_core.knn.metric import Metric
from awe_core.knn.plan import Rates
from awe_core.knn.prepared import Centre, Prepared
from awe_core.threads import Workers

_MOST_ROUNDS = 50

LEAST_ROWS, MOST_ROWS = 4_000, 50_000
"""Of a sample."""

_PAIRS_SEARCHED, _PAIRS_TIMED, _ROWS_MET = 2.5, 1.625, 4.0
"""Of the joins of a shard's r rows, in r² and in r: to know what rows of the whole base know, and those of a round."""

Sides = tuple[Prepared, Prepared]


def probe(
    sample: NDArray[np.float32],
    n: int,
    base_rows: int,
    workers: int,
    metric: Metric = "euclidean",
    kernel: KernelChoice = "auto",
    seconds: float = 20.0,
) -> Rates:
    """Measure what a pair of rows costs, what a row, and what a row for every shard that it meets.

    All come from differences: a pair from two shards and two of half their rows, each of which know as much as rows of
    the whole base will.

    Parameters
    ----------
    sample : float32 [rows, d], rows of the base, at least 2; at most `MOST_ROWS` are used.
    base_rows : how many the base has.
    seconds : roughly how long to measure; one round of all joins at the least (`sample_rows`).
    """
    began, rows = time.perf_counter(), min(len(sample) // 2, MOST_ROWS // 2)
    joins = _Sample(sample[: 2 * rows], n, workers, metric, kernel).joins(base_rows)
    rounds: list[list[float]] = []
    with threadpool_limits(1), Workers(workers) as threads:
        while len(rounds) < _MOST_ROUNDS:
            start = time.perf_counter()
            rounds.append([_seconds(join, threads, workers) for join in joins])
            now = time.perf_counter()
            if now - began + (now - start) > seconds:  # another one would end too late
                break
    return _rates(np.median(rounds, axis=0), rows)


def sample_rows(rates: Rates, workers: int, seconds: float) -> int:
    """How large a sample may be for one round of all joins to take about so long, by rates that are built in."""
    square = rates.per_pair * (_PAIRS_SEARCHED / workers + _PAIRS_TIMED)
    linear = _ROWS_MET * (rates.per_row + rates.per_shard)
    shard = (math.sqrt(linear**2 + 4 * square * seconds) - linear) / (2 * square)
    return min(MOST_ROWS, max(LEAST_ROWS, 2 * int(shard)))


def _seconds(join: Callable[[], object], threads: Workers, workers: int) -> float:
    """Of one join while every worker makes one; of its processor, so that other programs do not count."""

    def timed(_: int) -> float:
        start = time.thread_time()
        join()
        return time.thread_time() - start

    return float(np.mean(threads.map(timed, workers)))


def _rates(seconds: NDArray[np.float64], rows: int) -> Rates:
    """From the seconds of `_Sample.joins`. Noise must not make anything cost less than nothing."""
    prepared, within, across, small, large = seconds.tolist()
    half = _half(rows)
    slope = (large - small * rows / half) / max(rows * (rows - half), 1)
    per_pair = max(slope, large / rows**2 / 10)
    met = max(across / (2 * half) - per_pair * half / 2, 0.0)
    per_row = prepared / half + max(within / half - per_pair * (half + 1) / 2 - met, 0.0)
    return Rates(per_pair, per_row, met)


def _half(rows: int) -> int:
    return max(1, rows // 2)


class _Sample:
    """Two shards of a sample, and the first halves of both."""

    def __init__(
        self, vectors: NDArray[np.float32], n: int, workers: int, metric: Metric, kernel: KernelChoice
    ) -> None:
        self._vectors, self._n, self._workers, self._metric, self._kernel = vectors, n, workers, metric, kernel
        self._centre, self._rows = Centre.of(vectors, metric), len(vectors) // 2

    def joins(self, base_rows: int) -> list[Callable[[], object]]:
        """Half a shard is prepared, and joined with itself; two halves are joined, whose rows know the nearest in both;
        two halves, and two shards, whose rows know as much as those of all the base will.
        """
        rows, half, n = self._rows, _half(self._rows), self._n
        small, large = self._sides(half), self._sides(rows)
        nearest = self._distances(rows)
        place = min(n, -(-n * 2 * rows // max(base_rows, 1))) - 1
        early, late = self._reaches(self._distances(half), half, n - 1), self._reaches(nearest, rows, place)
        late_small = late[0][:half], late[1][:half]
        return [
            lambda: self._prepared(0, half),
            lambda: join_within(small[0], n, self._kernel),
            lambda: self._join(small, early),
            lambda: self._join(small, late_small),
            lambda: self._join(large, late),
        ]

    def _sides(self, rows: int) -> Sides:
        return self._prepared(0, rows), self._prepared(self._rows, rows)

    def _prepared(self, first: int, rows: int) -> Prepared:
        ids = np.arange(first, first + rows)
        return Prepared(ids, self._vectors[ids], self._metric, self._centre)

    def _distances(self, rows: int) -> NDArray[np.float64]:
        """Of the neighbours of both sides' first rows in both, [2 · rows, n]."""
        ids = np.concatenate([np.arange(rows), np.arange(self._rows, self._rows + rows)])
        return knn_join(
            ids, self._vectors[ids], self._n, metric=self._metric, threads=self._workers, kernel=self._kernel
        ).distances

    def _reaches(self, distances: NDArray[np.float64], rows: int, place: int) -> tuple[Reach, Reach]:
        return distances[:rows, place], distances[rows:, place]

    def _join(self, sides: Sides, reaches: tuple[Reach, Reach]) -> object:
        return join_both(*sides, self._n, self._kernel, *reaches)

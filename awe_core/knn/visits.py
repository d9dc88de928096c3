"""The tiles of the approximate self-join: every list with itself, and with the rows of other lists that visit it.

A product of a list's rows with its visitors serves both sides, unless the one visited visits back: then its own side is
served where it is the visitor. Among the pairs that are compared the answer is that of float64 (`prepared` has the
proof), so it depends on neither tiles nor threads, and with visits to all lists it is that of the exact join.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from awe_core.knn.expand import in_rows
from awe_core.knn.inverted_lists import InvertedLists, Vectors, runs
from awe_core.knn.metric import distances
from awe_core.knn.prepared import Augmented, Prepared
from awe_core.knn.selection import Pools
from awe_core.knn.settle import settle
from awe_core.neighbours import Neighbours, nearest
from awe_core.rows import ranges, stable_order

Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Does a task for every item, in whatever threads, and gives the results in the order of the items."""

_TILE = 1024
"""Rows and columns of a tile, where a list and its visitors have as many: 4 MiB of scores."""

_PROBED_ROWS = 16_384

_SETTLED_POINTS = 8192


class Visits:
    """Rows in the order of their lists, and what each list compares.

    Memory of a row beside `Prepared`: its pool (8 · (3n + 35) bytes), 28 bytes a probe, and 4(d + 2) until the rows
    that were given are let go.

    Parameters
    ----------
    rows : all rows; `rows.near` points are joined by products and n + 1 or more.
    cells, nprobe : the lists, and how many of them a row visits.
    """

    def __init__(self, rows: Prepared, cells: InvertedLists, nprobe: int, n: int, run: Run) -> None:
        self._run, self._n, self._lists = run, n, len(cells)
        x = rows.augmented.matrix[: rows.near, :-2]
        probes = np.concatenate(run(lambda these: cells.probes(x[these], nprobe), runs(len(x), _PROBED_ROWS)))
        self._list, order = stable_order(probes[:, 0], self._lists)
        self._probes = probes[order]
        self._starts = np.searchsorted(self._list, np.arange(self._lists + 1))
        # Of every list the rows that visit it from elsewhere, ascending.
        visited, entry = stable_order(self._probes[:, 1:].ravel(), self._lists)
        self._visitor = entry // max(1, probes.shape[1] - 1)
        self._visits = np.searchsorted(visited, np.arange(self._lists + 1))
        self._rows = _in_order(rows, order)
        self._wanted = min(n + 1, rows.points)  # one of them is the row itself
        a = self._rows.augmented
        self._pools, self._lock = Pools(self._wanted, a.slope, a.own, a.error), Lock()

    @property
    def pairs(self) -> int:
        """Products of two rows; where two visit each other there are two."""
        sizes = np.diff(self._starts)
        return int((sizes**2).sum() + (sizes * np.diff(self._visits)).sum())

    def join(self) -> Neighbours:
        """The n nearest other rows of every row among those it is compared with."""
        lists = range(self._lists)
        self._run(self._within, lists)
        self._run(self._visited, lists)
        # Rows by the part of the points that theirs is in: each part is settled by itself.
        part, rows = stable_order(self._rows.group // _SETTLED_POINTS, len(self._rows))
        found = Neighbours.none(len(self._rows), self._n)

        def settled(number: int) -> None:
            these = rows[slice(*np.searchsorted(part, [number, number + 1]))]
            several = self._settled(number * _SETTLED_POINTS, these)
            found.ids[these], found.distances[these] = several.ids, several.distances

        self._run(settled, range(-(-self._rows.points // _SETTLED_POINTS)))
        return replace(found, base_rows=len(self._rows))

    def _members(self, number: int) -> slice:
        return slice(int(self._starts[number]), int(self._starts[number + 1]))

    def _visitors(self, number: int) -> NDArray[np.intp]:
        visitors: NDArray[np.intp] = self._visitor[self._visits[number] : self._visits[number + 1]]
        return visitors

    def _within(self, number: int) -> None:
        """A list with itself, which gives its rows their thresholds. No other task knows these rows yet."""
        members, pools = self._members(number), self._pools
        for strip in _slices(members):
            rows = self._rows.augmented.strip(strip)
            for tile in _slices(members):
                scores = rows @ self._rows.augmented.matrix[tile].T
                if tile.start == members.start:
                    pools.start_from(strip.start, tile.start, scores)
                row, column, score = _hits(scores >= pools.threshold[strip, None], scores)
                pools.append(row + strip.start, column + tile.start, score)

    def _visited(self, number: int) -> None:
        """A list with its visitors, for both."""
        visitors = self._visitors(number)
        for tile in _slices(self._members(number)) if len(visitors) else []:
            columns = self._rows.augmented.matrix[tile]
            visits = np.zeros((len(columns), self._lists), bool)
            np.put_along_axis(visits, self._probes[tile], True, axis=1)
            for strip in runs(len(visitors), _TILE):
                rows = visitors[strip]
                scores = _strip(self._rows.augmented, rows) @ columns.T
                self._take(scores, rows, tile, visits)

    def _take(self, scores: Vectors, rows: NDArray[np.intp], tile: slice, visits: NDArray[np.bool_]) -> None:
        """Put what reaches a threshold into the pools of its row and of its column."""
        pools = self._pools
        of_rows, of_columns = pools.threshold[rows], pools.threshold[tile]
        hit = scores >= of_rows[:, None]
        hit |= scores >= of_columns
        place, column, score = _hits(hit, scores)
        ours = np.flatnonzero(score >= of_rows[place])
        theirs = np.flatnonzero((score >= of_columns[column]) & ~visits[column, self._list[rows[place]]])
        theirs = theirs[np.argsort(column[theirs], kind="stable")]
        row, column = rows[place], column + tile.start
        with self._lock:  # any task may meet any row
            pools.append(row[ours], column[ours], score[ours])
            pools.append(column[theirs], row[theirs], score[theirs])

    def _settled(self, first: int, these: NDArray[np.intp]) -> Neighbours:
        """The neighbours of the rows that hold a run of points."""
        rows = _part(self._rows, slice(first, first + _SETTLED_POINTS), these)
        pools = _part_of_pools(self._pools, slice(first, first + _SETTLED_POINTS))
        pools.finish()
        crowded = np.flatnonzero(pools.given_up)
        # Their pools are empty. `settle` would search all of the base for them, where a pool overflowed in one order
        # of the threads and not in another.
        pools.given_up[:] = False
        found = settle(pools, rows, self._rows, self._wanted, np.full(rows.points, np.inf))
        for point in crowded.tolist():
            best = self._directly(first + point)
            found.ids[point], found.distances[point] = best.ids[0], best.distances[0]
        return in_rows(found, rows, self._rows, self._n, leave_self_out=True)

    def _directly(self, row: int) -> Neighbours:
        """One point with all that it is compared with, in float64: its pool cannot hold what a product leaves of them.

        With ranks in the place of ids.
        """
        rows, visited = self._rows, np.sort(self._probes[row])
        members = ranges(self._starts[visited], self._starts[visited + 1] - self._starts[visited])
        far = np.arange(rows.near, rows.points)
        others = np.unique(np.concatenate([members, self._visitors(int(self._list[row])), far]))
        of_row = np.full(len(others), rows.first[row])
        gaps = distances(rows.vectors, of_row, rows.vectors, rows.first[others], rows.metric)
        return nearest(rows.rank[others][None], gaps[None], self._wanted)


def _in_order(rows: Prepared, order: NDArray[np.intp]) -> Prepared:
    """The same rows with their near points in another order."""
    whole = np.concatenate([order, np.arange(rows.near, rows.points)])
    place = np.empty_like(whole)
    place[whole] = np.arange(len(whole))
    other, a = copy.copy(rows), rows.augmented
    other.first, other.rank, other.group = rows.first[whole], rows.rank[whole], place[rows.group]
    other.augmented = replace(a, matrix=a.matrix[order], error=a.error[order], slope=a.slope[order], own=a.own[order])
    return other


def _part(rows: Prepared, points: slice, these: NDArray[np.intp]) -> Prepared:
    """A run of the points, and the rows that hold them."""
    part = copy.copy(rows)
    part.ids, part.first = rows.ids[these], rows.first[points]
    part.group, part.rank = rows.group[these] - points.start, rows.rank[points]
    part.near = min(max(rows.near - points.start, 0), len(part.first))
    return part


def _part_of_pools(pools: Pools, rows: slice) -> Pools:
    """The pools of a run of points; what is done to them is done to those."""
    part = copy.copy(pools)
    part.scores, part.columns = pools.scores[rows], pools.columns[rows]
    part.filled, part.full = pools.filled[rows], pools.full[rows]
    part.threshold, part.given_up = pools.threshold[rows], pools.given_up[rows]
    part.slope, part.own = pools.slope[rows], pools.own[rows]
    return part


def _strip(augmented: Augmented, rows: NDArray[np.intp]) -> Vectors:
    """`Augmented.strip` of rows that do not stand side by side."""
    strip: Vectors = augmented.matrix[rows]
    strip[:, -2:] = strip[:, :-3:-1].copy()
    return strip


def _slices(rows: slice) -> Sequence[slice]:
    """Tiles of some rows."""
    return [slice(rows.start + part.start, rows.start + part.stop) for part in runs(rows.stop - rows.start, _TILE)]


def _hits(hit: NDArray[np.bool_], scores: Vectors) -> tuple[NDArray[np.intp], NDArray[np.intp], Vectors]:
    """(row, column, score) of the hits, by row. They are few: eight scores are looked at as one word."""
    flat = hit.reshape(-1)
    if len(flat) % 8:
        places = np.flatnonzero(flat)
    else:
        words = np.flatnonzero(flat.view(np.uint64))
        places = (8 * words[:, None] + np.arange(8))[flat.reshape(-1, 8)[words]]
    row, column = np.divmod(places, hit.shape[1])
    return row, column, scores.reshape(-1)[places]

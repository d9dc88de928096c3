"""The approximate join of rows in lists: every list with itself, and with the rows of other lists that visit it.

Two rows are compared if either visits the other's list. That depends on the two rows and the centroids and on nothing
else, so the neighbours that rows find in several sets, merged, are those that they find in all of them together: a base
may be cut into shards, and pairs of shards be joined one by one.

A product of a list's rows with its visitors serves both sides, unless the one visited visits back: then its own side is
served where it is the visitor. Among the pairs that are compared the answer is that of float64 (`prepared` has the
proof), so it depends on neither tiles nor threads, and with visits to all lists it is that of the exact join.

`reach` is as in `join`.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from awe_core.knn.expand import in_rows
from awe_core.knn.inverted_lists import InvertedLists, Vectors
from awe_core.knn.join import Reach, join_both, join_within
from awe_core.knn.metric import distances
from awe_core.knn.prepared import Augmented, Centre, Prepared
from awe_core.knn.selection import Pools
from awe_core.knn.settle import finish, least_scores, settle
from awe_core.neighbours import Neighbours, merge, nearest
from awe_core.rows import ranges, runs, stable_order
from awe_core.threads import Run, in_turn

_TILE = 1024
"""Rows and columns of a tile, where a list and its visitors have as many: 4 MiB of scores."""

_PROBED_ROWS = 16_384


@dataclass(frozen=True)
class Lists:
    """What all rows of a join have in common.

    Attributes
    ----------
    cells : the lists, around centroids that are centred as the rows are.
    nprobe : how many of them a row visits, its own among them.
    centre : of the rows.
    """

    cells: InvertedLists
    nprobe: int
    centre: Centre

    @cached_property
    def key(self) -> str:
        """Names these lists among others of the same rows."""
        return f"{self.nprobe}-{hashlib.sha256(self.cells.centroids.tobytes()).hexdigest()}"


class Listed:
    """Rows in the order of their lists: made once, met by others many times.

    Memory of a row: as `Prepared`, and 12 bytes a probe; 4(d + 2) more until the rows that were given are let go.

    Parameters
    ----------
    rows : prepared around the centre of the lists; euclidean or cosine.
    lists : the same for all that meet.

    Attributes
    ----------
    near : the rows that products can see, as `Prepared` with its points in the order of their lists.
    far : those that are too far out, mostly none. They meet everyone, in float64.
    near_rows, far_rows : where both stand among the rows.
    own : intp [points], ascending; the list of a point.
    probes : int32 [points, nprobe]; the lists that it visits, its own first.
    count : how many lists.
    """

    def __init__(self, rows: Prepared, lists: Lists, run: Run = in_turn) -> None:
        ids, vectors, metric = rows.ids, rows.vectors, rows.metric
        self.near_rows = np.flatnonzero(rows.group < rows.near)
        self.far_rows = np.flatnonzero(rows.group >= rows.near)
        if len(self.far_rows):
            rows = Prepared(ids[self.near_rows], vectors[self.near_rows], metric, lists.centre)
        self.far = Prepared(ids[self.far_rows], vectors[self.far_rows], metric, lists.centre)
        self.count, x = len(lists.cells), rows.augmented.matrix[:, :-2]
        pieces = run(lambda these: lists.cells.probes(x[these], lists.nprobe), runs(len(x), _PROBED_ROWS))
        probes = np.concatenate([np.zeros((0, min(lists.nprobe, self.count)), np.int32), *pieces])
        self.own, order = stable_order(probes[:, 0], self.count)
        self.probes = probes[order]
        self._starts = np.searchsorted(self.own, np.arange(self.count + 1))
        # Of every list the points that visit it from elsewhere, ascending.
        visited, entry = stable_order(self.probes[:, 1:].ravel(), self.count)
        self._visitor = entry // max(1, probes.shape[1] - 1)
        self._visits = np.searchsorted(visited, np.arange(self.count + 1))
        self.near = _in_order(rows, order)

    def __len__(self) -> int:
        return len(self.near) + len(self.far)

    def members(self, number: int) -> slice:
        """The points of a list."""
        return slice(int(self._starts[number]), int(self._starts[number + 1]))

    def visitors(self, number: int) -> NDArray[np.intp]:
        """The points of other lists that visit a list."""
        visitors: NDArray[np.intp] = self._visitor[self._visits[number] : self._visits[number + 1]]
        return visitors

    def products(self, other: Listed) -> int:
        """Products of two points that meeting another takes; where two visit each other there are two."""
        mine, theirs, calls, called = (np.diff(of) for of in (self._starts, other._starts, self._visits, other._visits))
        own = int((mine * theirs).sum() + (calls * theirs).sum())
        return own if self is other else own + int((called * mine).sum())


def visit_within(
    rows: Listed, n: int, reach: Reach | None = None, leave_self_out: bool = True, run: Run = in_turn
) -> Neighbours:
    """The n nearest of every row among the rows that it is compared with."""
    near = _Meeting(rows, rows, n, (reach, reach), leave_self_out, run).join()[0]
    if not len(rows.far):
        return near
    of_near, of_far = join_both(rows.near, rows.far, n, "numpy", near.distances[:, -1], None, leave_self_out)
    far = [of_far, join_within(rows.far, n, "numpy", None, leave_self_out)]
    return _whole(rows, [near, of_near], far, n)


def visit_between(
    one: Listed,
    other: Listed,
    n: int,
    reaches: tuple[Reach | None, Reach | None] = (None, None),
    leave_self_out: bool = True,
    run: Run = in_turn,
) -> tuple[Neighbours, Neighbours]:
    """The n nearest of one's rows among those of the other that they are compared with, and the other way round.

    Raises ValueError where the two were not listed together.
    """
    if one.count != other.count or one.probes.shape[1] != other.probes.shape[1]:
        raise ValueError("the two sides visit other lists")
    left, right = _Meeting(one, other, n, reaches, leave_self_out, run).join()
    if not len(one.far) and not len(other.far):
        return left, right
    reached = left.distances[:, -1], right.distances[:, -1]
    left_far, far_left = join_both(one.near, other.far, n, "numpy", reached[0], None, leave_self_out)
    far_right, right_far = join_both(one.far, other.near, n, "numpy", None, reached[1], leave_self_out)
    far_one, far_other = join_both(one.far, other.far, n, "numpy", None, None, leave_self_out)
    return (
        _whole(one, [left, left_far], [far_right, far_one], n),
        _whole(other, [right, right_far], [far_left, far_other], n),
    )


def _whole(rows: Listed, near: list[Neighbours], far: list[Neighbours], n: int) -> Neighbours:
    """Of all rows, in their order."""
    found, parts = Neighbours.none(len(rows), n), [merge(near, n), merge(far, n)]
    for these, part in zip((rows.near_rows, rows.far_rows), parts, strict=True):
        found.ids[these], found.distances[these] = part.ids, part.distances
    return replace(found, base_rows=parts[0].base_rows, undecided=parts[0].undecided + parts[1].undecided)


class _Side:
    """The points of one side, their pools for points of the other, and how those become neighbours of rows."""

    def __init__(self, listed: Listed, other: Listed, n: int, reach: Reach | None, leave_self_out: bool) -> None:
        self.listed, self._other, self._n, self._leave_self_out = listed, other, n, leave_self_out
        rows, base = listed.near, other.near
        self._wanted = min(n + 1, base.points)  # one of them may be the row itself
        within = np.full(rows.points, np.inf)
        if reach is not None:
            within.fill(-np.inf)
            np.maximum.at(within, rows.group, reach[listed.near_rows])
        a = rows.augmented
        self.pools = Pools(self._wanted, a.slope, a.own, base.augmented.error, least_scores(within, rows))

    def settled(self, run: Run) -> Neighbours:
        """The neighbours of all near rows."""
        rows, base = self.listed.near, self._other.near
        if not self._wanted:
            return replace(Neighbours.none(len(rows), self._n), base_rows=len(base))
        finish(self.pools, run)
        crowded = np.flatnonzero(self.pools.given_up)
        # Their pools are empty. `settle` would search all of the base for them, where a pool overflowed in one order
        # of the threads and not in another.
        self.pools.given_up[:] = False
        found = settle(self.pools, rows, base, self._wanted, np.full(rows.points, np.inf), run=run)
        for point, best in zip(crowded.tolist(), run(self._directly, crowded.tolist()), strict=True):
            found.ids[point], found.distances[point] = best.ids[0], best.distances[0]
        return in_rows(found, rows, base, self._n, self._leave_self_out, run)

    def _directly(self, point: int) -> Neighbours:
        """One point with all that it is compared with, in float64: its pool cannot hold what a product leaves of them.

        With ranks in the place of ids.
        """
        rows, base, listed = self.listed.near, self._other.near, self.listed
        members = [self._other.members(number) for number in np.sort(listed.probes[point]).tolist()]
        here = ranges(np.array([m.start for m in members]), np.array([m.stop - m.start for m in members]))
        others = np.unique(np.concatenate([here, self._other.visitors(int(listed.own[point]))]))
        of_row = np.full(len(others), rows.first[point])
        gaps = distances(rows.vectors, of_row, base.vectors, base.first[others], rows.metric)
        return nearest(base.rank[others][None], gaps[None], self._wanted)


class _Meeting:
    """The tiles of two sides, or of one with itself."""

    def __init__(
        self,
        one: Listed,
        other: Listed,
        n: int,
        reaches: tuple[Reach | None, Reach | None],
        leave_self_out: bool,
        run: Run,
    ) -> None:
        self._run, self._within, self._lists = run, one is other, range(one.count)
        self._one = _Side(one, other, n, reaches[0], leave_self_out)
        self._other = self._one if self._within else _Side(other, one, n, reaches[1], leave_self_out)
        self._lock = Lock()

    def join(self) -> tuple[Neighbours, Neighbours]:
        """The neighbours of both sides' near rows; of rows among themselves, twice the same."""
        one, other = self._one, self._other
        if one.listed.near.points and other.listed.near.points:
            self._run(self._own_list, self._lists)
            self._run(lambda number: self._visited(one, other, number), self._lists)
            if not self._within:
                self._run(lambda number: self._visited(other, one, number), self._lists)
        left = one.settled(self._run)
        return left, left if self._within else other.settled(self._run)

    def _own_list(self, number: int) -> None:
        """A list of one side with the same list of the other, which gives their rows thresholds.

        No other task knows these rows yet.
        """
        one, other = self._one, self._other
        rows, columns = one.listed.members(number), other.listed.members(number)
        for strip in _slices(rows):
            stripped = one.listed.near.augmented.strip(strip)
            for tile in _slices(columns):
                scores = stripped @ other.listed.near.augmented.matrix[tile].T
                if tile.start == columns.start:
                    one.pools.start_from(strip.start, tile, scores)
                if not self._within and strip.start == rows.start:
                    other.pools.start_from(tile.start, strip, scores.T)
                of_rows = one.pools.threshold[strip, None]
                if self._within:
                    row, column, score = _hits(scores >= of_rows, scores)
                    one.pools.append(row + strip.start, column + tile.start, score)
                    continue
                of_columns = other.pools.threshold[tile]
                hit = scores >= of_rows
                hit |= scores >= of_columns
                row, column, score = _hits(hit, scores)
                ours = np.flatnonzero(score >= of_rows[row, 0])
                theirs = np.flatnonzero(score >= of_columns[column])
                theirs = theirs[np.argsort(column[theirs], kind="stable")]
                row, column = row + strip.start, column + tile.start
                one.pools.append(row[ours], column[ours], score[ours])
                other.pools.append(column[theirs], row[theirs], score[theirs])

    def _visited(self, guests: _Side, hosts: _Side, number: int) -> None:
        """A list of one side with its visitors of the other, for both."""
        visitors = guests.listed.visitors(number)
        host = hosts.listed
        for tile in _slices(host.members(number)) if len(visitors) else []:
            columns = host.near.augmented.matrix[tile]
            visits = np.zeros((len(columns), host.count), bool)
            np.put_along_axis(visits, host.probes[tile], True, axis=1)
            for strip in runs(len(visitors), _TILE):
                rows = visitors[strip]
                scores = _strip(guests.listed.near.augmented, rows) @ columns.T
                self._take(guests, hosts, scores, rows, tile, visits)

    def _take(
        self,
        guests: _Side,
        hosts: _Side,
        scores: Vectors,
        rows: NDArray[np.intp],
        tile: slice,
        visits: NDArray[np.bool_],
    ) -> None:
        """Put what reaches a threshold into the pools of its row and of its column."""
        of_rows, of_columns = guests.pools.threshold[rows], hosts.pools.threshold[tile]
        hit = scores >= of_rows[:, None]
        hit |= scores >= of_columns
        place, column, score = _hits(hit, scores)
        ours = np.flatnonzero(score >= of_rows[place])
        theirs = np.flatnonzero((score >= of_columns[column]) & ~visits[column, guests.listed.own[rows[place]]])
        theirs = theirs[np.argsort(column[theirs], kind="stable")]
        row, column = rows[place], column + tile.start
        with self._lock:  # any task may meet any row
            guests.pools.append(row[ours], column[ours], score[ours])
            hosts.pools.append(column[theirs], row[theirs], score[theirs])


def _in_order(rows: Prepared, order: NDArray[np.intp]) -> Prepared:
    """The same rows with their near points in another order."""
    whole = np.concatenate([order, np.arange(rows.near, rows.points)])
    place = np.empty_like(whole)
    place[whole] = np.arange(len(whole))
    other, a = copy.copy(rows), rows.augmented
    other.first, other.rank, other.group = rows.first[whole], rows.rank[whole], place[rows.group]
    other.augmented = replace(a, matrix=a.matrix[order], error=a.error[order], slope=a.slope[order], own=a.own[order])
    return other


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

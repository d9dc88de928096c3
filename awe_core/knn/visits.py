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
from itertools import pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from awe_core.kernels.choice import resolved_kernel
from awe_core.kernels.kernel import KernelName
from awe_core.knn.expand import in_rows
from awe_core.knn.inverted_lists import InvertedLists
from awe_core.knn.join import KernelChoice, Reach, join_both, join_within
from awe_core.knn.metric import distances
from awe_core.knn.prepared import Centre, Prepared
from awe_core.knn.selection import Hits, Pools, Selection
from awe_core.knn.selection_choice import selection
from awe_core.knn.settle import finish, least_scores, settle
from awe_core.neighbours import Neighbours, merge, nearest
from awe_core.rows import ranges, runs, stable_order
from awe_core.threads import Run, in_turn

_TILE = 1024
"""Rows and columns of a tile, where a list and its visitors have as many: 4 MiB of scores."""

_PROBED_ROWS = 16_384

_STRIPES = 64
"""Locks of a side: threads rarely wait for each other, and the visitors of a list lie in many stripes."""


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
    kernel : of the choice of lists; the same lists.

    Attributes
    ----------
    near : the rows that products can see, as `Prepared` with its points in the order of their lists.
    far : those that are too far out, mostly none. They meet everyone, in float64.
    near_rows, far_rows : where both stand among the rows.
    own : intp [points], ascending; the list of a point.
    probes : int32 [points, nprobe]; the lists that it visits, its own first.
    count : how many lists.
    """

    def __init__(self, rows: Prepared, lists: Lists, kernel: KernelChoice = "auto", run: Run = in_turn) -> None:
        ids, vectors, metric = rows.ids, rows.vectors, rows.metric
        self.near_rows = np.flatnonzero(rows.group < rows.near)
        self.far_rows = np.flatnonzero(rows.group >= rows.near)
        if len(self.far_rows):
            rows = Prepared(ids[self.near_rows], vectors[self.near_rows], metric, lists.centre)
        self.far = Prepared(ids[self.far_rows], vectors[self.far_rows], metric, lists.centre)
        self.count, x = len(lists.cells), rows.augmented.matrix[:, :-2]
        name = resolved_kernel(kernel)
        pieces = run(lambda these: lists.cells.probes(x[these], lists.nprobe, name), runs(len(x), _PROBED_ROWS))
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

    def stripes(self, count: int) -> NDArray[np.intp]:
        """Where some runs of lists, of about as many points each, begin: intp [at most count], ascending, 0 first."""
        wanted = len(self.own) * np.arange(count) // count
        return np.unique(self._starts[np.searchsorted(self._starts, wanted, side="right") - 1])

    def products(self, other: Listed) -> int:
        """Products of two points that meeting another takes; where two visit each other there are two."""
        mine, theirs, calls, called = (np.diff(of) for of in (self._starts, other._starts, self._visits, other._visits))
        own = int((mine * theirs).sum() + (calls * theirs).sum())
        return own if self is other else own + int((called * mine).sum())


def visit_within(
    rows: Listed,
    n: int,
    kernel: KernelChoice = "auto",
    reach: Reach | None = None,
    leave_self_out: bool = True,
    run: Run = in_turn,
) -> Neighbours:
    """The n nearest of every row among the rows that it is compared with."""
    near = _Meeting(rows, rows, n, kernel, (reach, reach), leave_self_out, run).join()[0]
    if not len(rows.far):
        return near
    of_near, of_far = join_both(rows.near, rows.far, n, kernel, near.distances[:, -1], None, leave_self_out)
    far = [of_far, join_within(rows.far, n, kernel, None, leave_self_out)]
    return _whole(rows, [near, of_near], far, n)


def visit_between(
    one: Listed,
    other: Listed,
    n: int,
    kernel: KernelChoice = "auto",
    reaches: tuple[Reach | None, Reach | None] = (None, None),
    leave_self_out: bool = True,
    run: Run = in_turn,
) -> tuple[Neighbours, Neighbours]:
    """The n nearest of one's rows among those of the other that they are compared with, and the other way round.

    Raises ValueError where the two were not listed together.
    """
    if one.count != other.count or one.probes.shape[1] != other.probes.shape[1]:
        raise ValueError("the two sides visit other lists")
    left, right = _Meeting(one, other, n, kernel, reaches, leave_self_out, run).join()
    if not len(one.far) and not len(other.far):
        return left, right
    reached = left.distances[:, -1], right.distances[:, -1]
    left_far, far_left = join_both(one.near, other.far, n, kernel, reached[0], None, leave_self_out)
    far_right, right_far = join_both(one.far, other.near, n, kernel, None, reached[1], leave_self_out)
    far_one, far_other = join_both(one.far, other.far, n, kernel, None, None, leave_self_out)
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
    """The points of one side, their pools for points of the other, and how those become neighbours of rows.

    Points stand in stripes of whole lists, each of which has a lock: whoever puts something into pools holds it.
    """

    def __init__(
        self, listed: Listed, other: Listed, n: int, reach: Reach | None, leave_self_out: bool, kernel: KernelName
    ) -> None:
        self.listed, self._other, self._n, self._leave_self_out = listed, other, n, leave_self_out
        self._kernel = kernel
        rows, base = listed.near, other.near
        self._wanted = min(n + 1, base.points)  # one of them may be the row itself
        within = np.full(rows.points, np.inf)
        if reach is not None:
            within.fill(-np.inf)
            np.maximum.at(within, rows.group, reach[listed.near_rows])
        a = rows.augmented
        self.pools = Pools(self._wanted, a.slope, a.own, base.augmented.error, least_scores(within, rows))
        self._stripes = listed.stripes(_STRIPES)
        self._locks = [Lock() for _ in self._stripes]

    def push(self, selection: Selection, hits: Hits) -> None:
        """Put hits into pools, those of a stripe at a time; the points ascend, or are all of one list."""
        points, others, scores = hits
        if not len(points):
            return
        first, last = np.searchsorted(self._stripes, [points[0], points[-1]], side="right") - 1
        cuts = np.searchsorted(points, self._stripes[first + 1 : last + 1])
        for stripe, these in enumerate(_between(cuts, len(points)), first):
            with self._locks[stripe]:
                selection.push(self.pools, (points[these], others[these], scores[these]))

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
        nowhere = np.full(rows.points, np.inf)
        found = settle(self.pools, rows, base, self._wanted, nowhere, self._kernel, run)
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
        gaps = distances(rows.vectors, of_row, base.vectors, base.first[others], rows.metric, self._kernel)
        return nearest(base.rank[others][None], gaps[None], self._wanted)


class _Meeting:
    """The tiles of two sides, or of one with itself."""

    def __init__(
        self,
        one: Listed,
        other: Listed,
        n: int,
        kernel: KernelChoice,
        reaches: tuple[Reach | None, Reach | None],
        leave_self_out: bool,
        run: Run,
    ) -> None:
        name = resolved_kernel(kernel)
        self._run, self._within, self._lists, self._select = run, one is other, range(one.count), selection(name)
        self._one = _Side(one, other, n, reaches[0], leave_self_out, name)
        self._other = self._one if self._within else _Side(other, one, n, reaches[1], leave_self_out, name)

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
        one, other, select = self._one, self._other, self._select()
        rows, columns = one.listed.members(number), other.listed.members(number)
        for strip in _slices(rows):
            stripped = one.listed.near.augmented.strip(strip)
            for tile in _slices(columns):
                scores = stripped @ other.listed.near.augmented.matrix[tile].T
                if tile.start == columns.start:
                    one.pools.start_from(strip.start, tile, scores)
                if self._within:
                    select.rows(one.pools, scores, strip.start, tile.start)
                    continue
                if strip.start == rows.start:
                    other.pools.start_from(tile.start, strip, scores.T)
                select.both(one.pools, other.pools, scores, strip.start, tile.start)

    def _visited(self, guests: _Side, hosts: _Side, number: int) -> None:
        """A list of one side with its visitors of the other, for both; but those whom a host visits for the guest."""
        visitors, host, guest = guests.listed.visitors(number), hosts.listed, guests.listed
        members, select = _slices(host.members(number)) if len(visitors) else [], self._select()
        for tile in members:
            columns = host.near.augmented.strip(tile)
            visits = np.zeros((len(columns), host.count), bool)
            np.put_along_axis(visits, host.probes[tile], True, axis=1)
            for strip in runs(len(visitors), _TILE):
                rows = visitors[strip]
                scores = guest.near.augmented.matrix[rows] @ columns.T
                thresholds = guests.pools.threshold[rows], hosts.pools.threshold[tile]
                ours, theirs = select.reached(scores, *thresholds, visits, guest.own[rows])
                guests.push(select, (rows[ours[0]], ours[1] + tile.start, ours[2]))
                hosts.push(select, (theirs[0] + tile.start, rows[theirs[1]], theirs[2]))


def _in_order(rows: Prepared, order: NDArray[np.intp]) -> Prepared:
    """The same rows with their near points in another order."""
    whole = np.concatenate([order, np.arange(rows.near, rows.points)])
    place = np.empty_like(whole)
    place[whole] = np.arange(len(whole))
    other, a = copy.copy(rows), rows.augmented
    other.first, other.rank, other.group = rows.first[whole], rows.rank[whole], place[rows.group]
    other.augmented = replace(a, matrix=a.matrix[order], error=a.error[order], slope=a.slope[order], own=a.own[order])
    return other


def _slices(rows: slice) -> Sequence[slice]:
    """Tiles of some rows."""
    return [slice(rows.start + part.start, rows.start + part.stop) for part in runs(rows.stop - rows.start, _TILE)]


def _between(cuts: NDArray[np.intp], stop: int) -> list[slice]:
    """The slices of a range that is cut at some places."""
    bounds = [0, *cuts.tolist(), stop]
    return [slice(first, last) for first, last in pairwise(bounds)]

"""How a join will be cut, what it will hold, move and take: pure, from counts alone.

    seconds = (pairs · per_pair + rows · per_row + rows × shards · per_shard
               + bytes / bytes_per_second + shuffled / shuffle_bytes_per_second) / workers,

where a self-join of N rows has N²/2 pairs, for each product serves both of its rows, and other queries have Q · N. What
is linear in the rows is to read and prepare a row, and what it costs for every shard that it meets, whatever its size.
`probe` measures the rates on the machine and on the data, for how many rows survive the first comparison depends on it.

By lists the pairs depend on how many lists have to be visited for the recall, which only the join finds out: what is
predicted is for `_VISITS`. A row meets whole shards there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from awe_core.knn.inverted_lists import list_count
from awe_core.knn.join import GROUP_ROWS

NEIGHBOUR_BYTES = 16
"""(distance, id) of a neighbour in memory."""

_DISTANCE_BYTES, _LENGTH_BYTES = 8, 4
"""What crosses a shuffle beside the ids: a distance a neighbour, and how many neighbours a row has."""

LOADED_SHARDS = 4
"""Shards that a worker keeps loaded. Queries pass a base of no more than these one shard after another, in one task."""

SHUFFLE_BYTES_PER_SECOND = 7e6
"""Of a worker that is a process: out of Python, through Flink, and into another (docs/scaling.md)."""

_TASKS_PER_WORKER = 4
"""Tasks of a worker at the least, so that the last one to end does not leave the others idle for long."""

_TASKS_PER_WORKER_BY_LISTS = 3
"""By lists a row costs as much in every shard that it meets as its products do, or more: fewer shards are faster."""

_VISITS = 16
"""Lists that a row visits for a recall of 0.95, roughly: 6 of a million rows of grown CIFAR, 18 of 125,000."""

_COPIES, _COPIES_ON_THE_WAY = 4, 8
"""Of a task's answers: merged and being merged; and, in a process of its own, until the runner has taken what was
pickled for it (a fit to the peaks of Flink's Python workers at 25,000 to 200,000 rows)."""

_PREPARED_BYTES = 76
"""Bytes a row of a shard beside its vectors and their augmented copy: ids and tables."""

_OF_PRODUCT = 0.7
"""Of a pair of rows of 128 dimensions: the rest is to look at the score."""


@dataclass(frozen=True)
class Asked:
    """A join, as far as its cost goes.

    Attributes
    ----------
    base_rows : rows of the base.
    within : whether all of the base is asked for, for itself.
    query_rows : rows of the queries that are not rows of the base.
    dimension, n : of a vector, of sparse ones `dense_dimension`; neighbours of a row.
    workers : tasks that run at once.
    worker_bytes : memory of a worker.
    by_lists : whether the base is joined with itself by lists.
    parts : of the base: there are no more shards. None knows of no bound.
    id_bytes : of an id that crosses a shuffle: 4 where all fit into them, else 8.
    own_process : whether every worker is a process, which keeps up to `LOADED_SHARDS` shards, and no thread of one that
        keeps as many for all of them.
    shards : of the base, where they are given.
    """

    base_rows: int
    within: bool
    query_rows: int
    dimension: int
    n: int
    workers: int
    worker_bytes: int
    by_lists: bool = False
    parts: int | None = None
    id_bytes: int = 8
    own_process: bool = False
    shards: int | None = None

    @property
    def given(self) -> int | None:
        """The shards that are given and there are parts for; None where they are the plan's to choose."""
        return self.shards if self.shards is None or self.parts is None else min(self.shards, max(1, self.parts))


@dataclass(frozen=True)
class Rates:
    """Seconds of one worker for each of what a plan counts; what it reads, and what it shuffles, in a second.

    For a plan that is made without a probe `rates_of` has the first three. The bytes are never probed; those shuffled
    are of one process, which hands over what others shuffle (`SHUFFLE_BYTES_PER_SECOND`).
    """

    per_pair: float
    per_row: float
    per_shard: float
    bytes_per_second: float = 120e6
    shuffle_bytes_per_second: float = 120e6


def rates_of(dimension: int, n: int, nonzeros: float | None = None) -> Rates:
    """What is built in, of one core of 2020 or later, for rows of so many dimensions and neighbours.

    Of sparse rows `nonzeros` is how many values one has.

    A row costs more the more neighbours are asked for: more come nearer than the n-th so far, and are kept and sorted
    in. Sparse rows have a product for every feature that two share, and exact distances of whoever is kept. The numbers
    are fits (docs/scaling.md).
    """
    if nonzeros is not None:
        return Rates(per_pair=7e-9 + 16e-9 * nonzeros**2 / dimension, per_row=3.5e-6 * n, per_shard=0.2e-6 * n)
    per_pair = 3.5e-9 * (1 - _OF_PRODUCT + _OF_PRODUCT * dimension / 128)
    return Rates(per_pair, per_row=10e-6 + 0.5e-6 * n, per_shard=2e-6 + 0.4e-6 * n)


def dense_dimension(nonzeros: float) -> int:
    """The dimension of dense rows that take as many bytes as sparse ones with so many values.

    A number of a dense row takes 4 bytes and 4 more in its augmented copy, a value of a sparse row 8 and 12 in float64.
    """
    return max(1, math.ceil(20 / 8 * nonzeros))


@dataclass(frozen=True)
class Plan:
    """One way to cut a join.

    Attributes
    ----------
    name : what is split.
    shards : of the base.
    tasks : of the whole job.
    pairs : pairs of rows that are scored.
    rows : that are asked for.
    row_shards : rows × shards that they meet.
    shuffle_bytes : that cross the shuffle of what shards answered, about.
    read_bytes : that all tasks together read of vectors, if none were kept.
    worker_bytes : that a worker holds at its peak.
    """

    name: str
    shards: int
    tasks: int
    pairs: int
    rows: int
    row_shards: int
    shuffle_bytes: int
    read_bytes: int
    worker_bytes: int

    def seconds(self, rates: Rates, workers: int) -> float:
        """Predicted, of all workers side by side, without what starting a job costs."""
        linear = self.rows * rates.per_row + self.row_shards * rates.per_shard
        moved = self.read_bytes / rates.bytes_per_second + self.shuffle_bytes / rates.shuffle_bytes_per_second
        return (self.pairs * rates.per_pair + linear + moved) / workers


class TooLittleMemory(ValueError):
    """No plan keeps to the memory of a worker.

    Attributes
    ----------
    least : bytes a worker needs.
    """

    def __init__(self, asked: Asked, least: int) -> None:
        self.least = least
        cut = f"in shards of at most {GROUP_ROWS:,} rows" if asked.shards is None else f"cut into {asked.shards:,}"
        super().__init__(
            f"the join needs {least:,} bytes a worker for {asked.dimension} dimensions, {cut}, and has "
            f"{asked.worker_bytes:,}"
        )


def plans(asked: Asked) -> list[Plan]:
    """The ways to cut this join that keep to the worker's memory; the first is the one to take.

    The base with itself is joined in pairs of shards: that scores half the pairs. Of ways that score as many, the one
    that moves fewer bytes is first.

    Raises TooLittleMemory where even shards of one group, or those that are given, do not fit.
    """
    if asked.by_lists:
        several = _pairs_by_lists(asked)
    else:
        several = [*_pairs_of_shards(asked), *_queries_split(asked), *_both_split(asked)]
    fit = [plan for plan in several if plan.worker_bytes <= asked.worker_bytes]
    if not fit:
        raise TooLittleMemory(asked, min(plan.worker_bytes for plan in several))
    return sorted(fit, key=lambda plan: (plan.pairs, plan.shuffle_bytes + plan.read_bytes))


def _row_bytes(asked: Asked) -> int:
    """A row of a loaded shard: the vector, its augmented copy, tables, the distances of the nearest found."""
    return 8 * asked.dimension + 8 + _PREPARED_BYTES + 4 * asked.n


def neighbour_bytes(asked: Asked, neighbours: float = 1.0) -> float:
    """Of a row with so many neighbours, where it crosses a shuffle."""
    return _LENGTH_BYTES + neighbours * (_DISTANCE_BYTES + asked.id_bytes)


def _shuffled(asked: Asked, shards: int, rows: int) -> int:
    """Of rows whose answers from all shards are gathered.

    A process hands over nobody that its own tasks have beaten: of s shards n (1 + 1/2 + … + 1/s) neighbours of a row, s
    being the shards that it joined the row with. What it learnt of a shard goes with the shard, when it keeps others.
    """
    joined = shards / asked.workers
    if shards > LOADED_SHARDS or joined <= 1:
        neighbours = float(asked.n * shards)
    else:
        harmonic = math.log(joined) + 0.5772 + 1 / (2 * joined)
        neighbours = min(shards, harmonic * asked.workers) * asked.n
    return math.ceil(rows * (neighbour_bytes(asked, neighbours) + _LENGTH_BYTES * (shards - 1)))


def _loaded_bytes(asked: Asked, shards: int, rows: int, needed: int) -> int:
    """Of the loaded shards of some rows: those that a task needs, or all that its process keeps."""
    return min(shards, LOADED_SHARDS if asked.own_process else needed) * rows * _row_bytes(asked)


def _groups(rows: int) -> int:
    return -(-rows // GROUP_ROWS)


def _task_bytes(asked: Asked, rows: int) -> int:
    """Of some rows, their pools and their answers."""
    return rows * (_pool_bytes(asked) + _answer_bytes(asked))


def _answer_bytes(asked: Asked) -> int:
    return (_COPIES_ON_THE_WAY if asked.own_process else _COPIES) * NEIGHBOUR_BYTES * asked.n


def _pool_bytes(asked: Asked) -> int:
    """A row's pool, as `awe_core.knn.selection.Pools` has it."""
    return 8 * (3 * (asked.n + 1) + 32) + 25


def _pairs_of_shards(asked: Asked) -> list[Plan]:
    """The base with itself, in pairs of shards; with other queries, those pass the same shards one by one."""
    if not asked.within:
        return []
    N, Q = asked.base_rows, asked.query_rows
    shards = asked.given or _fewest_shards(asked, _TASKS_PER_WORKER)
    while True:
        rows = -(-N // shards)
        plan = Plan(
            name="pairs of shards",
            shards=shards,
            tasks=shards * (shards + 1) // 2,
            pairs=N * (N + 1) // 2 + Q * N,
            rows=N + Q,
            row_shards=(N + Q) * shards,
            shuffle_bytes=_shuffled_of_pairs(asked, shards),
            read_bytes=4 * asked.dimension * N * shards,
            worker_bytes=_loaded_bytes(asked, shards, rows, 2) + _task_bytes(asked, min(2, shards) * rows),
        )
        more = _more_shards(asked, shards)
        if plan.worker_bytes <= asked.worker_bytes or more is None:
            return [plan]
        shards = more


def _shuffled_of_pairs(asked: Asked, shards: int) -> int:
    """Other queries are gathered only where they do not pass all shards in one task."""
    others = _shuffled(asked, shards, asked.query_rows) if shards > LOADED_SHARDS else 0
    return _shuffled(asked, shards, asked.base_rows) + others


def _fewest_shards(asked: Asked, tasks: int) -> int:
    """Shards whose pairs are at least some tasks a worker; one worker needs no more than one."""
    wanted = 1 if asked.workers == 1 else math.ceil((math.sqrt(1 + 8 * tasks * asked.workers) - 1) / 2)
    return max(1, wanted if asked.parts is None else min(wanted, asked.parts))


def _more_shards(asked: Asked, shards: int) -> int | None:
    """The next number of shards to try; None where they are cut as far as they can be, or as they are to be."""
    if asked.shards is not None:
        return None
    more = math.ceil(shards * 1.25)
    more = more if asked.parts is None else min(more, asked.parts)
    return None if more <= shards or -(-asked.base_rows // shards) <= GROUP_ROWS else more


def _pairs_by_lists(asked: Asked) -> list[Plan]:
    """The base with itself in pairs of shards, all rows of which have pools; other queries pass them one by one."""
    N, Q = asked.base_rows, asked.query_rows
    shards = asked.given or _fewest_shards(asked, _TASKS_PER_WORKER_BY_LISTS)
    per_row = 12 * _VISITS + _pool_bytes(asked) + _answer_bytes(asked)
    while True:
        rows = -(-N // shards)
        plan = Plan(
            name="pairs of shards, by lists",
            shards=shards,
            tasks=shards * (shards + 1) // 2,
            pairs=N * min(N, 2 * _VISITS * math.ceil(N / list_count(N))) + Q * N,
            rows=N + Q,
            row_shards=(N + Q) * shards,
            shuffle_bytes=_shuffled_of_pairs(asked, shards),
            read_bytes=4 * asked.dimension * N * shards,
            worker_bytes=_loaded_bytes(asked, shards, rows, 2) + min(2, shards) * rows * per_row,
        )
        more = _more_shards(asked, shards)
        if plan.worker_bytes <= asked.worker_bytes or more is None:
            return [plan]
        shards = more


def _queries_split(asked: Asked) -> list[Plan]:
    """Blocks of queries pass all of the base on one worker: nothing crosses a shuffle."""
    shards = asked.given or LOADED_SHARDS
    if shards > LOADED_SHARDS:
        return []
    N, Q = asked.base_rows, asked.query_rows + (asked.base_rows if asked.within else 0)
    tasks = max(1, min(_TASKS_PER_WORKER * asked.workers, _groups(Q)))
    return [
        Plan(
            name="queries split",
            shards=shards,
            tasks=tasks,
            pairs=Q * N,
            rows=Q,
            row_shards=Q * shards,
            shuffle_bytes=0,
            read_bytes=4 * asked.dimension * (N * min(tasks, asked.workers) + Q),
            worker_bytes=N * _row_bytes(asked) + _task_bytes(asked, -(-Q // tasks)),
        )
    ]


def _both_split(asked: Asked) -> list[Plan]:
    """Blocks of queries × shards of the base."""
    shards = asked.given or LOADED_SHARDS + 1
    if shards <= LOADED_SHARDS or (asked.parts is not None and asked.parts <= LOADED_SHARDS):
        return []
    N, Q = asked.base_rows, asked.query_rows + (asked.base_rows if asked.within else 0)
    while True:
        rows = -(-N // shards)
        plan = Plan(
            name="both sides split",
            shards=shards,
            tasks=max(1, shards * _groups(Q)),
            pairs=Q * N,
            rows=Q,
            row_shards=Q * shards,
            shuffle_bytes=_shuffled(asked, shards, Q),
            read_bytes=4 * asked.dimension * (N * _groups(Q) + Q * shards),
            worker_bytes=_loaded_bytes(asked, shards, rows, 1) + _task_bytes(asked, min(Q, GROUP_ROWS)),
        )
        more = _more_shards(asked, shards)
        if plan.worker_bytes <= asked.worker_bytes or more is None:
            return [plan]
        shards = more

"""What a training is stopped by: a metric of the ranked labels of a validation set.

Labels are ranked by tiles and in threads, because that is done after every epoch; `awe_core.scoring` ranks for
predictions, where the gate and its product with f are in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arranged import take
from awe_core.examples import Block, BlockSource
from awe_core.gate import Gate
from awe_core.metrics import add, length_of, sums
from awe_core.model import Model
from awe_core.ranking import Ranking, first_of_each, stacked
from awe_core.rows import entry_positions, row_of_entry, runs
from awe_core.similarity import all_similarities
from awe_core.threads import Workers

# Scores held at once by a thread, 256 × 4,096 float32: 4 MB. The tiles are the same whatever the threads, because a
# product cut otherwise differs in its last bits.
_ROWS = 256
_LABELS = 4096
# Of a tile, for what may be among the best of it: an eighth of the scores is looked at after one pass over them.
_STRIPS = 8
# Numbers gathered at once for candidates: 16 MB of float32.
_MOST_GATHERED = 2**22

Scores = Callable[[slice, slice], NDArray[np.float32]]
"""f of some rows of a block and some labels: [rows, labels]."""


def examine(
    source: BlockSource,
    model: Model,
    gate: Gate | None,
    metric: str,
    rows: int | None = None,
    workers: Workers | None = None,
    after_block: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """P@1 and `metric` of the ranked labels, means over the examples with labels: of the first `rows` rows, or of all.

    Ties go to the smaller label id; `seen` is never ranked; with a gate without bias only candidates are, and an
    example without any has an empty list. One block at a time, its scores in tiles of 4 MB a thread; `after_block` is
    called after each.

    Raises
    ------
    FloatingPointError
        A score is not finite.
    ValueError
        No example has labels.
    """
    k, named = length_of(metric), list(dict.fromkeys(["p@1", metric]))
    found = [dict.fromkeys([*named, "scored"], 0.0)]
    for block in _first_blocks(source, rows):
        ranking = rank_labels(block, model, gate, k, workers)
        measured = sums(ranking, block.labels, block.seen, None, k)
        found.append({name: measured[name] for name in found[0]})
        after_block()
    total = add(found)
    if not total["scored"]:
        among = "of validation" if rows is None else f"of the first {rows} of validation"
        raise ValueError(f"no example {among} has a label, so no epoch is better than another; hold more of them out")
    return {name: total[name] / total["scored"] for name in named}


def _first_blocks(source: BlockSource, rows: int | None) -> Iterator[Block]:
    """The blocks that hold the first rows, the last of them cut to what is left of it."""
    starts = np.cumsum([0, *source.rows_of_block]).tolist()
    for index, (start, stop) in enumerate(pairwise(starts)):
        if rows is not None and start >= rows:
            return
        block = source[index]
        yield block if rows is None or stop <= rows else take(block, np.arange(rows - start))


def rank_labels(block: Block, model: Model, gate: Gate | None, k: int, workers: Workers | None = None) -> Ranking:
    """The k best labels of every row."""
    if gate is not None and gate.bias == 0:
        return _best_candidates(block, model, gate, k)
    slices = runs(len(block), _ROWS)
    scores = _scores(block, model)
    with Workers(1) as alone:
        ranked = (workers or alone).map(lambda n: _best_of_all(block, slices[n], scores, model, gate, k), len(slices))
    return stacked(ranked)


def _scores(block: Block, model: Model) -> Scores:
    if model.joint is not None:
        return lambda rows, labels: model.f(block.features[rows], labels)
    embedding = model.embed(block.features)
    return lambda rows, labels: all_similarities(model.similarity, embedding[rows], model.V[labels])


def _best_of_all(block: Block, part: slice, scores: Scores, model: Model, gate: Gate | None, k: int) -> Ranking:
    seen, rows = block.seen[part], part.stop - part.start
    affinity = None if gate is None else block.affinity[part]  # type: ignore[index]
    best = Ranking(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    last = np.full(rows, -np.inf, dtype=np.float32)
    for start in range(0, model.labels, _LABELS):
        labels = slice(start, min(start + _LABELS, model.labels))
        f = scores(part, labels)
        if gate is not None and affinity is not None:
            f += np.float32(model.offset)
            gates = np.full(f.shape, gate.bias, dtype=np.float32)
            row, column, entry = _within(affinity, labels)
            gates[row, column] = gate.of(affinity.data[entry])
            f *= gates
        row, column, _ = _within(seen, labels)
        f[row, column] = -np.inf
        row, column = _above(f, last, k)
        if len(row):
            # What is as high as the last of a full list has a larger id than all that is there.
            before = np.repeat(np.arange(rows), np.diff(best.indptr))
            best = first_of_each(
                np.concatenate([before, row]),
                np.concatenate([best.labels, column + start]),
                np.concatenate([best.scores, f[row, column]]),
                rows,
                k,
            )
            full = np.diff(best.indptr) == k
            last[full] = best.scores[best.indptr[1:][full] - 1]
    return best


def _above(f: NDArray[np.float32], last: NDArray[np.float32], k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(row, column) of the scores above the `last` of their row that may be among its k best.

    A tile is looked at as strips that lie upon each other: the k-th best of what is highest at every place of them is
    no more than the k-th best score, so that few places have to be looked into.
    """
    rows, columns = f.shape
    width = -(-columns // _STRIPS)
    if width * _STRIPS > columns:
        f = np.pad(f, ((0, 0), (0, width * _STRIPS - columns)), constant_values=-np.inf)
    strips = f.reshape(rows, _STRIPS, width)
    highest = strips.max(axis=1)
    if not (highest < np.inf).all():
        raise FloatingPointError("a score is not finite")
    least = np.nextafter(last, np.float32(np.inf))
    many = np.flatnonzero(np.count_nonzero(highest >= least[:, None], axis=1) > k)
    if len(many):
        least[many] = np.partition(highest[many], width - k, axis=1)[:, width - k]
    row, place = np.nonzero(highest >= least[:, None])
    found, strip = np.nonzero(strips[row, :, place] >= least[row, None])
    return row[found], place[found] + width * strip


def _within(matrix: sp.csr_matrix, columns: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """(row, column − start, entry) of the entries of a CSR matrix that stand in a run of columns."""
    entry = np.flatnonzero((matrix.indices >= columns.start) & (matrix.indices < columns.stop))
    return row_of_entry(matrix)[entry], matrix.indices[entry].astype(np.intp) - columns.start, entry


def _best_candidates(block: Block, model: Model, gate: Gate, k: int) -> Ranking:
    affinity = block.affinity
    assert affinity is not None
    embedding = model.embed(block.features)
    row = row_of_entry(affinity)
    kept = entry_positions(block.seen, row, affinity.indices) < 0
    row, label, weight = row[kept], affinity.indices[kept], gate.of(affinity.data[kept])
    f = np.empty(len(row), dtype=np.float32)
    chunk = max(1, _MOST_GATHERED // model.dimension)
    for start in range(0, len(row), chunk):
        part = slice(start, start + chunk)
        f[part] = np.einsum("ed,ed->e", embedding[row[part]], model.V[label[part]])
    f = weight * (f + np.float32(model.offset))
    if not np.isfinite(f).all():
        raise FloatingPointError("a score is not finite")
    high = _not_below(f, np.bincount(row, minlength=len(block)), k)
    return first_of_each(row[high], label[high], f[high], len(block), k)


def _not_below(f: NDArray[np.float32], entries: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """The entries that may be among the k best of their row, rows one after the other with so many entries each.

    Of k runs of a row's entries the highest are k entries, so that the least of those is no more than the k-th best:
    what is below it need not be sorted, which would take longer than scoring did.
    """
    first, long = np.cumsum(entries) - entries, np.flatnonzero(entries > k)
    bound = np.full(len(entries), -np.inf, dtype=np.float32)
    if len(long):
        starts = first[long, None] + np.arange(k) * entries[long, None] // k
        ends = np.append(starts[:, 1:], (first + entries)[long, None], axis=1)
        between = np.stack([starts, ends], axis=2).ravel()
        highest = np.maximum.reduceat(np.append(f, np.float32(-np.inf)), between)[::2]
        bound[long] = highest.reshape(-1, k).min(axis=1)
    return np.flatnonzero(f >= np.repeat(bound, entries))

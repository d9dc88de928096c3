"""P@1 on a validation set, by which a training is stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arranged import take
from awe_core.examples import Block, BlockSource
from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.rows import entry_positions, row_of_entry, runs
from awe_core.similarity import all_similarities
from awe_core.threads import Workers

# Scores held at once by a thread, 256 × 4,096 float32: 4 MB. The tiles are the same whatever the threads, because a
# product cut otherwise differs in its last bits.
_ROWS = 256
_LABELS = 4096
# Numbers gathered at once for candidates: 16 MB of float32.
_MOST_GATHERED = 2**22

Scores = Callable[[slice, slice], NDArray[np.float32]]
"""f of some rows of a block and some labels: [rows, labels]."""


def precision_at_1(
    source: BlockSource,
    model: Model,
    gate: Gate | None,
    workers: Workers | None = None,
    after_block: Callable[[], None] = lambda: None,
    rows: int | None = None,
) -> float:
    """P@1: the share of the examples with labels whose best label is a true one; of the first `rows` rows, or of all.

    Ties go to the smaller label id; `seen` is never ranked; with a gate without bias only candidates are, and an
    example without any counts as a miss. One block at a time, its scores in tiles of 4 MB a thread; `after_block` is
    called after each.

    Raises
    ------
    FloatingPointError
        An embedding is not finite.
    """
    hits, scored = 0, 0
    for block in _first_blocks(source, rows):
        has_labels = np.diff(block.labels.indptr) > 0
        best = best_labels(block, model, gate, workers)
        ranked = np.flatnonzero(best >= 0)
        hits += int(np.count_nonzero(entry_positions(block.labels, ranked, best[ranked]) >= 0))
        scored += int(np.count_nonzero(has_labels))
        after_block()
    return hits / scored if scored else math.nan


def _first_blocks(source: BlockSource, rows: int | None) -> Iterator[Block]:
    """The blocks that hold the first rows, the last of them cut to what is left of it."""
    starts = np.cumsum([0, *source.rows_of_block]).tolist()
    for index, (start, stop) in enumerate(pairwise(starts)):
        if rows is not None and start >= rows:
            return
        block = source[index]
        yield block if rows is None or stop <= rows else take(block, np.arange(rows - start))


def best_labels(block: Block, model: Model, gate: Gate | None, workers: Workers | None = None) -> NDArray[np.intp]:
    """The best label of every row, −1 where none can be ranked: intp [rows]."""
    if gate is not None and gate.bias == 0:
        return _best_candidates(block, model.embed(block.features), model, gate)
    scores = _scores(block, model)
    slices = runs(len(block), _ROWS)
    with Workers(1) as alone:
        found = (workers or alone).map(lambda n: _best_of_all(block, slices[n], scores, model, gate), len(slices))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.intp)


def _scores(block: Block, model: Model) -> Scores:
    if model.joint is not None:
        return lambda rows, labels: model.f(block.features[rows], labels)
    embedding = model.embed(block.features)
    return lambda rows, labels: all_similarities(model.similarity, embedding[rows], model.V[labels])


def _best_of_all(block: Block, part: slice, scores: Scores, model: Model, gate: Gate | None) -> NDArray[np.intp]:
    seen, rows = block.seen[part], part.stop - part.start
    affinity = None if gate is None else block.affinity[part]  # type: ignore[index]
    best = np.full(rows, -1, dtype=np.intp)
    highest = np.full(rows, -np.inf, dtype=np.float32)
    every = np.arange(rows)
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
        column = f.argmax(axis=1)
        better = f[every, column] > highest
        best[better] = column[better] + start
        highest[better] = f[every, column][better]
    return best


def _within(matrix: sp.csr_matrix, columns: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """(row, column − start, entry) of the entries of a CSR matrix that stand in a run of columns."""
    entry = np.flatnonzero((matrix.indices >= columns.start) & (matrix.indices < columns.stop))
    return row_of_entry(matrix)[entry], matrix.indices[entry].astype(np.intp) - columns.start, entry


def _best_candidates(block: Block, embedding: NDArray[np.float32], model: Model, gate: Gate) -> NDArray[np.intp]:
    affinity = block.affinity
    assert affinity is not None
    row, label = row_of_entry(affinity), affinity.indices
    f = np.empty(len(row), dtype=np.float32)
    chunk = max(1, _MOST_GATHERED // model.dimension)
    for start in range(0, len(row), chunk):
        part = slice(start, start + chunk)
        f[part] = np.einsum("ed,ed->e", embedding[row[part]], model.V[label[part]])
    f = gate.of(affinity.data) * (f + np.float32(model.offset))
    f[entry_positions(block.seen, row, label) >= 0] = -np.inf
    best = np.full(len(block), -1, dtype=np.intp)
    ranked = np.flatnonzero(np.diff(affinity.indptr))
    if not len(ranked):
        return best
    # Labels ascend within a row, so that the first of the highest is the smallest of those that tie.
    highest = np.full(len(block), -np.inf, dtype=f.dtype)
    highest[ranked] = np.maximum.reduceat(f, affinity.indptr[ranked])
    of_highest = np.flatnonzero((f == highest[row]) & (f > -np.inf))
    found, first = np.unique(row[of_highest], return_index=True)
    best[found] = label[of_highest[first]]
    return best

"""P@1 on a validation set, by which a training is stopped."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from awe_core.examples import Block, BlockSource
from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.rows import entry_positions, row_of_entry

# Scores held at once, in numbers: 64 MB of float32.
_MOST_SCORES = 2**24


def precision_at_1(source: BlockSource, model: Model, gate: Gate | None) -> float:
    """P@1: the share of the examples with labels whose best label is a true one.

    Ties go to the smaller label id; `seen` is never ranked; with a gate without bias only candidates are, and an
    example without any counts as a miss. One block at a time, its scores in slices of at most 64 MB.

    Raises
    ------
    FloatingPointError
        An embedding is not finite.
    """
    hits, scored = 0, 0
    for index in range(len(source.rows_of_block)):
        block = source[index]
        has_labels = np.diff(block.labels.indptr) > 0
        best = best_labels(block, model, gate)
        hits += int(np.count_nonzero(entry_positions(block.labels, np.arange(len(block)), best) >= 0))
        scored += int(np.count_nonzero(has_labels))
    return hits / scored if scored else math.nan


def best_labels(block: Block, model: Model, gate: Gate | None) -> NDArray[np.intp]:
    """The best label of every row, −1 where none can be ranked: intp [rows]."""
    embedding = model.embed(block.features)
    if gate is not None and gate.bias == 0:
        return _best_candidates(block, embedding, model, gate)
    rows = max(1, _MOST_SCORES // model.labels)
    slices = [slice(start, start + rows) for start in range(0, len(block), rows)]
    found = [_best_of_all(block, part, embedding[part], model, gate) for part in slices]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.intp)


def _best_of_all(
    block: Block, part: slice, embedding: NDArray[np.float32], model: Model, gate: Gate | None
) -> NDArray[np.intp]:
    f = embedding @ model.V.T
    if gate is not None:
        affinity = block.affinity[part]  # type: ignore[index]
        f += np.float32(model.offset)
        gates = np.full(f.shape, gate.bias, dtype=np.float32)
        gates[row_of_entry(affinity), affinity.indices] = gate.of(affinity.data)
        f *= gates
    seen = block.seen[part]
    f[row_of_entry(seen), seen.indices] = -np.inf
    best = f.argmax(axis=1)
    return np.where(np.diff(seen.indptr) < f.shape[1], best, -1)


def _best_candidates(block: Block, embedding: NDArray[np.float32], model: Model, gate: Gate) -> NDArray[np.intp]:
    affinity = block.affinity
    assert affinity is not None
    row, label = row_of_entry(affinity), affinity.indices
    f = np.empty(len(row), dtype=np.float32)
    chunk = max(1, _MOST_SCORES // model.dimension)
    for start in range(0, len(row), chunk):
        part = slice(start, start + chunk)
        f[part] = np.einsum("ed,ed->e", embedding[row[part]], model.V[label[part]])
    f = gate.of(affinity.data) * (f + np.float32(model.offset))
    rankable = entry_positions(block.seen, row, label) < 0
    row, label, f = row[rankable], label[rankable], f[rankable]
    order = np.lexsort((label, -f, row))
    ranked, first = np.unique(row[order], return_index=True)
    best = np.full(len(block), -1, dtype=np.intp)
    best[ranked] = label[order][first]
    return best

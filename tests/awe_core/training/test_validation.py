"""P@1 by which a training is stopped."""

from __future__ import annotations

import math

import numpy as np
import pytest

from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.training import validation
from awe_core.training.validation import best_labels, precision_at_1
from tests.awe_core.blocks import InMemory, block


class Read(InMemory):
    """Blocks that say which of them were read."""

    def __init__(self, blocks):
        super().__init__(blocks)
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        return super().__getitem__(index)


# Ux = x and V = the identity with a twin of label 0: f(x, y) = x_y, and labels 0 and 3 tie.
MODEL = Model(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], offset=1.0)


def test_the_best_label_is_the_smallest_of_those_that_tie():
    rows = block([[5, 1, 0], [0, 0, 0], [0, 2, 2]] @ np.eye(3), [[0]] * 3, 4)
    assert best_labels(rows, MODEL, None).tolist() == [0, 0, 1]


def test_what_was_seen_is_not_ranked():
    rows = block(np.array([[5, 1, 0]] * 3), [[0]] * 3, 4, seen=[[0], [0, 3], [0, 1, 2, 3]])
    assert best_labels(rows, MODEL, None).tolist() == [3, 1, -1]


def test_without_a_bias_only_candidates_are_ranked():
    affinity = [{1: 0.5, 2: 0.6}, {}, {2: 0.0}, {0: 1.0, 3: 1.0}]
    rows = block(np.array([[5, 1, 0]] * 4), [[0]] * 4, 4, seen=[[], [], [], [0]], affinity=affinity)
    # Row 0: (1 + 1)·0.5 against (0 + 1)·0.6.
    assert best_labels(rows, MODEL, Gate(1.0, 0.0)).tolist() == [1, -1, 2, 3]


def test_with_a_bias_every_label_is_ranked():
    rows = block(np.array([[5, 1, 0], [5, 1, 0]]), [[0]] * 2, 4, seen=[[0, 3], []], affinity=[{2: 9.0}, {1: 9.0}])
    assert best_labels(rows, MODEL, Gate(1.0, 0.1)).tolist() == [2, 1]


@pytest.mark.parametrize("gate", [None, Gate(2.0, 0.0), Gate(2.0, 0.3)])
@pytest.mark.parametrize("most", [1, 3, 10**6])
def test_tiles_of_any_size_agree_with_one_score_at_a_time(monkeypatch, gate, most):
    for bound in ("_ROWS", "_LABELS", "_MOST_GATHERED"):
        monkeypatch.setattr(validation, bound, most)
    rng = np.random.default_rng(0)
    affinity = [{int(y): float(rng.random()) for y in rng.choice(4, 2, replace=False)} for _ in range(20)]
    seen = [[int(rng.integers(4))] for _ in range(20)]
    rows = block(rng.normal(size=(20, 3)), [[0]] * 20, 4, seen=seen, affinity=affinity)
    V = rng.normal(size=(4, 3)).astype(np.float32)
    best = best_labels(rows, Model(np.eye(3, dtype=np.float32), V, 0.5), gate)
    for i in range(20):
        rankable = range(4) if gate is None or gate.bias else sorted(affinity[i])
        ranked = [y for y in rankable if y not in seen[i]]
        f = {y: rows.features[i] @ V[y] for y in ranked}
        if gate:
            f = {y: (gate.scale * affinity[i].get(y, 0.0) + gate.bias) * (f[y] + 0.5) for y in ranked}
        assert best[i] == (max(ranked, key=lambda y: f[y]) if ranked else -1)


def test_the_share_is_of_the_examples_that_have_labels():
    x = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    blocks = InMemory([block(x, [[0], [2], []], 4), block(x, [[0, 3], [0], [2]], 4)])
    assert precision_at_1(blocks, MODEL, None) == 3 / 5


@pytest.mark.parametrize("rows", range(1, 9))
def test_the_first_rows_are_looked_at_and_no_block_behind_them_is_read(rows):
    """Blocks of 3, 0 and 4 rows: a cut in a block, at its end, and beyond the last."""
    labels = [[1], [], [3], [2], [0, 1], [], [3]]
    x = np.random.default_rng(0).normal(size=(7, 3))
    cuts = [slice(0, 3), slice(3, 3), slice(3, 7)]
    blocks = Read([block(x[cut], labels[cut], 4) for cut in cuts])
    alone = InMemory([block(x[:rows], labels[:rows], 4)])
    assert precision_at_1(blocks, MODEL, None, rows=rows) == precision_at_1(alone, MODEL, None)
    assert blocks.read == [index for index, cut in enumerate(cuts) if cut.start < rows]


def test_without_any_label_there_is_no_share():
    assert math.isnan(precision_at_1(InMemory([block(np.ones((1, 3)), [[]], 4)]), MODEL, None))


def test_a_row_that_cannot_be_ranked_is_no_hit_for_the_row_before_it():
    """The first row has the last label and another candidate; the second row has none."""
    rows = block(np.ones((2, 3)), [[3], [0]], 4, affinity=[{0: 1.0}, {}])
    assert best_labels(rows, MODEL, Gate()).tolist() == [0, -1]
    assert precision_at_1(InMemory([rows]), MODEL, Gate()) == 0

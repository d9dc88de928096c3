"""A metric by which a training is stopped."""

from __future__ import annotations

import numpy as np
import pytest

from awe_core import metrics
from awe_core.arranged import take
from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.ranking import rank_all
from awe_core.training import validation
from awe_core.training.validation import examine, rank_labels
from tests.awe_core.blocks import InMemory, block


def best_labels(rows, model, gate):
    return rank_labels(rows, model, gate, 1).padded(1)[:, 0]


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
@pytest.mark.parametrize(("count", "most"), [(11, 1), (11, 3), (11, 10**6), (150, 64), (150, 10**6)])
@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_tiles_of_any_size_agree_with_one_score_at_a_time(monkeypatch, gate, count, most, k):
    """Labels of few different scores, so that most tie, across tiles too."""
    for bound in ("_ROWS", "_LABELS", "_MOST_GATHERED"):
        monkeypatch.setattr(validation, bound, most)
    rng = np.random.default_rng(0)
    affinity = [{int(y): float(rng.integers(1, 3)) for y in rng.choice(count, 6, replace=False)} for _ in range(20)]
    seen = [sorted(rng.choice(count, size=rng.integers(0, count - 3), replace=False).tolist()) for _ in range(20)]
    rows = block(rng.integers(-1, 2, size=(20, 3)), [[0]] * 20, count, seen=seen, affinity=affinity)
    V = rng.integers(-1, 2, size=(count, 3)).astype(np.float32)
    ranking = rank_labels(rows, Model(np.eye(3, dtype=np.float32), V, 0.5), gate, k)
    assert ranking.indptr[0] == 0
    for i in range(20):
        rankable = range(count) if gate is None or gate.bias else sorted(affinity[i])
        ranked = [y for y in rankable if y not in seen[i]]
        f = {y: rows.features[i] @ V[y] for y in ranked}
        if gate:
            f = {y: (gate.scale * affinity[i].get(y, 0.0) + gate.bias) * (f[y] + 0.5) for y in ranked}
        found = ranking.labels[ranking.indptr[i] : ranking.indptr[i + 1]].tolist()
        assert found == sorted(ranked, key=lambda y: (-np.float32(f[y]), y))[:k]


@pytest.mark.parametrize("metric", ["p@1", "p@3", "recall@2", "ndcg@4", "map@3"])
def test_a_metric_is_that_of_the_ranked_labels(metric):
    rng = np.random.default_rng(1)
    labels = [sorted(rng.choice(4, size=rng.integers(0, 4), replace=False).tolist()) for _ in range(12)]
    rows = block(rng.normal(size=(12, 3)), labels, 4)
    k = metrics.length_of(metric)
    expected = metrics.means(
        metrics.sums(rank_all(MODEL.f(rows.features), rows.seen, k), rows.labels, rows.seen, None, k)
    )
    blocks = InMemory([take(rows, np.arange(5)), take(rows, np.arange(5, 12))])
    found = examine(blocks, MODEL, None, metric)
    assert found == pytest.approx({name: expected[name] for name in {"p@1", metric}}, abs=1e-12)


@pytest.mark.parametrize("gate", [None, Gate(1.0, 0.0), Gate(1.0, 0.1)])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused(gate, wrong):
    V = MODEL.V.copy()
    V[2] = wrong
    rows = block(np.ones((2, 3)), [[0], [1]], 4, affinity=[{2: 1.0}, {2: 1.0}])
    for k in (1, 3):
        with pytest.raises(FloatingPointError, match="not finite"):
            rank_labels(rows, Model(MODEL.U, V), gate, k)


def test_the_share_is_of_the_examples_that_have_labels():
    x = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    blocks = InMemory([block(x, [[0], [2], []], 4), block(x, [[0, 3], [0], [2]], 4)])
    assert examine(blocks, MODEL, None, "p@1") == {"p@1": 3 / 5}


@pytest.mark.parametrize("gate", [None, Gate(1.0, 0.0), Gate(1.0, 0.1)])
@pytest.mark.parametrize("rows", range(1, 9))
def test_the_first_rows_are_looked_at_and_no_block_behind_them_is_read(rows, gate):
    """Blocks of 3, 0 and 4 rows: a cut in a block, at its end, and beyond the last."""
    labels = [[1], [], [3], [2], [0, 1], [], [3]]
    x = np.random.default_rng(0).normal(size=(7, 3))
    cuts = [slice(0, 3), slice(3, 3), slice(3, 7)]
    G = [{0: 1.0, 1: 0.5, 2: float(row % 3)} for row in range(7)]
    blocks = Read([block(x[cut], labels[cut], 4, affinity=G[cut]) for cut in cuts])
    alone = InMemory([block(x[:rows], labels[:rows], 4, affinity=G[:rows])])
    assert examine(blocks, MODEL, gate, "p@1", rows=rows) == examine(alone, MODEL, gate, "p@1")
    assert blocks.read == [index for index, cut in enumerate(cuts) if cut.start < rows]


def test_without_any_label_there_is_nothing_to_stop_by():
    blocks = InMemory([block(np.ones((3, 3)), [[], [], [1]], 4)])
    with pytest.raises(ValueError, match="no example of the first 2 of validation has a label"):
        examine(blocks, MODEL, None, "p@1", rows=2)
    assert examine(blocks, MODEL, None, "p@1", rows=3) == {"p@1": 0.0}
    with pytest.raises(ValueError, match="no example of validation has a label"):
        examine(InMemory([block(np.ones((1, 3)), [[]], 4)]), MODEL, None, "p@1")


def test_a_row_that_cannot_be_ranked_is_no_hit_for_the_row_before_it():
    """The first row has the last label and another candidate; the second row has none."""
    rows = block(np.ones((2, 3)), [[3], [0]], 4, affinity=[{0: 1.0}, {}])
    assert best_labels(rows, MODEL, Gate()).tolist() == [0, -1]
    assert examine(InMemory([rows]), MODEL, Gate(), "p@1") == {"p@1": 0}

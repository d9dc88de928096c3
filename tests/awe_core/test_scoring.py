"""What each method ranks by, against the oracles of f and of the ranking.

U, V, x and G are small integers and halves, so that float32 is exact and a tie is a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from awe_core import scoring
from awe_core.examples import Block
from awe_core.gate import Gate
from awe_core.model import Model
from awe_core.ranking import Ranking
from awe_core.scoring import (
    Rank,
    gated_scores,
    rank_by_affinity,
    rank_by_count,
    rank_by_gated_model,
    rank_by_model,
    rank_by_scores,
)
from tests.awe_core.lists import csr, mappings, weighted
from tests.oracles import ranking as oracle
from tests.oracles import warp

D, LABELS, FEATURES = 3, 7, 4
SEED = st.integers(0, 2**20)


def some_model(rng: np.random.Generator, offset: float = 0.0) -> Model:
    U = rng.integers(-2, 3, (FEATURES, D)).astype(np.float32)
    return Model(U, rng.integers(-2, 3, (LABELS, D)).astype(np.float32), offset)


def subsets(rng: np.random.Generator, rows: int) -> list[set[int]]:
    return [set(np.flatnonzero(rng.random(LABELS) < rng.choice([0.0, 0.3, 1.0])).tolist()) for _ in range(rows)]


def some_block(rng: np.random.Generator, rows: int, sparse: bool = False) -> Block:
    x = rng.integers(-2, 3, (rows, FEATURES)).astype(np.float32)
    G = [{label: float(rng.integers(0, 5)) / 2 for label in row} for row in subsets(rng, rows)]
    return Block(
        ids=np.arange(rows),
        features=sp.csr_matrix(x) if sparse else x,
        labels=csr(subsets(rng, rows), LABELS),
        seen=csr(subsets(rng, rows), LABELS),
        weight=np.ones(rows, np.float32),
        affinity=weighted(G, LABELS),
    )


def affinity(block: Block) -> sp.csr_matrix:
    assert block.affinity is not None
    return block.affinity


def f(model: Model, block: Block, row: int, gate: Gate | None = None) -> dict[int, float]:
    """f(x, y) of every label of one example, by the oracle."""
    x = block.features[[row]]
    dense = np.asarray(x.toarray() if sp.issparse(x) else x, np.float64)[0]
    U, V = model.U.astype(np.float64), model.V.astype(np.float64)
    if gate is None:
        return {y: warp.score(U, V, dense, y) for y in range(LABELS)}
    G = mappings(affinity(block))[row]
    return {y: warp.score(U, V, dense, y, G, gate.scale, gate.bias, model.offset) for y in range(LABELS)}


def lists(ranking: Ranking) -> list[list[int]]:
    return [ranking.labels[a:b].tolist() for a, b in zip(ranking.indptr[:-1], ranking.indptr[1:], strict=True)]


def wanted(
    scores: Callable[[int], dict[int, float]], block: Block, k: int, candidates: Sequence[set[int]] | None = None
) -> list[list[int]]:
    everything, seen = set(range(LABELS)), mappings(block.seen)
    return [
        oracle.rank(
            oracle.candidates_only(scores(row), everything if candidates is None else candidates[row], set(seen[row])),
            k,
        )
        for row in range(len(block))
    ]


CASE = (SEED, st.integers(0, 5), st.integers(1, 9), st.booleans())


@given(*CASE)
def test_the_model_ranks_all_labels_by_f(seed: int, rows: int, k: int, sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    model, block = some_model(rng), some_block(rng, rows, sparse)
    assert lists(rank_by_model(model, k)(block)) == wanted(lambda row: f(model, block, row), block, k)


@given(*CASE)
def test_counts_rank_the_same_labels_for_everybody_but_for_what_was_seen(
    seed: int, rows: int, k: int, sparse: bool
) -> None:
    rng = np.random.default_rng(seed)
    block, counts = some_block(rng, rows, sparse), rng.integers(0, 3, LABELS)
    assert lists(rank_by_count(counts, k)(block)) == wanted(lambda _: dict(enumerate(counts.tolist())), block, k)


@given(*CASE)
def test_affinity_ranks_the_candidates_by_G_alone(seed: int, rows: int, k: int, sparse: bool) -> None:
    block = some_block(np.random.default_rng(seed), rows, sparse)
    G = mappings(affinity(block))
    assert lists(rank_by_affinity(k)(block)) == wanted(lambda row: G[row], block, k, [set(row) for row in G])


@given(*CASE, st.sampled_from([-1.0, 0.0, 2.0]), st.sampled_from([0.5, 2.0]))
def test_without_bias_the_gated_model_ranks_the_candidates_alone(
    seed: int, rows: int, k: int, sparse: bool, offset: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    model, block, gate = some_model(rng, offset), some_block(rng, rows, sparse), Gate(scale)
    candidates = [set(row) for row in mappings(affinity(block))]
    found = rank_by_gated_model(model, gate, k)(block)
    assert lists(found) == wanted(lambda row: f(model, block, row, gate), block, k, candidates)
    flat = [f(model, block, row, gate)[label] for row, labels in enumerate(lists(found)) for label in labels]
    assert found.scores.tolist() == flat


@given(*CASE, st.sampled_from([-1.0, 0.0, 2.0]), st.sampled_from([0.25, 1.0]))
def test_with_a_bias_the_gated_model_ranks_all_labels(
    seed: int, rows: int, k: int, sparse: bool, offset: float, bias: float
) -> None:
    rng = np.random.default_rng(seed)
    model, block, gate = some_model(rng, offset), some_block(rng, rows, sparse), Gate(2.0, bias)
    found = rank_by_gated_model(model, gate, k)(block)
    assert lists(found) == wanted(lambda row: f(model, block, row, gate), block, k)


def test_gated_scores_keep_the_structure_of_the_candidates_zeros_too() -> None:
    rng = np.random.default_rng(3)
    model, block, gate = some_model(rng, 1.0), some_block(rng, 40), Gate(0.5, 0.25)
    found = gated_scores(model, gate, model.embed(block.features), affinity(block))
    assert (found.indices == affinity(block).indices).all()
    assert (found.indptr == affinity(block).indptr).all()
    for row, scores in enumerate(mappings(found)):
        by_oracle = f(model, block, row, gate)
        assert scores == {label: by_oracle[label] for label in scores}
    assert (affinity(block).data == 0).any()


@pytest.mark.parametrize(
    "rank",
    [
        rank_by_model(some_model(np.random.default_rng(0)), 4),
        rank_by_count(np.arange(LABELS), 4),
        rank_by_gated_model(some_model(np.random.default_rng(0), 1.0), Gate(0.5, 0.5), 4),
    ],
    ids=["model", "count", "gated"],
)
@pytest.mark.parametrize("rows_at_once", [1, 3])
def test_runs_of_a_bounded_size_change_nothing(rank: Rank, rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    block = some_block(np.random.default_rng(1), 10)
    whole = rank(block)
    monkeypatch.setattr(scoring, "SCORES_BYTES", rows_at_once * scoring._BYTES_OF_SCORE * LABELS)
    cut = rank(block)
    assert lists(cut) == lists(whole)
    assert cut.scores.tolist() == whole.scores.tolist()


def test_a_run_of_scores_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def scores(x: np.ndarray) -> np.ndarray:
        asked.append(len(x))
        return np.zeros((len(x), LABELS))

    monkeypatch.setattr(scoring, "SCORES_BYTES", 3 * scoring._BYTES_OF_SCORE * LABELS)
    rank_by_scores(scores, LABELS, 2)(some_block(np.random.default_rng(1), 10))
    assert asked == [3, 3, 3, 1]


def test_pairs_are_scored_in_runs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    model, block = some_model(rng), some_block(rng, 20)
    whole = rank_by_gated_model(model, Gate(), 3)(block)
    monkeypatch.setattr(scoring, "_PAIRS", 4)
    assert lists(rank_by_gated_model(model, Gate(), 3)(block)) == lists(whole)


def test_ranking_by_affinity_needs_one() -> None:
    block = replace(some_block(np.random.default_rng(0), 2), affinity=None)
    for rank in (rank_by_affinity(3), rank_by_gated_model(some_model(np.random.default_rng(0)), Gate(), 3)):
        with pytest.raises(ValueError, match="rank reweighted examples"):
            rank(block)

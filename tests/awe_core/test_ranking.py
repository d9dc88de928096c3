"""Ranked labels, against the oracle: best first, ties by label id, `seen` never."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from awe_core.ranking import Ranking, rank_all, rank_candidates
from tests.awe_core.lists import csr, label_sets, weighted
from tests.oracles import ranking as oracle

SCORE = st.sampled_from([-2.5, -1.0, -0.0, 0.0, 0.25, 3.0, 1e30, -1e30])


def rankings(ranking: Ranking) -> list[list[int]]:
    return [ranking.labels[a:b].tolist() for a, b in zip(ranking.indptr[:-1], ranking.indptr[1:], strict=True)]


@given(st.data(), st.integers(0, 5), st.integers(1, 9), st.integers(1, 12), st.sampled_from([np.float32, np.float64]))
def test_all_labels(data: st.DataObject, rows: int, labels: int, k: int, dtype: type) -> None:
    scores = [data.draw(st.lists(SCORE, min_size=labels, max_size=labels)) for _ in range(rows)]
    seen = data.draw(label_sets(rows, labels))
    table = np.array(scores, dtype).reshape(rows, labels)
    found = rank_all(table.copy(), csr(seen, labels), k)
    given_scores = [dict(enumerate(row.tolist())) for row in table]
    wanted = [
        oracle.rank(oracle.candidates_only(row, set(row), not_these), k)
        for row, not_these in zip(given_scores, seen, strict=True)
    ]
    assert rankings(found) == wanted
    flat = [row[label] for row, chosen in zip(given_scores, wanted, strict=True) for label in chosen]
    assert found.scores.tolist() == np.array(flat, np.float32).tolist()


@given(st.data(), st.integers(0, 5), st.integers(1, 9), st.integers(1, 12))
def test_candidates_alone(data: st.DataObject, rows: int, labels: int, k: int) -> None:
    candidates = data.draw(label_sets(rows, labels))
    scores = [{label: data.draw(SCORE) for label in row} for row in candidates]
    seen = data.draw(label_sets(rows, labels))
    found = rank_candidates(weighted(scores, labels, np.float64), csr(seen, labels), k)
    wanted = [
        oracle.rank(oracle.candidates_only(row, row.keys(), not_these), k)
        for row, not_these in zip(scores, seen, strict=True)
    ]
    assert rankings(found) == wanted


def test_equal_scores_across_the_cut_go_to_the_smaller_labels() -> None:
    scores = np.zeros((2, 500))
    scores[0, 490] = 1.0
    assert rankings(rank_all(scores, csr([set(), {0, 2}], 500), 3)) == [[490, 0, 1], [1, 3, 4]]


def test_float64_scores_that_float32_cannot_tell_apart_are_not_ties() -> None:
    scores = np.array([[1.0, 1.0 + 1e-12]])
    assert rankings(rank_all(scores.copy(), csr([set()], 2), 2)) == [[1, 0]]
    assert rankings(rank_candidates(sp.csr_matrix(scores), csr([set()], 2), 2)) == [[1, 0]]


def test_padded_ends_short_lists_with_minus_one_and_cuts_long_ones() -> None:
    ranking = Ranking(np.array([0, 3, 3, 4]), np.array([7, 5, 6, 2], np.int32), np.zeros(4, np.float32))
    assert ranking.padded(2).tolist() == [[7, 5], [-1, -1], [2, -1]]
    assert ranking.padded(4).tolist() == [[7, 5, 6, -1], [-1] * 4, [2, -1, -1, -1]]
    assert len(ranking) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_a_divergence(bad: float) -> None:
    with pytest.raises(FloatingPointError, match="lower train.learning_rate"):
        rank_all(np.array([[0.0, bad]]), csr([{1}], 2), 1)
    with pytest.raises(FloatingPointError, match="not finite"):
        rank_candidates(weighted([{1: bad}], 2), csr([set()], 2), 1)

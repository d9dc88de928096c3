"""The oracle of the ranking."""

from __future__ import annotations

from . import ranking


def test_best_first_and_no_more_than_k() -> None:
    assert ranking.rank({1: 0.1, 2: 0.3, 3: 0.2}, 2) == [2, 3]


def test_ties_are_ordered_by_label_id_also_across_the_cut() -> None:
    assert ranking.rank({9: 1.0, 4: 1.0, 7: 1.0, 8: 2.0}, 3) == [8, 4, 7]


def test_negative_and_zero_scores_are_ranked_too() -> None:
    assert ranking.rank({1: -2.0, 2: 0.0, 3: -1.0}, 5) == [2, 3, 1]


def test_fewer_labels_than_k_give_a_shorter_list() -> None:
    assert ranking.rank({3: 1.0}, 5) == [3]
    assert ranking.rank({}, 5) == []


def test_only_candidates_that_were_not_seen_are_ranked() -> None:
    scores = {1: 5.0, 2: 9.0, 3: -1.0, 4: 4.0}
    assert ranking.candidates_only(scores, {1, 3, 4}, {4}) == {1: 5.0, 3: -1.0}
    assert ranking.rank(ranking.candidates_only(scores, {1, 3}), 3) == [1, 3]

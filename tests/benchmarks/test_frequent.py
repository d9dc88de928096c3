"""What stays of a data set whose rare items are left out."""

from __future__ import annotations

from benchmarks.frequent import frequent


def test_the_items_most_users_of_train_and_validation_have_stay_with_their_users() -> None:
    train = {0: [3, 1], 1: [2, 2, 2], 2: [3], 3: [1, 5], 4: [5]}
    validation, test = {0: [4], 2: [1], 5: [3]}, {0: [3, 2], 1: [3, 5, 2], 2: [5, 2], 3: [5]}
    cut = frequent([train, validation, test], 2, items=2)
    # 1 and 3 are with three users of both, 5 with two there and three more in test, 2 with one however often.
    assert cut == [{0: [3, 1], 2: [3], 3: [1]}, {2: [1], 5: [3]}, {0: [3]}]


def test_of_equals_the_smallest_ids_stay() -> None:
    assert frequent([{0: [9, 7, 8]}], 1, items=2) == [{0: [7, 8]}]

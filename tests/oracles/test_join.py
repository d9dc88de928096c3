"""The oracle of the join, on points whose distances are counted by hand."""

from __future__ import annotations

import numpy as np

from . import join

LINE_IDS = [10, 20, 30, 40]
LINE = np.array([[0.0], [1.0], [3.0], [7.0]])


def test_neighbours_come_nearest_first_with_squared_distances() -> None:
    assert join.neighbours(LINE_IDS, LINE, [99], [[2.5]], 3) == [[(0.25, 30), (2.25, 20), (6.25, 10)]]


def test_the_row_of_the_querys_own_id_is_left_out_and_the_next_takes_its_place() -> None:
    assert join.neighbours(LINE_IDS, LINE, [20, 40], LINE[[1, 3]], 2) == [
        [(1.0, 10), (4.0, 30)],
        [(16.0, 30), (36.0, 20)],
    ]


def test_it_is_the_id_that_is_left_out_not_the_distance_of_zero() -> None:
    assert join.neighbours([1, 2], np.zeros((2, 3)), [1], np.zeros((1, 3)), 5) == [[(0.0, 2)]]
    assert join.neighbours([1, 2], [[0.0], [5.0]], [2], [[0.0]], 5) == [[(0.0, 1)]]


def test_ties_are_ordered_by_id_whatever_the_order_of_the_base() -> None:
    assert join.neighbours([7, 3, 5], [[1.0], [-1.0], [1.0]], [0], [[0.0]], 2) == [[(1.0, 3), (1.0, 5)]]


def test_fewer_rows_than_n_give_fewer_neighbours() -> None:
    assert [len(near) for near in join.neighbours(LINE_IDS, LINE, [10, 99], [[0.0], [0.0]], 20)] == [3, 4]
    assert join.neighbours([1], [[0.0]], [1], [[0.0]], 20) == [[]]


def test_float32_points_far_from_the_origin_keep_their_small_differences() -> None:
    # ‖a‖² − 2ab + ‖b‖² in float32 is 0 here, for lack of digits.
    a, b = np.float32(10_000.0), np.nextafter(np.float32(10_000.0), np.float32(np.inf))
    assert join.squared_distance([a], [b]) == 2.0**-20

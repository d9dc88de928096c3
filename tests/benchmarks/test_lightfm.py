"""What is read out of a training's lines."""

from __future__ import annotations

import math

from benchmarks.lightfm import best_validation, pairs_per_second, seconds_to

LINES = [
    {"epoch": 1, "seconds": 2.0, "pairs": 100, "validation": 0.1},
    {"epoch": 2, "seconds": 3.0, "pairs": 100, "validation": 0.3},
    {"epoch": 3, "seconds": 5.0, "pairs": 100, "validation": 0.2},
    {"test": 0.9},
]


def test_the_time_to_a_level_ends_with_the_first_epoch_that_reaches_it() -> None:
    assert [seconds_to(LINES, level) for level in (0.05, 0.1, 0.2, 0.3)] == [2, 2, 5, 5]
    assert seconds_to(LINES, 0.31) == math.inf


def test_the_best_epoch_and_the_pace_are_those_of_the_epochs_alone() -> None:
    assert best_validation(LINES) == 0.3
    assert pairs_per_second(LINES) == 30

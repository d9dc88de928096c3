"""Learning rates by epoch."""

from __future__ import annotations

import pytest

from awe_core.training.schedule import scheduled


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.8, 0.8, 0.8, 0.8]),
        ("linear", [0.8, 0.6, 0.4, 0.2]),
        ("cosine", [0.8, 0.4 * (1 + 0.5**0.5), 0.4, 0.4 * (1 - 0.5**0.5)]),
        ("1/sqrt", [0.8, 0.8 / 2**0.5, 0.8 / 3**0.5, 0.4]),
    ],
)
def test_four_epochs_by_hand(schedule, expected):
    assert [scheduled(schedule, 0.8, epoch, 4) for epoch in (1, 2, 3, 4)] == pytest.approx(expected)

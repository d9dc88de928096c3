"""A start that knows some of the labels and features."""

from __future__ import annotations

import math

import numpy as np
import pytest

from awe_core.model import Model, initial_model
from awe_core.training.growth import NEW, grown, matched
from awe_core.training.trainer import TrainSettings, train
from tests.awe_core.blocks import InMemory, block

OLD = Model(
    np.array([[1, 2], [3, 4]], np.float32),
    np.array([[5, 6], [7, 8], [9, 10]], np.float32),
    0.5,
    {"U": np.full((2, 2), 3.0, np.float32), "V": np.full((3, 2), 4.0, np.float32)},
)


def test_names_are_matched_wherever_they_stand():
    assert matched(["d", "a", "c", "e"], ["a", "b", "c", "d"]).tolist() == [3, 0, 2, NEW]


def test_known_rows_are_kept_and_new_ones_begin_afresh():
    fresh = initial_model(3, 4, 2, 0, 0)
    new_U, new_V = fresh.U[2].copy(), fresh.V[[1, 3]].copy()
    model = grown(OLD, fresh, np.array([0, 1, NEW]), np.array([2, NEW, 0, NEW]))
    assert model.U[:2].tolist() == [[1, 2], [3, 4]]
    assert (model.U[2] == new_U).all()
    assert model.V[[0, 2]].tolist() == [[9, 10], [5, 6]]
    assert (model.V[[1, 3]] == new_V).all()
    assert model.accumulators["U"].tolist() == [[3, 3], [3, 3], [0, 0]]
    assert model.accumulators["V"].tolist() == [[4, 4], [0, 0], [4, 4], [0, 0]]
    assert OLD.V.tolist() == [[5, 6], [7, 8], [9, 10]]


def test_another_D_is_refused():
    with pytest.raises(ValueError, match="D = 2.*train.D is 3"):
        grown(OLD, initial_model(2, 3, 3, 0, 0), np.arange(2), np.arange(3))


def test_it_can_be_trained_on():
    start = grown(OLD, initial_model(3, 4, 2, 0, 0), np.array([0, 1, NEW]), np.array([0, 1, 2, NEW]))
    source = InMemory([block(np.eye(3), [[0], [1], [3]], 4)])
    settings = TrainSettings(D=2, C=math.inf, learning_rate=0.1, batch=4, epochs=1, patience=1, warm_rate=1.0)
    model = train(source, None, 4, 3, settings, 0, start=start).model
    assert (model.accumulators["V"] >= start.accumulators["V"]).all()
    assert np.abs(model.V[3] - start.V[3]).max() > np.abs(model.V[0] - start.V[0]).max()

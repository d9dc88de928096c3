"""The model: embedding a block, and where a training starts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.model import Model, initial_model


def test_an_embedding_is_the_sum_of_the_rows_of_U_weighted_by_the_features():
    model = Model(np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32), np.zeros((4, 2), np.float32))
    x = np.array([[1, 0, 2], [0, 0, 0]], dtype=np.float32)
    for features in (x, sp.csr_matrix(x)):
        embedding = model.embed(features)
        assert embedding.tolist() == [[11, 14], [0, 0]]
        assert embedding.dtype == np.float32
        assert embedding.flags.c_contiguous
    assert (model.labels, model.dimension) == (4, 2)


def test_no_rows_have_no_embeddings():
    model = initial_model(3, 2, 5, seed=0, iteration=0)
    assert model.embed(np.zeros((0, 3), np.float32)).shape == (0, 5)


def test_features_of_another_dimension_are_refused():
    model = initial_model(3, 2, 5, seed=0, iteration=0)
    with pytest.raises(ValueError, match="4 columns for a model trained on 3"):
        model.embed(np.zeros((2, 4), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_an_embedding_that_is_not_finite_is_an_error_that_names_the_row(bad):
    model = Model(np.full((2, 2), 2, np.float32), np.zeros((1, 2), np.float32))
    with pytest.raises(FloatingPointError, match="row 1 "):
        model.embed(np.array([[1, 1], [bad, 1]], dtype=np.float32))


def test_U_and_V_start_normal_with_standard_deviation_one_over_root_D():
    model = initial_model(2000, 1000, 16, seed=3, iteration=1)
    for rows in (model.U, model.V):
        assert rows.dtype == np.float32
        assert abs(rows.mean()) < 0.01
        assert rows.std() == pytest.approx(0.25, rel=0.03)
    assert model.accumulators == {}


def test_label_biases_start_at_0_and_all_else_as_without_them():
    plain, biased = (initial_model(7, 5, 4, 0, 0, label_bias) for label_bias in (False, True))
    assert (biased.U[:, -1] == 1).all()
    assert (biased.V[:, -1] == 0).all()
    assert np.array_equal(biased.U[:, :-1], plain.U[:, :-1])
    assert np.array_equal(biased.V[:, :-1], plain.V[:, :-1])


def test_the_start_is_a_function_of_seed_and_iteration():
    def start(seed: int, iteration: int) -> bytes:
        return initial_model(3, 2, 4, seed, iteration).U.tobytes()

    assert start(0, 0) == start(0, 0)
    assert len({start(0, 0), start(0, 1), start(1, 0)}) == 3

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import StandardScaler, normalize

from awe_core.scaling import combined, moments_of, prepared, scaled, standard, unit_length

MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-100, 100, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3),
)


@pytest.mark.parametrize("is_sparse", [False, True])
@given(x=MATRICES, cut=st.integers(0, 12))
def test_moments_of_parts_join_to_those_of_the_whole(is_sparse: bool, x: np.ndarray, cut: int) -> None:
    pieces = [x[:cut], x[cut:]]
    moments = combined(moments_of(sp.csr_matrix(piece) if is_sparse else piece) for piece in pieces)
    assert moments.rows == len(x)
    np.testing.assert_allclose(moments.mean, x.astype(np.float64).mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.squares / len(x), x.astype(np.float64).var(axis=0), rtol=1e-9, atol=1e-6)
    assert moments.present.tolist() == (x != 0).sum(axis=0).tolist()


def standardised(x: np.ndarray | sp.csr_matrix) -> np.ndarray | sp.csr_matrix:
    moments = moments_of(x)
    return standard(x, moments.mean, moments.deviation)


def test_standard_is_that_of_scikit_learn() -> None:
    x = np.random.default_rng(0).normal([3, 0, 7], [1, 5, 0], size=(200, 3)).astype(np.float32)
    np.testing.assert_allclose(
        standardised(x), StandardScaler().fit_transform(x.astype(np.float64)), rtol=1e-4, atol=1e-5
    )
    sparse = sp.random(200, 9, 0.3, "csr", np.float32, np.random.default_rng(0))
    scaled = standardised(sparse)
    expected = StandardScaler(with_mean=False).fit_transform(sparse.astype(np.float64))
    np.testing.assert_allclose(scaled.toarray(), expected.toarray(), rtol=1e-5)
    assert scaled.nnz == sparse.nnz


@given(MATRICES)
def test_tf_idf_is_that_of_scikit_learn(x: np.ndarray) -> None:
    columns = moments_of(x).columns("tf-idf")
    expected = TfidfTransformer().fit(sp.csr_matrix(x != 0)).transform(sp.csr_matrix(x, dtype=np.float64))
    np.testing.assert_allclose(scaled(x, "tf-idf", columns), expected.toarray(), rtol=1e-5)
    np.testing.assert_allclose(scaled(sp.csr_matrix(x), "tf-idf", columns).toarray(), expected.toarray(), rtol=1e-5)


@given(MATRICES, st.floats(0.1, 10))
def test_a_constant_stands_beside_what_was_scaled(x: np.ndarray, value: float) -> None:
    alone = scaled(x, "unit", None)
    for features in (x, sp.csr_matrix(x)):
        beside = prepared(features, "unit", None, None, value)
        dense = beside.toarray() if sp.issparse(beside) else beside
        assert dense.dtype == np.float32
        np.testing.assert_allclose(dense[:, :-1], alone, rtol=1e-5)
        assert (dense[:, -1] == np.float32(value)).all()
        assert not sp.issparse(beside) or beside.has_canonical_format


def test_a_constant_column_is_not_blown_up() -> None:
    x = np.full((1000, 1), 0.1, np.float32)
    assert np.abs(standardised(x)).max() < 1e-6


@given(MATRICES, st.sampled_from([1, 2]))
def test_unit_length_is_that_of_scikit_learn(x: np.ndarray, p: int) -> None:
    expected = normalize(x.astype(np.float64), f"l{p}")
    np.testing.assert_allclose(unit_length(x, p), expected, rtol=1e-6)
    np.testing.assert_allclose(unit_length(sp.csr_matrix(x), p).toarray(), expected, rtol=1e-6)


def test_no_rows_have_moments_that_change_nothing() -> None:
    x = np.ones((5, 2), np.float32)
    x[0] = 3
    joined = combined([moments_of(x[:0]), moments_of(x), moments_of(x[:0])])
    np.testing.assert_array_equal(joined.mean, moments_of(x).mean)
    np.testing.assert_array_equal(joined.squares, moments_of(x).squares)
    assert combined([moments_of(x[:0])]).deviation.tolist() == [1, 1]

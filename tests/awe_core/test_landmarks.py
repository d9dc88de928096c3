from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem

from awe_core.arrangement import hash_ids
from awe_core.landmarks import Landmarks, in_sample

IDS = 1000 + np.arange(40)
X = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
NEW = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)


def kernel(x: NDArray[np.float32], landmarks: NDArray[np.float32], gamma: float) -> NDArray[np.float64]:
    """exp(−γ ‖x − l‖²), one pair at a time."""
    apart = x.astype(np.float64)[:, None] - landmarks.astype(np.float64)
    return np.asarray(np.exp(-gamma * (apart**2).sum(axis=-1)))


def median(x: NDArray[np.float32]) -> float:
    """Of the squared distances of all pairs."""
    pairs = [((x[i].astype(np.float64) - x[j]) ** 2).sum() for i in range(len(x)) for j in range(i)]
    return float(np.median(pairs))


@pytest.mark.parametrize("components", [1, 7, 40])
def test_products_are_those_of_the_kernels_largest_eigenvectors(components: int) -> None:
    fitted = Landmarks.fit(0, IDS, X, 40, components, 0.7)
    assert fitted.gamma == pytest.approx(0.7 / median(X))
    values, vectors = np.linalg.eigh(kernel(X, X, fitted.gamma))
    kept = vectors[:, -components:] / values[-components:] @ vectors[:, -components:].T
    to_landmarks = kernel(NEW, X, fitted.gamma)
    features = fitted.map(NEW)
    assert features.shape == (9, components)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features @ features.T, to_landmarks @ kept @ to_landmarks.T, rtol=1e-5, atol=1e-5)


def test_between_landmarks_all_components_give_the_kernel_itself() -> None:
    fitted = Landmarks.fit(0, IDS, X, 40, 40, 1.0)
    features = fitted.map(X)
    np.testing.assert_allclose(features @ features.T, kernel(X, X, fitted.gamma), atol=1e-5)


def test_the_products_are_those_of_scikit_learns_nystroem() -> None:
    fitted = Landmarks.fit(0, IDS, X, 40, 40, 1.0)
    peer = Nystroem(gamma=fitted.gamma, n_components=40, random_state=0).fit(X.astype(np.float64))
    features, expected = fitted.map(NEW), peer.transform(NEW.astype(np.float64))
    np.testing.assert_allclose(features @ features.T, expected @ expected.T, rtol=1e-4, atol=1e-5)


@given(order=st.permutations(range(40)))
def test_the_order_of_the_sample_changes_no_bit(order: list[int]) -> None:
    whole, mixed = (Landmarks.fit(3, IDS[of], X[of], 25, 6, 1.0) for of in (np.arange(40), np.array(order)))
    assert np.array_equal(whole.projection, mixed.projection)
    assert np.array_equal(whole.map(NEW), mixed.map(NEW))


def test_landmarks_are_the_rows_of_the_smallest_hashes() -> None:
    chosen = np.argsort(hash_ids(5, "landmarks", IDS))[:12]
    np.testing.assert_array_equal(Landmarks.fit(5, IDS, X, 12, 3, 1.0).points, X[chosen])
    assert not np.array_equal(Landmarks.fit(6, IDS, X, 12, 3, 1.0).points, X[chosen])


@pytest.mark.parametrize("seed", range(5))
def test_the_sample_has_the_rows_of_the_smallest_hashes_and_few_more(seed: int) -> None:
    ids = np.arange(20_000)
    drawn = in_sample(seed, ids, 400, len(ids))
    assert 400 <= drawn.sum() < 700
    assert drawn[np.argsort(hash_ids(seed, "landmarks", ids))[:400]].all()
    assert in_sample(seed, ids, len(ids), len(ids)).all()


def test_sparse_rows_are_mapped_as_dense_ones() -> None:
    sparse = np.where(X > 0.5, X, 0).astype(np.float32)
    dense = Landmarks.fit(0, IDS, sparse, 20, 5, 1.0)
    of_sparse = Landmarks.fit(0, IDS, sp.csr_matrix(sparse), 20, 5, 1.0)
    assert sp.issparse(of_sparse.points)
    np.testing.assert_allclose(of_sparse.map(sp.csr_matrix(NEW)), dense.map(NEW), rtol=1e-4, atol=1e-5)


def test_a_row_is_mapped_alike_whoever_stands_beside_it() -> None:
    fitted = Landmarks.fit(0, IDS, X, 40, 10, 1.0)
    many = np.tile(NEW, (200, 1))  # more than are mapped at once
    np.testing.assert_allclose(fitted.map(many)[-9:], np.concatenate([fitted.map(row[None]) for row in NEW]), atol=1e-6)
    assert fitted.map(NEW[:0]).shape == (0, 10)


def test_where_landmarks_are_alike_no_component_is_made_of_rounding() -> None:
    twice = np.concatenate([X[:20], X[:20]])
    features = Landmarks.fit(0, IDS, twice, 40, 30, 1.0).map(NEW)
    assert (np.abs(features[:, :20]).max(axis=0) > 0).all()
    assert not features[:, 20:].any()


def test_a_column_of_one_large_value_changes_nothing() -> None:
    def beside(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.hstack([x, np.full((len(x), 1), 1e8, np.float32)])

    without, far = Landmarks.fit(0, IDS, X, 40, 10, 1.0), Landmarks.fit(0, IDS, beside(X), 40, 10, 1.0)
    assert far.gamma == pytest.approx(without.gamma)
    products = (found @ found.T for found in (without.map(NEW), far.map(beside(NEW))))
    np.testing.assert_allclose(*products, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 8])
def test_few_rows_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"^{count} rows of train make no 9 components; lower data.components"):
        Landmarks.fit(0, IDS[:count], X[:count], 20, 9, 1.0)


def test_a_few_rows_that_are_far_out_leave_the_others_apart() -> None:
    x = np.random.default_rng(2).normal(size=(300, 8)).astype(np.float32)
    x[:10, 3] = 1e6
    found = Landmarks.fit(0, np.arange(300), x, 100, 20, 1.0).map(x)
    assert np.isfinite(found).all()
    assert len(np.unique(found[10:].round(6), axis=0)) == 290


@pytest.mark.parametrize("d", [3, 50])
def test_rows_that_are_nearly_all_the_same_are_refused(d: int) -> None:
    x = np.random.default_rng(2).normal(5, 1, size=(40, d)).astype(np.float32)
    x[:30] = x[0]
    with pytest.raises(ValueError, match="half of the pairs of 40 landmarks, or more, have the same x; leave out"):
        Landmarks.fit(0, IDS, x, 40, 2, 1.0)

"""The pair matrix: given, and left as it was given. What it shares with the others is in test_joint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from awe_core.affinities.pair_matrix import PairMatrix, pairs_of_model
from tests.awe_core.affinities.test_joint_training import ITEMS, PAIRS, SETTINGS, fitted


@given(st.integers(0, 2**20), st.integers(1, 9), st.integers(1, 7), st.integers(1, 9))
def test_the_pairs_of_a_model_are_the_best_labels_of_every_feature(seed: int, d: int, labels: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    U, V = (rng.integers(-2, 3, (rows, 2)).astype(np.float32) for rows in (d, labels))  # so that there are ties
    pairs = pairs_of_model(U, V, most)
    assert pairs.has_sorted_indices
    assert pairs.dtype == np.float32
    for feature in range(d):
        z = [float(U[feature] @ V[label]) for label in range(labels)]
        best = sorted(range(labels), key=lambda label: (-z[label], label))[:most]
        assert pairs[feature].indices.tolist() == sorted(best)
        assert pairs[feature].data == pytest.approx([1 / (1 + np.exp(-z[label])) for label in sorted(best)])


@pytest.mark.parametrize("sampler", ["geometric", "rounds", "pooled"])
def test_all_pairs_of_1_are_wsabie_listed_or_not(sampler: str) -> None:
    every = sp.csr_matrix(np.ones((ITEMS, ITEMS), np.float32))
    none = sp.csr_matrix((ITEMS, ITEMS), dtype=np.float32)
    wsabie = fitted(None, epochs=2, sampler=sampler).model
    for ours in (PairMatrix(0.0, "", every), PairMatrix(1.0, "", none), PairMatrix(1.0, "", every)):
        model = fitted(ours, epochs=2, sampler=sampler).model
        np.testing.assert_allclose(model.U, wsabie.U, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(model.V, wsabie.V, rtol=1e-3, atol=1e-4)


def test_training_leaves_the_pairs_as_they_were_and_the_model_has_them() -> None:
    model = fitted(PAIRS, epochs=2).model
    assert PAIRS.listed is not None
    for name, given_ in PAIRS.first_tensors(ITEMS, ITEMS, np.random.default_rng(0)).items():
        assert model.own[name].tobytes() == given_.tobytes()
    assert set(model.accumulators) == {"U", "V"}
    x = np.eye(ITEMS, dtype=np.float32)
    G = np.where(PAIRS.listed.toarray() != 0, PAIRS.listed.toarray(), PAIRS.other)
    np.testing.assert_allclose(model.f(x), G * (model.U @ model.V.T), rtol=1e-4, atol=1e-6)


def test_a_training_that_goes_on_from_another_begins_with_its_own_pairs() -> None:
    before = fitted(PAIRS, epochs=1).model
    other = replace(PAIRS, source="others", listed=sp.identity(ITEMS, dtype=np.float32, format="csr"))
    model = fitted(other, before, epochs=1).model
    assert model.own["pair_labels"].tolist() == list(range(ITEMS))
    assert set(model.accumulators) == {"U", "V"}


@pytest.mark.parametrize("listed", [None, sp.csr_matrix((ITEMS, 3), dtype=np.float32)])
def test_pairs_of_other_features_and_labels_are_refused(listed: sp.csr_matrix | None) -> None:
    with pytest.raises(ValueError, match=r"the pairs are of .* features and labels, and the data of \(12, 12\)"):
        fitted(replace(PAIRS, listed=listed))


def test_it_is_described_without_its_pairs() -> None:
    assert replace(SETTINGS, affinity=PAIRS).what_decides()["affinity"] == {
        "kind": "pair-matrix",
        "other": 0.5,
        "source": "random",
    }

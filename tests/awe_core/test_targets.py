"""y in all its forms becomes label sets by id, and predictions take the form of y."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from awe_core.targets import Targets

LABELS = st.one_of(st.integers(-(2**62), 2**62), st.just(0))
SETS = st.lists(st.sets(st.text(max_size=3)), min_size=1, max_size=6).filter(any)


@given(SETS)
def test_label_sets_come_back_whatever_the_labels_are_called(sets: list[set[str]]) -> None:
    targets = Targets.of(sets)
    encoded = targets.encode(sets)
    assert targets.classes.tolist() == sorted(set().union(*sets))
    width = max(map(len, sets))
    padded = np.full((len(sets), width), -1)
    for row, labels in enumerate(np.split(encoded.indices, encoded.indptr[1:-1])):
        padded[row, : len(labels)] = labels
    assert [set(labels) for labels in targets.decode(padded)] == sets


@given(st.lists(st.one_of(LABELS, st.booleans()), min_size=1, max_size=8))
def test_classes_come_back(y: list[int]) -> None:
    targets = Targets.of(y)
    encoded = targets.encode(y)
    assert np.diff(encoded.indptr).tolist() == [1] * len(y)
    assert targets.decode(encoded.indices[:, None].astype(np.int64)).tolist() == np.asarray(y).tolist()


def test_lists_of_one_length_are_no_indicator_unless_they_hold_only_0_and_1() -> None:
    assert Targets.of([[0, 1], [1, 0]]).kind == "indicator"
    assert Targets.of([[0, 1], [1, 2]]).kind == "lists"
    assert Targets.of([{0, 1}, {1, 0}]).kind == "lists"
    assert Targets.of([["0", "1"], ["1", "0"]]).kind == "lists"
    assert Targets.of([[1], [0]]).kind == "lists"
    assert Targets.of([(), (1, 0)]).kind == "lists"


def test_indicators_keep_their_type_and_forget_stored_zeros() -> None:
    stored = sp.csr_matrix((np.array([0.0, 1.0]), [0, 1], [0, 2]), shape=(1, 3))
    targets = Targets.of(stored)
    assert targets.encode(stored).indices.tolist() == [1]
    assert Targets.of(np.array([[True, False]])).decode(np.array([[1, -1]])).tolist() == [[False, True]]


def test_another_form_width_or_label_than_at_first_is_refused() -> None:
    with pytest.raises(ValueError, match="y is given as classes, but as indicator when"):
        Targets.of(np.eye(3)).encode([0, 1, 2])
    with pytest.raises(ValueError, match="y has 2 columns, but the estimator knows 3 labels"):
        Targets.of(np.eye(3)).encode(np.eye(2))
    with pytest.raises(ValueError, match="the label 'b', which is not among the classes"):
        Targets.of([["a"]]).encode([["b"]])
    assert Targets.of([["a"]]).encode([["b"], ["a"]], strict=False).toarray().tolist() == [[0], [1]]
    with pytest.raises(ValueError, match="indicator of 3 columns, but classes has 2"):
        Targets.of(np.eye(3), classes=["a", "b"])

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.errors import DataError
from pipelines.formats import npz
from pipelines.formats.rows import Given, block_rows
from tests.pipelines.formats.reading import blocks_of, labels_of, rejects_of, survey_of, x_of


def archive(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


X = np.arange(12, dtype=np.float32).reshape(4, 3)


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int32, np.uint8]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=7),
        elements=st.integers(0, 200),
    ),
    st.sampled_from("CF"),
)
def test_what_was_saved_is_read_back_as_float32(x: np.ndarray, order: str) -> None:
    y = np.arange(len(x)) % 3
    blocks = blocks_of(npz, archive(X=np.asarray(x, order=order), y=y))
    np.testing.assert_array_equal(x_of(blocks, x.shape[1]), x.astype(np.float32))
    assert labels_of(blocks) == [[label] for label in y.tolist()]
    assert np.concatenate([block.rows for block in blocks]).tolist() == list(range(len(x)))


def test_a_large_x_comes_in_blocks_of_bounded_size() -> None:
    x = np.ones((5000, 700), np.float16)
    blocks = blocks_of(npz, archive(X=x, y=np.zeros(5000, np.uint8)))
    assert len(blocks) > 1
    assert max(block.features.nbytes for block in blocks) <= 4 << 20
    assert sum(map(len, blocks)) == 5000
    assert block_rows(10**8) == 1


def test_label_names_make_labels_places_in_the_list() -> None:
    content = archive(X=X, y=np.array([2, 0, 1, 2]), label_names=np.array(["dog", "cat", "né"]))
    survey = survey_of(npz, content)
    assert survey.label_names == ("dog", "cat", "né")
    assert labels_of(blocks_of(npz, content)) == [[2], [0], [1], [2]]


def test_labels_given_as_names_are_found_in_the_list() -> None:
    content = archive(X=X, y=np.array(["b", "a", "c", "b"]), label_names=np.array(["a", "b"]))
    blocks = blocks_of(npz, content)
    assert labels_of(blocks) == [[1], [0], [1]]
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(2, "label c is unknown (not in label_names)")]


def test_an_indicator_gives_the_columns_that_are_one() -> None:
    y = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=bool)
    assert labels_of(blocks_of(npz, archive(X=X, Y=y))) == [[0, 2], [], [1], [0, 1, 2]]


def test_a_wide_indicator_with_a_strange_value_loses_that_row_only() -> None:
    y = np.array([[1, 0], [0, 7], [0, 1], [1, 1]])
    blocks = blocks_of(npz, archive(X=X, Y=y, label_names=np.array(["a", "b"])))
    assert labels_of(blocks) == [[0], [1], [0, 1]]
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(1, "label 1 is 7 (must be 0 or 1)")]


@pytest.mark.parametrize("value", [np.nan, 2.0, -1.0, 0.5])
def test_one_strange_cell_makes_no_ids_of_an_indicator(value: float) -> None:
    y = np.zeros((20, 3))
    y[np.arange(20), np.arange(20) % 3] = 1
    y[7, 2] = value
    content = archive(X=np.ones((20, 2)), Y=y)
    blocks = blocks_of(npz, content)
    assert survey_of(npz, content).indicator
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(7, f"label 2 is {value} (must be 0 or 1)")]
    assert labels_of(blocks) == [[i % 3] for i in range(20) if i != 7]


@pytest.mark.parametrize(
    "y",
    [
        np.array([[0, 1], [1, 2], [0, 2], [1, 0]]),
        np.array([[1, 0, 0], [0, 1, 7], [0, 0, 1], [5, 0, 0]]),
        np.array([[0], [1], [1], [0]]),
        np.array([[0.0], [1.0], [np.nan], [0.0]]),
    ],
)
def test_a_y_that_could_be_ids_or_an_indicator_is_not_guessed(y: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"could be ids or an indicator; give ids as y with one axis, or .* 0 and 1"):
        survey_of(npz, archive(X=X, Y=y))


def test_label_names_say_what_y_is() -> None:
    doubtful = np.array([[0, 1], [1, 2], [0, 2], [1, 0]])
    ids = archive(X=X, Y=doubtful, label_names=np.array(["a", "b", "c"]))
    assert survey_of(npz, ids).indicator is False
    assert labels_of(blocks_of(npz, ids)) == doubtful.tolist()
    indicator = archive(X=X, Y=doubtful, label_names=np.array(["a", "b"]))
    assert survey_of(npz, indicator).indicator is True
    assert labels_of(blocks_of(npz, indicator)) == [[1], [0]]


def test_a_column_of_truth_values_is_an_indicator_of_one_label() -> None:
    content = archive(X=X, Y=np.array([[True], [False], [True], [False]]))
    assert labels_of(blocks_of(npz, content)) == [[0], [], [0], []]


def test_an_indicator_has_a_column_for_each_name() -> None:
    y = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=bool)
    with pytest.raises(DataError, match=r"Y has 3 columns but label_names has 4; an indicator has one per name"):
        survey_of(npz, archive(X=X, Y=y, label_names=np.array(list("abcd"))))


def test_several_ids_a_row() -> None:
    y = np.array([[5, 2], [3, 9], [2, 5], [4, 4]])
    content = archive(X=X, Y=y)
    assert labels_of(blocks_of(npz, content)) == y.tolist()
    assert survey_of(npz, content).label_values.tolist() == [2, 3, 4, 5, 9]


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (np.array([0, -1, 1, 0]), "label -1 is negative"),
        (np.array([0, 1.5, 1, 0]), "label 1.5 is not an integer of 0 or more"),
        (np.array([0, np.nan, 1, 0]), "label nan is not an integer of 0 or more"),
        (np.array([0, 1e30, 1, 0]), "label 1e+30 is not an integer of 0 or more"),
        (np.array([0, 2**63, 1, 0], dtype=np.uint64), f"label {2**63} is not an integer of 0 or more"),
    ],
)
def test_a_label_that_is_none_refuses_its_row(y: np.ndarray, reason: str) -> None:
    blocks = blocks_of(npz, archive(X=X, y=y))
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(1, reason)]
    assert labels_of(blocks) == [[0], [1], [0]]


def test_a_label_beyond_the_list_is_unknown() -> None:
    content = archive(X=X, y=np.array([0, 1, 2, 0]), label_names=np.array(["a", "b"]))
    assert [r.reason for r in rejects_of(blocks_of(npz, content))] == ["label 2 is unknown (label_names has 2)"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_x_that_is_not_finite_in_float32_refuses_its_row(value: float) -> None:
    x = X.astype(np.float64)
    x[2, 1] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blocks = blocks_of(npz, archive(X=x, y=np.arange(4)))
    (rejected,) = rejects_of(blocks)
    assert (rejected.line, rejected.reason[:9]) == (2, "feature 1")
    assert np.concatenate([block.rows for block in blocks]).tolist() == [0, 1, 3]


def test_ids_and_weights_are_taken_and_a_negative_weight_is_refused() -> None:
    content = archive(X=X, y=np.arange(4), id=np.array([9, 8, 7, 6]), weight=np.array([1.0, -1.0, 0.0, 2.5]))
    (block,) = blocks_of(npz, content)
    assert block.ids.tolist() == [9, 7, 6]
    assert block.weight.tolist() == [1.0, 0.0, 2.5]
    assert [r.reason for r in block.rejects] == ["weight is -1.0 (must be 0 or more, and finite)"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole .npz file"),
        (b"PK\x03\x04 and no more", "not a whole .npz file"),
        (archive(X=X, y=np.arange(4))[:-40], "not a whole .npz file"),
        (archive(y=np.arange(4)), "no array X"),
        (archive(X=X), "no array y or Y"),
        (archive(X=X, y=np.arange(4), Y=np.arange(4)), "both y and Y"),
        (archive(X=X, y=np.arange(3)), "X has 4 rows but y has 3"),
        (archive(X=X[0], y=np.arange(3)), "X must be numbers"),
        (archive(X=X[:0], y=np.arange(0)), "X has no row"),
        (archive(X=X.astype(str), y=np.arange(4)), "X must be numbers"),
        (archive(X=X, y=np.array([None, 1, 2, 3])), "pickled objects"),
        (archive(X=X, y=np.arange(4), label_names=np.array(["a", "a"])), "a name stands twice"),
        (archive(X=X, y=np.arange(4), label_names=np.zeros(0, "U1")), "label_names is empty"),
        (archive(X=X, Y=np.zeros((4, 0))), "Y has no column"),
        (archive(X=X, y=np.zeros((4, 0), "U1")), "y has no column"),
        (archive(X=X[:, :0], y=np.arange(4)), "X has no column"),
        (archive(X=X, y=np.arange(4), weight=np.ones((4, 2))), "weight must be numbers with one axis"),
        (archive(X=X, y=np.arange(4), weight=np.array(list("abcd"))), "weight must be numbers with one axis"),
    ],
)
def test_a_file_that_is_no_such_archive_ends_with_one_line(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as raised:
        blocks_of(npz, content)
    assert message in str(raised.value)
    assert str(raised.value).startswith("data/file")
    assert "\n" not in str(raised.value)


@settings(max_examples=25)
@given(st.data())
def test_damage_anywhere_is_a_data_error_or_is_not_seen(data: st.DataObject) -> None:
    content = bytearray(archive(X=X, y=np.arange(4), label_names=np.array(list("abcd"))))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        blocks = blocks_of(npz, bytes(content))
    except DataError:
        return
    assert sum(len(block) + len(block.rejects) for block in blocks) == 4


def test_rows_without_labels_are_read_where_labels_are_not_asked_for() -> None:
    for more in ({}, {"y": np.full(4, -1)}, {"Y": np.full((4, 2), "what")}):
        blocks = blocks_of(npz, archive(X=X, **more), Given(labelled=False))
        np.testing.assert_array_equal(x_of(blocks, 3), X)
        assert labels_of(blocks) == [[]] * 4

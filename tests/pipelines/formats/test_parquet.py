from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import DataError
from pipelines.formats import parquet
from pipelines.formats.rows import Given, ids_of_keys
from tests.pipelines.formats.reading import blocks_of, labels_of, rejects_of, survey_of, x_of


def file_of(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


DENSE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def twice(name: str) -> bytes:
    table = pa.table({"features": DENSE, "label": [1, 2, 3]})
    buffer = io.BytesIO()
    pq.write_table(table.append_column(name, table.column(name)), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32(), 2), pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.int16())]
)
def test_dense_features_of_any_list_type(kind: pa.DataType) -> None:
    blocks = blocks_of(parquet, file_of(features=pa.array(DENSE, kind), label=[4, 0, 4]))
    np.testing.assert_array_equal(x_of(blocks, 2), DENSE)
    assert labels_of(blocks) == [[4], [0], [4]]


def test_sparse_features_are_sorted() -> None:
    content = file_of(indices=[[3, 1], [], [0]], values=[[0.5, 1.5], [], [2.0]], labels=[["b", "a"], [], ["b"]])
    survey = survey_of(parquet, content)
    blocks = blocks_of(parquet, content)
    assert (survey.d, survey.sparse, survey.label_values.tolist()) == (4, True, ["a", "b"])
    np.testing.assert_array_equal(x_of(blocks, 4), [[0, 1.5, 0, 0.5], [0] * 4, [2, 0, 0, 0]])
    assert labels_of(blocks) == [["b", "a"], [], ["b"]]


def test_ids_are_taken_and_text_becomes_key_and_id() -> None:
    (block,) = blocks_of(parquet, file_of(features=DENSE, label=[1, 2, 3], id=[7, 5, 6]))
    assert (block.ids.tolist(), block.keys) == ([7, 5, 6], None)
    (block,) = blocks_of(parquet, file_of(features=DENSE, label=[1, 2, 3], id=["x", "y", "x"]))
    assert block.keys.tolist() == ["x", "y", "x"]
    assert block.ids.tolist() == ids_of_keys(block.keys).tolist()
    assert block.ids[0] == block.ids[2] != block.ids[1]


def test_labels_that_are_whole_floats_are_integers() -> None:
    content = file_of(features=DENSE, label=[4.0, None, 0.0])
    assert survey_of(parquet, content).label_values.tolist() == [0, 4]
    assert labels_of(blocks_of(parquet, content)) == [[4], [], [0]]


def test_a_dictionary_of_strings_is_read_as_strings() -> None:
    label = pa.array(["a", "b", "a"]).dictionary_encode()
    assert labels_of(blocks_of(parquet, file_of(features=DENSE, label=label))) == [["a"], ["b"], ["a"]]


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"features": [[1.0, 2.0], [3.0], [5.0, 6.0]]}, "1 features instead of 2"),
    ({"features": [[1.0, 2.0], None, [5.0, 6.0]]}, "no features (null)"),
    ({"features": [[1.0, 2.0], [1.0, None], [5.0, 6.0]]}, "a feature is missing (null)"),
    ({"features": [[1.0, 2.0], [float("nan"), 1.0], [5.0, 6.0]]}, "feature 0 is nan (must be finite in float32)"),
    ({"features": [[1.0, 2.0], [1e300, 1.0], [5.0, 6.0]]}, "feature 0 is inf (must be finite in float32)"),
    ({"label": [1, -2, 3]}, "label -2 is negative"),
    ({"label": pa.array([1, 2**63, 3], pa.uint64())}, f"label {2**63} is too large"),
    ({"label": [1.0, 1.5, 3.0]}, "label 1.5 is not an integer"),
    ({"label": [1.0, float("nan"), 3.0]}, "label nan is not an integer"),
    ({"label": [1.0, 1e30, 3.0]}, "label 1e+30 is too large"),
    ({"label": [1.0, -2.0, 3.0]}, "label -2.0 is negative"),
    ({"labels": [[1.0], [2.0, 0.5], [3.0]], "label": None}, "label 0.5 is not an integer"),
    ({"id": pa.array([1, None, 3])}, "id is missing (null)"),
    ({"weight": [1.0, -0.5, 1.0]}, "weight is -0.5 (must be 0 or more, and finite)"),
    ({"weight": [1.0, None, 1.0]}, "weight is nan (must be 0 or more, and finite)"),
]


@pytest.mark.parametrize(("columns", "reason"), BAD_ROWS)
def test_a_bad_row_is_refused_and_the_others_stay(columns: dict[str, Any], reason: str) -> None:
    given = {"features": DENSE, "label": [1, 2, 3], **columns}
    blocks = blocks_of(parquet, file_of(**{name: column for name, column in given.items() if column is not None}))
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(1, reason)]
    assert labels_of(blocks) == [[1], [3]]
    np.testing.assert_array_equal(x_of(blocks, 2), [DENSE[0], DENSE[2]])


@pytest.mark.parametrize(
    ("indices", "values", "reason"),
    [
        ([1, 1], [1.0, 2.0], "feature 1 is given twice"),
        ([-1], [1.0], "feature index -1 is negative"),
        ([2**40], [1.0], f"feature index {2**40} is too large (must be below {2**27})"),
        ([1, 2], [1.0], "2 indices but 1 values"),
        (None, [1.0], "no features (null)"),
        ([None], [1.0], "a feature index is missing (null)"),
    ],
)
def test_a_bad_sparse_row_is_refused_and_the_others_stay(indices: Any, values: Any, reason: str) -> None:
    lists = pa.array([[0], indices, [2]], pa.list_(pa.int64()))
    blocks = blocks_of(parquet, file_of(indices=lists, values=[[1.0], values, [3.0]], label=[1, 2, 3]))
    assert [(r.line, r.reason) for r in rejects_of(blocks)] == [(1, reason)]
    np.testing.assert_array_equal(x_of(blocks, 3), [[1, 0, 0], [0, 0, 3]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole Parquet file"),
        (file_of(features=DENSE, label=[1, 2, 3])[:-20], "not a whole Parquet file"),
        (file_of(features=pa.array([], pa.list_(pa.float32())), label=pa.array([], pa.int32())), "no row"),
        (file_of(x=DENSE, label=[1, 2, 3]), "give either a column features or columns indices and values"),
        (file_of(features=DENSE, y=[1, 2, 3]), "give one column labels or label"),
        (file_of(features=DENSE, label=[True, False, True]), "labels must be integers or strings"),
        (file_of(features=pa.array([[], []], pa.list_(pa.float32())), label=[1, 2]), "no row has a feature"),
        (twice("label"), "column label stands twice"),
        (twice("features"), "column features stands twice"),
        (file_of(features=["a", "b", "c"], label=[1, 2, 3]), "it must hold lists of numbers"),
    ],
)
def test_a_file_that_is_no_such_table_ends_with_one_line(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as raised:
        blocks_of(parquet, content)
    assert message in str(raised.value)
    assert str(raised.value).startswith("data/file: ")
    assert "\n" not in str(raised.value)


def test_damage_inside_a_file_is_a_data_error() -> None:
    content = bytearray(file_of(features=np.random.default_rng(0).random((500, 8)).tolist(), label=list(range(500))))
    content[4:60] = bytes(56)  # the header of the first page
    with pytest.raises(DataError):
        blocks_of(parquet, bytes(content))


def test_rows_without_labels_are_read_where_labels_are_not_asked_for() -> None:
    for more in ({}, {"label": [-1, 2, 3]}, {"labels": [[True], [], []]}):
        blocks = blocks_of(parquet, file_of(features=DENSE, **more), Given(labelled=False))
        np.testing.assert_array_equal(x_of(blocks, 2), DENSE)
        assert labels_of(blocks) == [[], [], []]

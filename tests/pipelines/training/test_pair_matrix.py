"""Files of (feature, label) pairs: what was written is read, and a wrong row is named."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import ConfigError, DataError
from pipelines.training.pair_matrix import find_pairs, read_pairs
from tests.pipelines.test_joint_kinds import context, lane, trained

__all__ = ["trained"]
NAMES = ["ant", "bee", "cat"]
GOOD: dict[str, Any] = {"feature": [3, 0, 3], "label": ["cat", "ant", "bee"], "weight": [0.5, 1.0, 0.0]}


def content(columns: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@given(
    st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 2)), st.floats(0, 8, width=32), max_size=15),
    st.sampled_from([pa.int32(), pa.uint16(), pa.string(), pa.large_string()]),
    st.randoms(use_true_random=False),
)
def test_pairs_in_any_order_by_id_or_by_name(pairs: dict[tuple[int, int], float], kind: pa.DataType, rng: Any) -> None:
    rows = list(pairs.items())
    rng.shuffle(rows)
    labels = [NAMES[label] if "string" in str(kind) else label for (_, label), _ in rows]
    columns = {
        "feature": pa.array([feature for (feature, _), _ in rows], pa.int64()),
        "label": pa.array(labels, kind),
        "weight": pa.array([weight for _, weight in rows], pa.float32()),
    }
    found = read_pairs(content(columns), "pairs", 5, NAMES)
    assert found.shape == (5, 3)
    assert found.has_canonical_format
    assert found.indices.dtype == found.indptr.dtype == np.int32
    entries = np.repeat(np.arange(5), np.diff(found.indptr)).tolist(), found.indices.tolist()
    assert dict(zip(zip(*entries, strict=True), found.data.tolist(), strict=True)) == pairs


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"feature": [3, 9, 3]}, "row 1: feature 9, and the data has 5 features"),
        ({"feature": [3, 0, -1]}, "row 2: feature -1"),
        ({"feature": [3, None, 1]}, "row 1: feature is missing"),
        ({"feature": [3.0, 0.0, 1.0]}, "column 'feature' is double, and has to be of whole numbers"),
        ({"label": ["cat", "ant", "dog"]}, "row 2: no label of the data is called 'dog'"),
        ({"label": [0, 3, 1]}, "row 1: label 3, and the data has 3 labels"),
        ({"label": ["cat", "ant", "cat"]}, "row 2: feature and label are those of row 0"),
        ({"weight": [0.5, float("nan"), 0.0]}, "row 1: weight nan"),
        ({"weight": [-0.5, 1.0, 0.0]}, "row 0: weight -0.5, and an affinity is a number of 0 or more"),
        ({"weight": [0.5, 1e300, 0.0]}, "row 1: weight 1e\\+300"),
        ({"weight": ["a", "b", "c"]}, "column 'weight' is string"),
        ({"weight": None}, "has no column 'weight'; a file of pairs has feature, label, weight"),
    ],
)
def test_a_wrong_row_is_named_with_its_file(wrong: dict[str, Any], words: str) -> None:
    columns = {name: values for name, values in {**GOOD, **wrong}.items() if values is not None}
    with pytest.raises(DataError, match=f"^/data/pairs: {words}") as refused:
        read_pairs(content(columns), "/data/pairs", 5, NAMES)
    assert "\n" not in str(refused.value)


def test_what_is_no_parquet_is_refused() -> None:
    with pytest.raises(DataError, match="^/data/pairs: not a whole Parquet file"):
        read_pairs(content(GOOD)[:-9], "/data/pairs", 5, NAMES)


def test_a_file_that_is_not_there_is_refused_before_wsabie_is_trained(trained: Any) -> None:
    made = context(trained, "pair-matrix", pairs="/nowhere/pairs.parquet")
    with pytest.raises(ConfigError, match=r"^affinity\.pairs: /nowhere/pairs\.parquet: there is no such file"):
        find_pairs(made, lane(made), 0)

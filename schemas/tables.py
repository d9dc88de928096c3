"""The Arrow schema of every dataset: the columns that others may rely on."""

from __future__ import annotations

import pyarrow as pa

LIST_INT = pa.list_(pa.int32())
LIST_FLOAT = pa.list_(pa.float32())

SPLITS = ("train", "validation", "test")
REFIT = "refit"
"""Examples beside the splits, where they are users: a row a user with the items of train and validation."""
EXAMPLES = (*SPLITS, REFIT)


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def vector(dimension: int) -> pa.DataType:
    """A dense float32 vector of a fixed length."""
    return pa.list_(pa.float32(), dimension)


def _feature_fields(dimension: int, sparse: bool) -> list[pa.Field]:
    if sparse:
        return [_required("indices", LIST_INT), _required("values", LIST_FLOAT)]
    return [_required("features", vector(dimension))]


def examples(dimension: int, sparse: bool, key: bool = False) -> pa.Schema:
    """x and its labels: `labels` sorted, `seen` sorted (never ranked, drawn or counted), `weight` of the step."""
    return pa.schema(
        [
            _required("id", pa.int64()),
            *([pa.field("key", pa.string())] if key else []),
            *_feature_fields(dimension, sparse),
            _required("labels", LIST_INT),
            _required("seen", LIST_INT),
            _required("weight", pa.float32()),
        ]
    )


def reweighted(dimension: int, sparse: bool, key: bool = False) -> pa.Schema:
    """Examples with their candidates (sorted) and the affinity G(x, y) of each: a training set that stands alone."""
    extra = [_required("candidates", LIST_INT), _required("affinity", LIST_FLOAT)]
    return pa.schema([*examples(dimension, sparse, key), *extra])


def labels() -> pa.Schema:
    """Label names by id, how many train rows have the label, and the labels that share its parent."""
    return pa.schema(
        [
            _required("id", pa.int32()),
            _required("name", pa.string()),
            _required("count", pa.int64()),
            _required("siblings", LIST_INT),
        ]
    )


def landmarks(dimension: int, sparse: bool, components: int) -> pa.Schema:
    """Rows of train, scaled, by which x is mapped to the space of a kernel, and the map; γ is the same in every row."""
    projection = _required("projection", pa.list_(pa.float64(), components))
    return pa.schema([*_feature_fields(dimension, sparse), projection, _required("gamma", pa.float64())])


def embeddings(dimension: int) -> pa.Schema:
    """Ux of every example, and its labels: all that the join and the affinity read."""
    return pa.schema(
        [_required("id", pa.int64()), _required("embedding", vector(dimension)), _required("labels", LIST_INT)]
    )


def neighbours() -> pa.Schema:
    """The nearest rows of a base by (distance, id), nearest first: as many as there are, at most n."""
    return pa.schema(
        [
            _required("id", pa.int64()),
            _required("neighbours", pa.list_(pa.int64())),
            _required("distances", pa.list_(pa.float64())),
        ]
    )


def predictions(key: bool = False) -> pa.Schema:
    """The best labels of every example, best first, with their scores."""
    return pa.schema(
        [
            _required("id", pa.int64()),
            *([pa.field("key", pa.string())] if key else []),
            _required("labels", LIST_INT),
            _required("scores", LIST_FLOAT),
        ]
    )


def explained(key: bool = False) -> pa.Schema:
    """Predictions and why: parallel to `labels`, names, xᵀUᵀVy + c, G, and the neighbours that have the label.

    With s and b of the manifest's facts a score is (s · `affinity` + b) · `linear`; where there are no such facts,
    `linear` itself. Of the k-NN affinity G is the sum, or maximum, of `weights`.
    """
    doubles = pa.list_(pa.float64())
    extra = [("names", pa.list_(pa.string())), ("linear", doubles), ("affinity", doubles)]
    extra += [("neighbours", pa.list_(pa.list_(pa.int64()))), ("weights", pa.list_(doubles))]
    return pa.schema([*predictions(key), *(_required(name, kind) for name, kind in extra)])


def rejects() -> pa.Schema:
    """Rows that were refused: where they stood, why, and what they looked like."""
    return pa.schema(
        [
            _required("source", pa.string()),
            _required("line", pa.int64()),
            _required("reason", pa.string()),
            _required("raw", pa.string()),
        ]
    )

"""Parquet: `features` (lists of numbers) or `indices` and `values`; `labels` (lists) or `label`; maybe id, weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.formats.rows import (
    BLOCK_ROWS,
    Distinct,
    Given,
    RawBlock,
    Refused,
    Survey,
    Values,
    block_rows,
    ids_of_keys,
    objects,
    screened,
    sorted_features,
    sparse_rows,
    to_float32,
)

_FEATURES, _INDICES, _VALUES = "features", "indices", "values"
_READ = (_FEATURES, _INDICES, _VALUES, "labels", "label", "id", "weight")
_SHOWN_VALUES = 16
LARGEST_INT64 = np.uint64(2**63 - 1)


def survey(file: BinaryIO, path: str, given: Given) -> Survey:
    """Rows and width; distinct labels. Dense lists that vary in length: most rows' length is the width.

    Raises
    ------
    DataError
        Not a Parquet file or a damaged one, no row, a column missing or of a type that does not fit.
    """
    with _opened(file, path) as parquet:
        schema = parquet.schema_arrow
        sparse = _check_columns(schema, path)
        rows = parquet.metadata.num_rows
        if not rows:
            raise DataError(f"{path}: the file has no row; give a file with rows, or leave it out")
        label = _label_column(schema, path) if given.labelled else None
        met = Distinct()
        if label is not None:
            for batch in _batches(parquet, [label], BLOCK_ROWS, path):
                met.add(_labels(batch.column(label), {})[0])
        ids, keyed = _all_ids(parquet, path)
        width = _width(parquet, sparse, path)
        if not sparse and not width:
            raise DataError(f"{path}: no row has a feature; there is nothing to learn from: check the column features")
        return Survey(path, rows, sparse, width, None, met.sorted(), ids=ids, keyed=keyed)


def _all_ids(parquet: pq.ParquetFile, path: str) -> tuple[NDArray[np.int64] | None, bool]:
    if "id" not in parquet.schema_arrow.names:
        return None, False
    found = [_ids(batch.column("id"), {}) for batch in _batches(parquet, ["id"], BLOCK_ROWS, path)]
    return np.concatenate([ids for ids, _ in found]), found[0][1] is not None


def _width(parquet: pq.ParquetFile, sparse: bool, path: str) -> int:
    kind = parquet.schema_arrow.field(_INDICES if sparse else _FEATURES).type
    if not sparse and pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    lengths: Counter[int] = Counter()
    largest = -1
    for batch in _batches(parquet, [_INDICES if sparse else _FEATURES], BLOCK_ROWS, path):
        if sparse:
            reasons: dict[int, str] = {}
            for indices, _ in _sparse_pairs(batch.column(_INDICES), None, reasons):
                largest = max(largest, int(indices[-1]) if len(indices) else -1)
        else:
            lengths.update(pc.list_value_length(batch.column(_FEATURES)).drop_null().to_pylist())
    # The shorter one of two lengths that are as frequent: any rule will do, but it must not depend on the order.
    return largest + 1 if sparse else min(lengths, key=lambda n: (-lengths[n], n), default=0)


def read(file: BinaryIO, path: str, given: Given, survey: Survey) -> Iterator[RawBlock]:
    """The rows of the file in blocks."""
    with _opened(file, path) as parquet:
        schema = parquet.schema_arrow
        label = _label_column(schema, path) if given.labelled else None
        wanted = [_INDICES, _VALUES] if survey.sparse else [_FEATURES]
        columns = [*wanted, *([label] if label else []), *(name for name in ("id", "weight") if name in schema.names)]
        start = 0
        limit = BLOCK_ROWS if survey.sparse else block_rows(survey.d)
        for batch in _batches(parquet, columns, limit, path):
            yield _block(batch, start, path, label, survey)
            start += len(batch)


def _opened(file: BinaryIO, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(cast(Any, file), pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a whole Parquet file ({reason}); is it empty or cut short?") from None


def _batches(parquet: pq.ParquetFile, columns: list[str], rows: int, path: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from parquet.iter_batches(rows, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged ({str(error).splitlines()[0]}); fetch the file again") from None


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _check_columns(schema: pa.Schema, path: str) -> bool:
    """Whether x is sparse. Raises DataError where the columns are not those of the format."""
    names = set(schema.names)
    twice = next((name for name in _READ if schema.names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: column {twice} stands twice; remove one")
    sparse = {_INDICES, _VALUES} <= names
    if sparse == (_FEATURES in names):
        raise DataError(f"{path}: give either a column features or columns indices and values (it has {sorted(names)})")
    for name in [_INDICES, _VALUES] if sparse else [_FEATURES]:
        kind = schema.field(name).type
        inner = kind.value_type if _is_list(kind) else pa.null()
        fits = pa.types.is_integer(inner) if name == _INDICES else _is_numeric(inner)
        if not fits:
            raise DataError(f"{path}: column {name} is {kind}; it must hold lists of numbers")
    if "weight" in names and not _is_numeric(schema.field("weight").type):
        raise DataError(f"{path}: column weight is {schema.field('weight').type}; it must hold numbers")
    if "id" in names and not (pa.types.is_integer(schema.field("id").type) or _is_text(schema.field("id").type)):
        raise DataError(f"{path}: column id is {schema.field('id').type}; it must hold integers or strings")
    return sparse


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _label_column(schema: pa.Schema, path: str) -> str:
    found = [name for name in ("labels", "label") if name in schema.names]
    if len(found) != 1:
        raise DataError(f"{path}: give one column labels or label (it has {sorted(schema.names)})")
    kind = schema.field(found[0]).type
    inner = kind.value_type if _is_list(kind) else kind
    if not (_is_numeric(inner) or _is_text(inner)):
        raise DataError(f"{path}: column {found[0]} is {kind}; labels must be integers or strings")
    return found[0]


def _block(batch: pa.RecordBatch, start: int, path: str, label: str | None, survey: Survey) -> RawBlock:
    reasons: dict[int, str] = {}
    if survey.sparse:
        pairs = _sparse_pairs(batch.column(_INDICES), batch.column(_VALUES), reasons)
        features: Any = sparse_rows(pairs, survey.d)
    else:
        features = _dense(batch.column(_FEATURES), survey.d, reasons)
    labels, indptr = _labels(batch.column(label), reasons) if label else _no_labels(len(batch))
    ids, keys = _ids(batch.column("id"), reasons) if "id" in batch.schema.names else (None, None)
    rows = np.arange(start, start + len(batch), dtype=np.int64)
    weight = None
    if "weight" in batch.schema.names:
        weight = to_float32(batch.column("weight").cast(pa.float64()).to_numpy(zero_copy_only=False))
    block = RawBlock(path, rows, rows, features, labels, indptr, ids, keys, weight)
    return screened(block, reasons, lambda row: _shown_row(batch, row))


def _shown_row(batch: pa.RecordBatch, row: int) -> str:
    values = {name: batch.column(name)[row].as_py() for name in batch.schema.names}
    return str({name: v[:_SHOWN_VALUES] if isinstance(v, list) else v for name, v in values.items()})


def _lists(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Length of every row (-1 for a null row) and the values of all rows, one after another."""
    lengths = pc.list_value_length(column).cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return lengths, pc.list_flatten(column)


def _nulls_in_rows(flat: pa.Array, lengths: NDArray[np.int64], what: str, reasons: dict[int, str]) -> None:
    if flat.null_count:
        row_of = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 0))
        for row in row_of[flat.is_null().to_numpy(zero_copy_only=False)].tolist():
            reasons.setdefault(row, f"a {what} is missing (null)")


def _dense(column: pa.Array, d: int, reasons: dict[int, str]) -> NDArray[np.float32]:
    lengths, flat = _lists(column)
    _nulls_in_rows(flat, lengths, "feature", reasons)
    for row in np.flatnonzero(lengths != d).tolist():
        reasons.setdefault(row, "no features (null)" if lengths[row] < 0 else f"{lengths[row]} features instead of {d}")
    values = to_float32(flat.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False))
    features = np.zeros((len(lengths), d), dtype=np.float32)
    whole = lengths == d
    features[whole] = values[np.repeat(whole, np.maximum(lengths, 0))].reshape(-1, d)
    features[list(reasons)] = 0
    return features


def _sparse_pairs(
    indices: pa.Array, values: pa.Array | None, reasons: dict[int, str]
) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Sorted indices and values of every row, none for a refused row. Without `values` only indices are looked at."""
    lengths, flat = _lists(indices)
    _nulls_in_rows(flat, lengths, "feature index", reasons)
    whole = flat.cast(pa.int64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
    if values is None:
        sizes, numbers = lengths, np.zeros(len(whole))
    else:
        sizes, given = _lists(values)
        _nulls_in_rows(given, sizes, "feature", reasons)
        numbers = given.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))])
    begins = np.concatenate([[0], np.cumsum(np.maximum(sizes, 0))])
    pairs = []
    for row in range(len(lengths)):
        pair = (np.zeros(0, np.int32), np.zeros(0, np.float32))
        try:
            if min(lengths[row], sizes[row]) < 0:
                raise Refused("no features (null)")
            if row not in reasons:
                of_row, in_row = slice(*starts[row : row + 2]), slice(*begins[row : row + 2])
                pair = sorted_features(whole[of_row], numbers[in_row], None)
        except Refused as refusal:
            reasons.setdefault(row, str(refusal))
        pairs.append(pair)
    return pairs


def _labels(column: pa.Array, reasons: dict[int, str]) -> tuple[Values, NDArray[np.int64]]:
    """Labels of every row, none for a refused row; a null row has no labels."""
    if _is_list(column.type):
        lengths, flat = _lists(column)
        lengths = np.maximum(lengths, 0)
    else:
        lengths = column.is_valid().cast(pa.int64()).to_numpy(zero_copy_only=False)
        flat = column.drop_null()
    _nulls_in_rows(flat, lengths, "label", reasons)
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    if _is_numeric(flat.type):
        values: Values = _whole_labels(flat.fill_null(0).to_numpy(zero_copy_only=False), row_of, reasons)
    else:
        values = objects(flat.cast(pa.string()).fill_null("").to_pylist())
    kept = np.ones(len(lengths), dtype=bool)
    kept[list(reasons)] = False
    return values[kept[row_of]], np.concatenate([[0], np.cumsum(np.where(kept, lengths, 0))]).astype(np.int64)


def _no_labels(rows: int) -> tuple[Values, NDArray[np.int64]]:
    return np.zeros(0, np.int64), np.zeros(rows + 1, np.int64)


def _whole_labels(given: NDArray[Any], row_of: NDArray[np.intp], reasons: dict[int, str]) -> NDArray[np.int64]:
    """Numbers as labels; 7.0 is 7 (a table that had gaps makes floats of integers)."""
    is_float = given.dtype.kind == "f"
    whole = np.trunc(given) == given if is_float else np.ones(len(given), dtype=bool)
    # An unsigned number of 64 bits would wrap around to a negative one, a float beyond int64 to anything.
    large = given >= 2.0**63 if is_float else (given > 0) & (given.astype(np.uint64) > LARGEST_INT64)
    for fault, bad in (("too large", large), ("negative", given < 0), ("not an integer", ~whole)):
        for cell in np.flatnonzero(bad).tolist():
            reasons.setdefault(int(row_of[cell]), f"label {given[cell]} is {fault}")
    return np.where(whole & ~large, given, 0).astype(np.int64)


def _ids(column: pa.Array, reasons: dict[int, str]) -> tuple[NDArray[np.int64], Values | None]:
    """Ids, and the keys that they were made from where the column is text."""
    for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
        reasons.setdefault(row, "id is missing (null)")
    if not pa.types.is_integer(column.type):
        keys = objects(column.cast(pa.string()).fill_null("").to_pylist())
        return ids_of_keys(keys), keys
    if column.type == pa.uint64():
        for row, value in enumerate(column.to_pylist()):
            if value is not None and value >= 2**63:
                reasons.setdefault(row, f"id {value} is too large")
    return column.fill_null(0).cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False), None

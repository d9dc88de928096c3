"""`.npz`: X, and y or Y; optional label_names, id and weight. X is read row block by row block, never whole.

y with one axis holds one label a row (an id, or a name). Numbers with two axes (under either name) are an indicator of
0 and 1, or a few ids a row. label_names decide: an indicator has a column for each of them. Without names the cells do,
and where they leave a doubt nothing is guessed: an indicator read as ids would give every row the labels 0 and 1.
"""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.formats.rows import (
    Distinct,
    Given,
    RawBlock,
    Survey,
    Values,
    block_rows,
    objects,
    screened,
    to_float32,
)

_SHOWN_VALUES = 16
_NUMBERS = "biuf"
"""Kinds of dtypes."""
# The share of cells that are 0 or 1: of an indicator all but mistakes; of ids about 2 in the number of labels.
_LEAST_OF_INDICATOR = 0.9
_MOST_OF_IDS = 0.5
# A header is a literal of Python's; CPython 3.11 cannot parse two in two threads at one time (gh-106905).
_PARSING = threading.Lock()


class _Array:
    """One array of the archive, read from its first row to its last."""

    def __init__(self, archive: zipfile.ZipFile, name: str, path: str) -> None:
        self._where = f"{path}: array {name}"
        try:
            self._file = archive.open(f"{name}.npy")
            version = np.lib.format.read_magic(self._file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            with _PARSING:
                self.shape, self._fortran, self.dtype = header(self._file)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self._where} cannot be read ({error}); write the file again") from None
        if self.dtype.hasobject:
            raise DataError(
                f"{self._where} holds pickled objects, which are never loaded; save plain arrays, several labels a row "
                "as Y, a column of 0 and 1 for each"
            )
        if len(self.shape) not in (1, 2):
            raise DataError(f"{self._where} has {len(self.shape)} axes; it must have one or two")
        self._whole: NDArray[Any] | None = None

    def close(self) -> None:
        self._file.close()

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """The next rows; calls must follow one another. Column-major arrays have to be held whole."""
        if self._fortran and len(self.shape) == 2:
            if self._whole is None:
                self._whole = self._values(self.shape[0]).reshape(self.shape, order="F")
            return self._whole[start:stop]
        return self._values(stop - start).reshape(stop - start, *self.shape[1:])

    def all(self) -> NDArray[Any]:
        return self.rows(0, self.shape[0])

    def _values(self, rows: int) -> NDArray[Any]:
        size = rows * int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        try:
            content = self._file.read(size)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self._where} is damaged ({error}); fetch the file again") from None
        if len(content) != size:
            raise DataError(f"{self._where} ends before its last row; the file is cut short: fetch it again")
        return np.frombuffer(content, dtype=self.dtype) if self.dtype.itemsize else np.zeros(size, self.dtype)


class _Archive(ExitStack):
    """The arrays of one file by name, closed together."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        super().__init__()
        self.path = path
        try:
            self._archive = self.enter_context(zipfile.ZipFile(file))
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DataError(f"{path}: not a whole .npz file ({error}); is it empty or cut short?") from None
        self.names = {name.removesuffix(".npy") for name in self._archive.namelist()}

    def array(self, name: str) -> _Array:
        array = _Array(self._archive, name, self.path)
        self.callback(array.close)
        return array

    def x(self) -> _Array:
        if "X" not in self.names:
            raise DataError(f"{self.path}: no array X (it has {', '.join(sorted(self.names)) or 'none'}); name x X")
        x = self.array("X")
        if len(x.shape) != 2 or x.dtype.kind not in _NUMBERS:
            raise DataError(f"{self.path}: X must be numbers [rows, d], not {x.dtype} with {len(x.shape)} axes")
        if x.shape[1] == 0:
            raise DataError(f"{self.path}: X has no column; there is nothing to learn from: check how it was made")
        return x

    def beside_x(self, name: str, rows: int) -> _Array:
        """Another array with a row for each row of X."""
        array = self.array(name)
        if array.shape[0] != rows:
            raise DataError(f"{self.path}: X has {rows} rows but {name} has {array.shape[0]}; they must be the same")
        return array

    def y(self, rows: int) -> _Array:
        names = sorted(self.names & {"y", "Y"})
        if len(names) != 1:
            raise DataError(
                f"{self.path}: {'both y and Y are there' if names else 'no array y or Y'}; give one of them"
            )
        y = self.beside_x(names[0], rows)
        if len(y.shape) == 2 and y.shape[1] == 0:
            raise DataError(f"{self.path}: {names[0]} has no column; there is nothing to learn: check the labels")
        return y

    def weight(self, rows: int) -> NDArray[np.float32] | None:
        if "weight" not in self.names:
            return None
        array = self.beside_x("weight", rows)
        if len(array.shape) != 1 or array.dtype.kind not in "iuf":
            raise DataError(f"{self.path}: weight must be numbers with one axis, not {array.dtype} of {array.shape}")
        return to_float32(array.all())

    def ids(self, rows: int) -> NDArray[np.int64] | None:
        if "id" not in self.names:
            return None
        array = self.beside_x("id", rows)
        ids = array.all()
        if len(array.shape) != 1 or ids.dtype.kind not in "iu" or (ids.dtype.kind == "u" and ids.max() >= 2**63):
            raise DataError(f"{self.path}: id must be integers of 63 bits with one axis, not {ids.dtype}")
        return ids.astype(np.int64)

    def label_names(self) -> tuple[str, ...] | None:
        if "label_names" not in self.names:
            return None
        array = self.array("label_names")
        if len(array.shape) != 1 or array.dtype.kind not in "USiu":
            raise DataError(f"{self.path}: label_names must be one axis of names, not {array.dtype}")
        names = array.all()
        if names.dtype.kind == "S":
            names = np.char.decode(names, "utf-8", "backslashreplace")
        listed = tuple(map(str, names.tolist()))
        if not listed:
            raise DataError(f"{self.path}: label_names is empty; name the labels, or leave it out")
        if len(set(listed)) != len(listed):
            raise DataError(f"{self.path}: a name stands twice in label_names; they must differ")
        return listed


def survey(file: BinaryIO, path: str, given: Given) -> Survey:
    """Shapes from the headers, labels from y; X itself is not read.

    Raises
    ------
    DataError
        Not a .npz file or a damaged one, no X or no y, another number of rows in y than in X, pickled objects; y that
        could be ids or an indicator.
    """
    with _Archive(file, path) as archive:
        rows, d = archive.x().shape
        if rows == 0:
            raise DataError(f"{path}: X has no row; give a file with rows, or leave it out")
        if not given.labelled:
            return Survey(path, rows, False, d, None, np.zeros(0, np.int64), ids=archive.ids(rows))
        names = archive.label_names()
        y = archive.y(rows)
        share, values = _labels_met(y, names)
        indicator = _is_indicator(y, names, share, path)
        ids = archive.ids(rows)
    columns = y.shape[1] if indicator else 0
    if names is not None or indicator:
        values = np.arange(columns if names is None else len(names), dtype=np.int64)
    return Survey(path, rows, False, d, names, values, indicator=indicator, label_columns=columns, ids=ids)


def _labels_met(y: _Array, names: tuple[str, ...] | None) -> tuple[float, Values]:
    """The share of cells that are 0 or 1, and the labels that are met where y holds ids or names."""
    width = y.shape[1] if len(y.shape) == 2 else 1
    met, binary = Distinct(), 0
    limit = block_rows(width)
    for start in range(0, y.shape[0], limit):
        piece = y.rows(start, min(start + limit, y.shape[0])).reshape(-1, width)
        if piece.dtype.kind in _NUMBERS:
            binary += int(np.isin(piece, (0, 1)).sum())
        met.add(labels_of(piece, False, names)[0])
    return binary / (y.shape[0] * width), met.sorted()


def _is_indicator(y: _Array, names: tuple[str, ...] | None, share: float, path: str) -> bool | None:
    """Whether y is 0/1 per label and not ids; None where it has one axis or is text, and there is no question.

    Raises
    ------
    DataError
        It could be either.
    """
    if len(y.shape) == 1 or y.dtype.kind not in _NUMBERS:
        return None
    width = y.shape[1]
    if names is not None and width == len(names):
        return True
    likely = y.dtype.kind == "b" or (width > 1 and share >= _LEAST_OF_INDICATOR)
    if names is not None and likely:
        raise DataError(
            f"{path}: Y has {width} columns but label_names has {len(names)}; an indicator has one per name: "
            f"mend either"
        )
    # One column of 0 and 1 may be the ids of two labels or the indicator of one.
    if not likely and names is None and share > _MOST_OF_IDS:
        raise DataError(
            f"{path}: Y with {width} columns, {share:.0%} of it 0 or 1, could be ids or an indicator; give ids as y "
            f"with one axis, or one column per label with nothing but 0 and 1, or label_names with a name per label"
        )
    return likely


def read(file: BinaryIO, path: str, given: Given, survey: Survey) -> Iterator[RawBlock]:
    """The rows of the file in blocks."""
    with _Archive(file, path) as archive:
        x = archive.x()
        y = archive.y(survey.rows) if given.labelled else None
        ids = archive.ids(survey.rows)
        weight = archive.weight(survey.rows)
        limit = block_rows(survey.d)
        for start in range(0, survey.rows, limit):
            stop = min(start + limit, survey.rows)
            features = x.rows(start, stop)
            labels = _no_labels(stop - start) if y is None else y.rows(start, stop).reshape(stop - start, -1)
            flat, indptr, reasons = labels_of(labels, bool(survey.indicator), survey.label_names)
            rows = np.arange(start, stop, dtype=np.int64)
            block = RawBlock(
                source=path,
                rows=rows,
                lines=rows,
                features=np.ascontiguousarray(to_float32(features)),
                labels=flat,
                indptr=indptr,
                ids=None if ids is None else ids[start:stop],
                weight=None if weight is None else weight[start:stop],
            )
            yield screened(block, reasons, _shown_row(features, labels))


def _no_labels(rows: int) -> NDArray[np.int64]:
    return np.zeros((rows, 0), np.int64)


def _shown_row(features: NDArray[Any], labels: NDArray[Any]) -> Any:
    def raw(row: int) -> str:
        y = labels[row, :_SHOWN_VALUES].tolist()
        return f"y = {y}, X = {features[row, :_SHOWN_VALUES].tolist()}"

    return raw


def labels_of(
    y: NDArray[Any], indicator: bool, names: tuple[str, ...] | None
) -> tuple[Values, NDArray[np.int64], dict[int, str]]:
    """Labels of a piece of y [rows, columns]: flat values, their indptr, and why rows are refused.

    A refused row has no labels among the values.
    """
    reasons: dict[int, str] = {}
    if y.dtype.kind in "US":
        values = objects(map(str, (np.char.decode(y, "utf-8", "replace") if y.dtype.kind == "S" else y).ravel()))
        good = np.ones(len(values), dtype=bool)
        if names is not None:
            position = {name: i for i, name in enumerate(names)}
            good = np.array([value in position for value in values.tolist()], dtype=bool)
            known = np.array([position.get(value, -1) for value in values.tolist()], dtype=np.int64)
            return _kept(y, known, good, "is unknown (not in label_names)", reasons)
        return _kept(y, values, good, "", reasons)
    if y.dtype.kind not in _NUMBERS:
        return _kept(y, np.zeros(y.size, np.int64), np.zeros(y.size, dtype=bool), "is no label", reasons)
    if indicator:
        bad = ~np.isin(y, (0, 1))
        for row, column in np.argwhere(bad).tolist():
            reasons.setdefault(row, f"label {column} is {y[row, column]} (must be 0 or 1)")
        row_of, columns = np.nonzero((y == 1) & ~bad.any(axis=1, keepdims=True))
        return columns.astype(np.int64), _indptr(row_of, len(y)), reasons
    return _integer_labels(y, names, reasons)


def _integer_labels(
    y: NDArray[Any], names: tuple[str, ...] | None, reasons: dict[int, str]
) -> tuple[Values, NDArray[np.int64], dict[int, str]]:
    with np.errstate(invalid="ignore"):
        values = y.astype(np.int64)
        # Floats and unsigned numbers beyond int64 wrap or saturate: the way back shows it.
        good = (y >= 0) & (values >= 0) & (values.astype(y.dtype) == y)
    if y.dtype.kind == "f":
        good &= y < 2.0**63
    if names is not None:
        good &= values < len(names)
    why = "is not an integer of 0 or more" if names is None else f"is unknown (label_names has {len(names)})"
    return _kept(y, values.ravel(), good.ravel(), why, reasons)


def _kept(
    y: NDArray[Any], values: Values, good: NDArray[np.bool_], why: str, reasons: dict[int, str]
) -> tuple[Values, NDArray[np.int64], dict[int, str]]:
    columns = y.shape[1]
    for cell in np.flatnonzero(~good).tolist():
        reason = why
        if y.dtype.kind in "iuf" and y.flat[cell] < 0:
            reason = "is negative"
        reasons.setdefault(cell // columns, f"label {y.flat[cell]} {reason}")
    row_of = np.repeat(np.arange(len(y)), columns)
    kept = np.ones(len(y), dtype=bool)
    kept[list(reasons)] = False
    return values[kept[row_of]], _indptr(row_of[kept[row_of]], len(y)), reasons


def _indptr(row_of: NDArray[np.intp], rows: int) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=rows))]).astype(np.int64)

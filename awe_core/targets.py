"""What scikit-learn's users call y: classes, indicators, or lists of labels; to label sets by id, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d

Kind = Literal["classes", "indicator", "sparse indicator", "lists"]
_LISTS = (list, tuple, set, frozenset, np.ndarray)


@dataclass(frozen=True)
class Targets:
    """The labels of a fit, and how y names them.

    Attributes
    ----------
    kind : one class a row; an indicator [rows, Y], dense or sparse; or a list of labels a row.
    classes : the name of every label, in the order of their ids, [Y].
    dtype : of an indicator.
    """

    kind: Kind
    classes: NDArray[Any]
    dtype: Any = np.int64
    _ids: dict[Any, int] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, y: Any, classes: Iterable[Any] | None = None) -> Targets:
        """What y holds; `classes` are all labels there will be, where y has some of them only.

        Raises
        ------
        ValueError : y is a target of a regression, is not finite, or mixes labels that cannot be sorted.
        """
        kind, given = _understood(y)
        if kind in ("indicator", "sparse indicator"):
            width = given.shape[1]
            named = np.arange(width) if classes is None else np.asarray(classes)
            if len(named) != width:
                raise ValueError(f"y is an indicator of {width} columns, but classes has {len(named)}")
            return cls(kind, named, given.dtype)
        if classes is None:
            classes = given if kind == "classes" else (label for labels in given for label in labels)
        named = np.unique(np.asarray(classes)) if kind == "classes" else _sorted_labels(classes)
        return cls(kind, named, _ids={label: number for number, label in enumerate(named.tolist())})

    def encode(self, y: Any, strict: bool = True) -> sp.csr_matrix:
        """Label sets as CSR float32 [rows, Y] with sorted indices, each entry 1.

        Raises
        ------
        ValueError : y is of another kind or width; where `strict`, it has a label that is not among the classes, which
            else is left out.
        """
        kind, given = _understood(y)
        if kind != self.kind and not {kind, self.kind} <= {"indicator", "sparse indicator"}:
            raise ValueError(f"y is given as {kind}, but as {self.kind} when the estimator was fitted")
        if self.kind in ("indicator", "sparse indicator"):
            if given.shape[1] != len(self.classes):
                raise ValueError(f"y has {given.shape[1]} columns, but the estimator knows {len(self.classes)} labels")
            return _ones(sp.csr_matrix(given, copy=True))
        lists = [[label] for label in given.tolist()] if kind == "classes" else given
        unknown = next((label for labels in lists for label in labels if label not in self._ids), None)
        if strict and unknown is not None:
            raise ValueError(f"y has the label {unknown!r}, which is not among the classes")
        ids = [sorted({self._ids[label] for label in labels if label in self._ids}) for labels in lists]
        indptr = np.concatenate([[0], np.cumsum([len(labels) for labels in ids], dtype=np.int64)])
        flat = np.array([label for labels in ids for label in labels], dtype=np.int32)
        return _ones(sp.csr_matrix((np.ones(len(flat)), flat, indptr), shape=(len(ids), len(self.classes))))

    def labelled(self, y: Any) -> NDArray[np.bool_]:
        """Which rows have a label, one that is not among the classes included: [rows]."""
        kind, given = _understood(y)
        if kind == "lists":
            return np.array([len(labels) > 0 for labels in given], dtype=bool)
        if kind == "classes":
            return np.ones(len(given), dtype=bool)
        return np.asarray(np.diff(_ones(sp.csr_matrix(given, copy=True)).indptr) > 0)

    def decode(self, labels: NDArray[np.int64]) -> Any:
        """Predictions as y was given: from label ids [rows, k], best first, −1 where a list has ended."""
        if self.kind == "classes":
            return self.classes[labels[:, 0]]
        if self.kind == "lists":
            named = self.classes.tolist()
            return [[named[label] for label in row if label >= 0] for row in labels.tolist()]
        row, place = np.nonzero(labels >= 0)
        shape = len(labels), len(self.classes)
        if self.kind == "sparse indicator":
            return sp.csr_matrix((np.ones(len(row), self.dtype), (row, labels[row, place])), shape=shape)
        indicator = np.zeros(shape, self.dtype)
        indicator[row, labels[row, place]] = 1
        return indicator


def _understood(y: Any) -> tuple[Kind, Any]:
    """What kind of y it is, and y as CSR, as an array, or as a list of lists."""
    if y is None:
        raise ValueError("this estimator requires y to be passed, but the target y is None")
    if sp.issparse(y):
        matrix = sp.csr_matrix(y)
        _refuse_other_cells(matrix.data)
        return "sparse indicator", matrix
    if _is_lists(y):
        return "lists", [_labels_of(row) for row in y]
    given = check_array(y, ensure_2d=False, dtype=None, input_name="y")
    if given.ndim == 2 and (given.shape[1] > 1 or given.dtype == np.bool_):
        _refuse_other_cells(given)
        return "indicator", given
    check_classification_targets(given)
    return "classes", column_or_1d(given, warn=True)


def _refuse_other_cells(cells: NDArray[Any]) -> None:
    if cells.dtype.kind not in "biuf" or not ((cells == 0) | (cells == 1)).all():
        raise ValueError("y with two axes has to be an indicator, a column of 0 and 1 for every label; else give lists")


def _is_lists(y: Any) -> bool:
    """Whether y is a sequence of label lists.

    Rows of one length of 2 or more that hold nothing but 0 and 1 are an indicator, as for scikit-learn. Label lists do
    not look like that: a list names no label twice, so all of them would be the labels 0 and 1.
    """
    if isinstance(y, np.ndarray) and y.dtype != object:
        return False
    if not isinstance(y, Sequence | np.ndarray) and not hasattr(y, "iloc"):
        return False
    rows = list(y) if getattr(y, "ndim", 1) == 1 else []
    if not rows or not all(isinstance(row, _LISTS) for row in rows):
        return False
    if any(isinstance(row, set | frozenset) for row in rows):
        return True
    lengths = {len(row) for row in rows}
    rectangle = len(lengths) == 1 and min(lengths) > 1
    return not (rectangle and all(_is_binary(cell) for row in rows for cell in row))


def _is_binary(cell: Any) -> bool:
    return not isinstance(cell, str) and np.ndim(cell) == 0 and cell in (0, 1)


def _labels_of(row: Iterable[Any]) -> list[Any]:
    return row.tolist() if isinstance(row, np.ndarray) else list(row)


def _sorted_labels(labels: Iterable[Any]) -> NDArray[Any]:
    """Distinct labels in order; text as objects, for a text array would drop what it ends with."""
    try:
        met = sorted(set(labels))
    except TypeError as error:
        raise ValueError(f"the labels of y cannot be told apart or sorted: {error}") from None
    if not met:
        raise ValueError("no row of y has a label: there is nothing to learn")
    if not any(isinstance(label, str) for label in met):
        return np.array(met)
    named = np.empty(len(met), dtype=object)
    named[:] = met
    return named


def _ones(matrix: sp.csr_matrix) -> sp.csr_matrix:
    matrix.eliminate_zeros()
    matrix.sum_duplicates()
    shape = matrix.shape
    ones = np.ones(matrix.nnz, dtype=np.float32)
    return sp.csr_matrix((ones, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)), shape=shape)

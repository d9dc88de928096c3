"""What every reader of a raw format gives: a survey of the file, then its rows in blocks of bounded size.

A reader knows one format and nothing of Beam. It says what it met (values of labels, users, the width of x) and
refuses rows that cannot be examples; names become ids later, when all files have been surveyed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

# A block is what travels: 4 MiB cost a few milliseconds to pickle, and a worker holds several of them at a time.
BLOCK_ROWS = 2048
BLOCK_BYTES = 4 << 20
RAW_CHARACTERS = 200
LARGEST_INT32 = 2**31 - 1
MOST_FEATURES = 2**27
"""Width of x that no file exceeds unless its header says so: one mistyped index would make U as wide as itself."""

Features: TypeAlias = NDArray[np.float32] | sp.csr_matrix
# int64, or str held as objects: a fixed-width string array would give every value the room of the longest.
Values: TypeAlias = NDArray[Any]


class Refused(ValueError):
    """One row cannot be an example; the message is the reason. The file goes on."""


@dataclass(frozen=True)
class Given:
    """What a reader is told beside the file itself.

    Attributes
    ----------
    label_names : the label list that comes with the file (the XML of an ARFF file), if any.
    min_rating : interactions rated below it are left out; None keeps them all.
    labelled : whether rows have labels to be read; where not, tables need no column of them.
    """

    label_names: tuple[str, ...] | None = None
    min_rating: float | None = None
    labelled: bool = True


@dataclass(frozen=True)
class Survey:
    """What must be known of every file before the first row of any of them can be written.

    Attributes
    ----------
    path : the file.
    rows : rows in the file, refused ones included.
    sparse : whether x is sparse.
    d : width of x: columns of dense x, largest index + 1 (or the header's number) of sparse x.
    label_names : the file's own label list in its order, or None. With a list, blocks hold positions in it.
    label_values : distinct values of the labels that were met: sorted int64, or sorted str objects.
    users : distinct users of interactions, likewise; None for examples with features.
    indicator : whether the labels of a table with two axes are 0/1 per label, and not ids; None where they cannot be
        mistaken for the other.
    label_columns : columns of an indicator, else 0.
    ids : int64 [rows], the data's own ids, or None where a row is known by its place.
    keyed : whether these ids are made from keys that are text.
    columns : names of the columns of x, where they have any.
    nominal : the numbers that stand for words, by the name of the attribute.
    """

    path: str
    rows: int
    sparse: bool
    d: int
    label_names: tuple[str, ...] | None
    label_values: Values
    users: Values | None = None
    indicator: bool | None = None
    label_columns: int = 0
    ids: NDArray[np.int64] | None = None
    keyed: bool = False
    columns: tuple[str, ...] | None = None
    nominal: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """A refused row: where it stands (line from 1 in text, row from 0 in arrays), why, and its first characters."""

    source: str
    line: int
    reason: str
    raw: str


@dataclass(frozen=True)
class RawBlock:
    """Rows of one file, in their order, and the rows refused among them.

    Attributes
    ----------
    source : path of the file.
    rows : int64 [rows], position among the file's rows, from 0; refused rows are counted too, so that a row's id does
        not depend on what is refused before it.
    lines : int64 [rows], line in the file from 1 for text, the row's position for arrays.
    features : float32 [rows, d], dense or CSR with sorted indices.
    labels, indptr : row i has the labels `labels[indptr[i]:indptr[i + 1]]`, values or positions in the file's list.
    ids : int64 [rows], the data's own ids (made from the keys, where there are keys), or None.
    keys : str objects [rows], the data's own ids where they are no integers, or None.
    weight : float32 [rows], or None.
    rejects : refused rows.
    """

    source: str
    rows: NDArray[np.int64]
    lines: NDArray[np.int64]
    features: Features
    labels: Values
    indptr: NDArray[np.int64]
    ids: NDArray[np.int64] | None = None
    keys: Values | None = None
    weight: NDArray[np.float32] | None = None
    rejects: tuple[Reject, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class InteractionBlock:
    """Users and the items they met: lines of one interaction file.

    Attributes
    ----------
    source, lines, rejects : as in `RawBlock`.
    users : values [lines].
    items, indptr : line i names the items `items[indptr[i]:indptr[i + 1]]`.
    left_out : lines below the least rating, neither kept nor refused.
    """

    source: str
    lines: NDArray[np.int64]
    users: Values
    items: Values
    indptr: NDArray[np.int64]
    rejects: tuple[Reject, ...] = ()
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.lines)


def block_rows(width: int) -> int:
    """Rows of a block of dense float32 rows of that width: at most `BLOCK_ROWS`, at most `BLOCK_BYTES`, at least 1."""
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * max(1, width))))


def reject(source: str, line: int, reason: str, raw: str | bytes) -> Reject:
    """A `Reject` whose raw text is cut; bytes that are no UTF-8 are shown escaped, and so are control characters."""
    text = raw[: 4 * RAW_CHARACTERS].decode(errors="backslashreplace") if isinstance(raw, bytes) else raw
    text = "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text[:RAW_CHARACTERS])
    return Reject(source, int(line), reason, text[:RAW_CHARACTERS])


def to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Values as float32; those beyond its range become inf, which `screened` refuses."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def flattened(labels_of_row: Sequence[Sequence[Any]], strings: bool) -> tuple[Values, NDArray[np.int64]]:
    """Lists of labels as (values, indptr)."""
    indptr = np.zeros(len(labels_of_row) + 1, dtype=np.int64)
    np.cumsum([len(labels) for labels in labels_of_row], out=indptr[1:])
    flat = [label for labels in labels_of_row for label in labels]
    return (objects(flat) if strings else np.array(flat, dtype=np.int64)), indptr


def objects(values: Iterable[str]) -> Values:
    """Strings as an object array (never a fixed-width one)."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def ids_of_keys(keys: Values) -> NDArray[np.int64]:
    """Ids of rows that the data knows by text: 63 bits of the text's sha256, so that equal keys have equal ids."""
    digests = (hashlib.sha256(key.encode(errors="surrogatepass")).digest()[:8] for key in keys.tolist())
    return np.array([int.from_bytes(digest, "little") >> 1 for digest in digests], dtype=np.int64)


class Distinct:
    """Collects the distinct values of arrays."""

    def __init__(self) -> None:
        self._met: set[Any] = set()

    def add(self, values: Values) -> None:
        self._met.update((values if values.dtype == object else np.unique(values)).tolist())

    def sorted(self) -> Values:
        """All values met; int64 if every one of them is a number, else str objects."""
        if all(isinstance(value, int) for value in self._met):
            return np.array(sorted(self._met), dtype=np.int64)
        return objects(sorted(set(map(str, self._met))))


def distinct(values: Iterable[Values]) -> Values:
    """Distinct values over arrays, sorted; int64 if every one of them is a number, else str objects."""
    met = Distinct()
    for array in values:
        met.add(array)
    return met.sorted()


def integers_if_all(values: Values) -> Values:
    """Strings as int64 if each is an integer in its one canonical spelling ("7", not "07"), else as they are.

    The spelling matters: "07" and "7" are two keys, and reading both as 7 would merge two users unseen.
    """
    if values.dtype != object:
        return values
    try:
        numbers = np.array([int(value) for value in values.tolist()], dtype=np.int64)
    except (ValueError, OverflowError):
        return values
    return numbers if all(map(str.__eq__, map(str, numbers.tolist()), values.tolist())) else values


def not_finite(features: Features) -> dict[int, str]:
    """Why rows are refused for the values of their x: {row of the block: reason}."""
    if isinstance(features, sp.csr_matrix):
        bad = np.flatnonzero(~np.isfinite(features.data))
        rows = np.asarray(np.searchsorted(features.indptr, bad, side="right") - 1)
        columns, values = features.indices[bad], features.data[bad]
    else:
        rows, columns = np.nonzero(~np.isfinite(features))
        values = features[rows, columns]
    reasons: dict[int, str] = {}
    for row, column, value in zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True):
        reasons.setdefault(row, f"feature {column} is {value} (must be finite in float32)")
    return reasons


def screened(block: RawBlock, reasons: Mapping[int, str], raw: Callable[[int], str | bytes]) -> RawBlock:
    """Refuse rows of a block: those with a reason already, x that is not finite, weights that are no weights.

    Parameters
    ----------
    block : rows as read.
    reasons : {row of the block: why it is refused}.
    raw : gives the raw text of a row of the block.
    """
    refused = {**not_finite(block.features), **reasons}
    if block.weight is not None:
        for row in np.flatnonzero(~(np.isfinite(block.weight) & (block.weight >= 0))).tolist():
            refused.setdefault(row, f"weight is {block.weight[row]} (must be 0 or more, and finite)")
    if not refused:
        return block
    rejects = [reject(block.source, int(block.lines[row]), refused[row], raw(row)) for row in sorted(refused)]
    kept = np.delete(np.arange(len(block)), sorted(refused))
    return replace(taken(block, kept), rejects=(*block.rejects, *rejects))


def taken(block: RawBlock, positions: NDArray[np.intp]) -> RawBlock:
    """The rows at those positions, in their order; the rejects are kept whole."""
    sizes = np.diff(block.indptr)[positions]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    picks = np.repeat(block.indptr[:-1][positions] - indptr[:-1], sizes) + np.arange(indptr[-1])
    return replace(
        block,
        rows=block.rows[positions],
        lines=block.lines[positions],
        features=block.features[positions],
        labels=block.labels[picks],
        indptr=indptr,
        ids=None if block.ids is None else block.ids[positions],
        keys=None if block.keys is None else block.keys[positions],
        weight=None if block.weight is None else block.weight[positions],
    )


def sparse_rows(rows: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]], width: int) -> sp.csr_matrix:
    """(sorted indices, values) of every row as CSR [rows, width]; zeros that are given are kept."""
    indptr = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(indices) for indices, _ in rows], out=indptr[1:])
    indices = np.concatenate([np.zeros(0, np.int32), *(indices for indices, _ in rows)])
    values = np.concatenate([np.zeros(0, np.float32), *(values for _, values in rows)])
    matrix = sp.csr_matrix((len(rows), width), dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = values, indices, indptr
    return matrix


def sorted_features(indices: NDArray[np.int64], values: NDArray[Any], width: int | None) -> tuple[Any, Any]:
    """Indices and values of one sparse row, sorted, as int32 and float32.

    Raises
    ------
    Refused
        Another number of values than of indices; an index that is negative, given twice, or not below the width (below
        `MOST_FEATURES` where no width is known).
    """
    if len(indices) != len(values):
        raise Refused(f"{len(indices)} indices but {len(values)} values")
    if len(indices) > 1 and (np.diff(indices) <= 0).any():
        order = np.argsort(indices, kind="stable")
        indices, values = indices[order], values[order]
        twice = np.flatnonzero(np.diff(indices) == 0)
        if len(twice):
            raise Refused(f"feature {indices[twice[0]]} is given twice")
    if len(indices) and indices[0] < 0:
        raise Refused(f"feature index {indices[0]} is negative")
    limit = MOST_FEATURES if width is None else width
    if len(indices) and indices[-1] >= limit:
        raise Refused(f"feature index {indices[-1]} is too large (must be below {limit})")
    return indices.astype(np.int32), to_float32(values)

"""Examples on their way from a raw file to their part: arrays of a few rows, joined, sorted and written as one part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arrangement import block_slices, order_in_part
from awe_core.examples import Features
from pipelines.formats.rows import Values
from schemas import convert

KEY_BYTES = 64
"""What a key is taken to need when the size of an element is reckoned."""


@dataclass(frozen=True)
class Lists:
    """A list of ids per row: row i has `values[indptr[i]:indptr[i + 1]]`, int32, sorted; indptr is int64 [rows + 1]."""

    indptr: NDArray[np.int64]
    values: NDArray[np.int32]

    @classmethod
    def empty(cls, rows: int) -> Lists:
        return cls(np.zeros(rows + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))

    @classmethod
    def sorted_sets(cls, indptr: NDArray[np.int64], values: NDArray[np.int32]) -> Lists:
        """From lists in any order and with repeats."""
        row_of = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        order = np.lexsort((values, row_of))
        row_of, values = row_of[order], values[order]
        new = np.ones(len(values), dtype=bool)
        new[1:] = (np.diff(row_of) != 0) | (np.diff(values) != 0)
        return cls.of_rows(row_of[new], values[new], len(indptr) - 1)

    @classmethod
    def of_rows(cls, row_of: NDArray[np.intp], values: NDArray[np.int32], rows: int) -> Lists:
        """From the row of every value, ascending."""
        sizes = np.bincount(row_of, minlength=rows)
        return cls(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), values.astype(np.int32))

    def take(self, positions: NDArray[np.intp]) -> Lists:
        sizes = np.diff(self.indptr)[positions]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        picks = np.repeat(self.indptr[:-1][positions] - indptr[:-1], sizes) + np.arange(indptr[-1])
        return Lists(indptr, self.values[picks])

    @classmethod
    def joined(cls, pieces: Sequence[Lists]) -> Lists:
        sizes = np.concatenate([np.diff(piece.indptr) for piece in pieces])
        values = np.concatenate([piece.values for piece in pieces])
        return cls(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), values)


@dataclass(frozen=True)
class ExampleRows:
    """Rows of one split, in no order.

    Attributes
    ----------
    ids : int64 [rows].
    features : float32 [rows, d], dense or CSR with sorted indices.
    labels, seen : sorted label ids per row.
    weight : float32 [rows].
    files, lines : int64 [rows], where a row came from, to tell the first of two rows with one id.
    keys : str objects [rows], or None.
    """

    ids: NDArray[np.int64]
    features: Features
    labels: Lists
    seen: Lists
    weight: NDArray[np.float32]
    files: NDArray[np.int64]
    lines: NDArray[np.int64]
    keys: Values | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """About what the rows take when they travel."""
        x = self.features
        features = x.data.nbytes + x.indices.nbytes + x.indptr.nbytes if isinstance(x, sp.csr_matrix) else x.nbytes
        lists = sum(piece.indptr.nbytes + piece.values.nbytes for piece in (self.labels, self.seen))
        others = self.ids.nbytes + self.weight.nbytes + self.files.nbytes + self.lines.nbytes
        return int(features + lists + others + (0 if self.keys is None else KEY_BYTES * len(self.keys)))

    def take(self, positions: NDArray[np.intp]) -> ExampleRows:
        """The rows at those positions, in that order."""
        return ExampleRows(
            ids=self.ids[positions],
            features=self.features[positions],
            labels=self.labels.take(positions),
            seen=self.seen.take(positions),
            weight=self.weight[positions],
            files=self.files[positions],
            lines=self.lines[positions],
            keys=None if self.keys is None else self.keys[positions],
        )

    @classmethod
    def joined(cls, pieces: Sequence[ExampleRows]) -> ExampleRows:
        """Rows of several pieces, one piece after another."""
        if len(pieces) == 1:
            return pieces[0]
        features = [piece.features for piece in pieces]
        keys = [piece.keys for piece in pieces if piece.keys is not None]
        return cls(
            ids=np.concatenate([piece.ids for piece in pieces]),
            features=_stacked(features) if sp.issparse(features[0]) else np.concatenate(features),
            labels=Lists.joined([piece.labels for piece in pieces]),
            seen=Lists.joined([piece.seen for piece in pieces]),
            weight=np.concatenate([piece.weight for piece in pieces]),
            files=np.concatenate([piece.files for piece in pieces]),
            lines=np.concatenate([piece.lines for piece in pieces]),
            keys=np.concatenate(keys) if keys else None,
        )

    def with_features(self, features: Features) -> ExampleRows:
        return replace(self, features=features)


def _stacked(pieces: Sequence[sp.csr_matrix]) -> sp.csr_matrix:
    # Not scipy's vstack: it would pick index types by the size of the whole and may touch explicit zeros.
    lists = Lists.joined([Lists(x.indptr.astype(np.int64), x.indices) for x in pieces])
    data = np.concatenate([x.data for x in pieces])
    return csr(data, lists.values, lists.indptr, pieces[0].shape[1])


def csr(
    data: NDArray[np.float32], indices: NDArray[np.int32], indptr: NDArray[np.integer[Any]], width: int
) -> sp.csr_matrix:
    """CSR of arrays that are known to be in order, explicit zeros kept."""
    return sp.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, width))


def arranged(rows: ExampleRows, seed: int) -> tuple[ExampleRows, ExampleRows]:
    """The rows of one part in their order, and the rows that repeat an id.

    Of rows with one id the first stands: that of the first file, and in it of the first line.
    """
    first_of_id = np.lexsort((rows.lines, rows.files, rows.ids))
    repeats = np.zeros(len(rows), dtype=bool)
    repeats[1:] = np.diff(rows.ids[first_of_id]) == 0
    kept = first_of_id[~repeats]
    return rows.take(kept[order_in_part(seed, rows.ids[kept])]), rows.take(first_of_id[repeats])


def tables_of(rows: ExampleRows, block_rows: int) -> Iterator[pa.Table]:
    """The blocks of a part as Arrow tables with the columns of `schemas.tables.examples`."""
    for block in block_slices(len(rows), block_rows):
        piece = rows.take(np.arange(block.start, block.stop))
        yield pa.table(
            {
                "id": pa.array(piece.ids),
                **({} if piece.keys is None else {"key": pa.array(piece.keys.tolist(), pa.string())}),
                **convert.feature_arrays(piece.features),
                "labels": convert.ragged_array(piece.labels.indptr, piece.labels.values),
                "seen": convert.ragged_array(piece.seen.indptr, piece.seen.values),
                "weight": pa.array(piece.weight),
            }
        )

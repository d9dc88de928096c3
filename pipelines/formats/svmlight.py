"""svmlight and Extreme Classification text: `label,label index:value index:value …`, one example a line.

The Extreme Classification repository puts a line `rows features labels` first. Indices are taken as they are written:
a file that counts from 1 has an empty column 0, and the model learns nothing for it. scikit-learn's reader stops at the
first bad row; rows are parsed here so that each can be refused on its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.formats.rows import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    LARGEST_INT32,
    Distinct,
    Given,
    RawBlock,
    Refused,
    Survey,
    flattened,
    screened,
    sorted_features,
    sparse_rows,
)
from pipelines.formats.text import feature_index, number, numbered_lines, refuse_lone_cr, shown, whole_number

MOST_LABELS = 2**27
"""The list of labels is held as text, about 60 bytes each: a mistyped header must not fill the memory."""


class Header(NamedTuple):
    """First line of an Extreme Classification file."""

    rows: int
    features: int
    labels: int


def survey(file: BinaryIO, path: str, given: Given) -> Survey:
    """One pass over the file: its rows, the largest index, the labels; a header's numbers where there is one.

    Raises
    ------
    DataError
        The file is empty, or holds another number of rows than its header says; the header's numbers cannot be.
    """
    lines = numbered_lines(file, path)
    header, lines = split_header(lines)
    if header is not None:
        _check_header(header, path)
    rows, width, met = 0, 0, Distinct()
    for block in _blocks(lines, path, header):
        rows += len(block) + len(block.rejects)
        width = max(width, block.features.shape[1])
        met.add(block.labels)
    if header is not None and header.rows != rows:
        raise DataError(f"{path}: the header says {header.rows} rows but the file has {rows}; is it cut short?")
    if header is None:
        return Survey(path, rows, True, width, None, met.sorted())
    return Survey(path, rows, True, header.features, tuple(map(str, range(header.labels))), met.sorted())


def _check_header(header: Header, path: str) -> None:
    for found, limit, what in (
        (header.features, LARGEST_INT32, "features"),
        (header.labels, MOST_LABELS, "labels"),
    ):
        if not 0 < found <= limit:
            raise DataError(f"{path}: the header says {found} {what}; it must be 1 to {limit}: mend the first line")


def read(file: BinaryIO, path: str, given: Given, survey: Survey) -> Iterator[RawBlock]:
    """The rows of the file in blocks. With a header, labels and indices outside its numbers are refused."""
    header, lines = split_header(numbered_lines(file, path))
    return _blocks(lines, path, header)


def split_header(lines: Iterator[tuple[int, bytes]]) -> tuple[Header | None, Iterator[tuple[int, bytes]]]:
    """Take the header off, if the first line is one: three integers and no colon."""
    first = list(islice(lines, 1))
    for _, line in first:
        tokens = line.split()
        if len(tokens) == 3 and all(token.isdigit() and len(token) < 19 for token in tokens):
            return Header(*map(int, tokens)), lines
    return None, chain(first, lines)


def _blocks(lines: Iterator[tuple[int, bytes]], path: str, header: Header | None) -> Iterator[RawBlock]:
    start, size, rows = 0, 0, list[tuple[int, bytes]]()
    for item in lines:
        if item[1].lstrip().startswith(b"#"):
            continue
        rows.append(item)
        size += len(item[1])
        if len(rows) == BLOCK_ROWS or size >= BLOCK_BYTES:
            yield _block(rows, start, path, header)
            start, size, rows = start + len(rows), 0, []
    if rows:
        yield _block(rows, start, path, header)


def _block(rows: list[tuple[int, bytes]], start: int, path: str, header: Header | None) -> RawBlock:
    reasons: dict[int, str] = {}
    features, labels = [], []
    nothing = (np.zeros(0, np.int32), np.zeros(0, np.float32))
    for position, (_, line) in enumerate(rows):
        try:
            row = parse(line, header)
        except Refused as refusal:
            reasons[position] = str(refusal)
            row = ([], *nothing)
        labels.append(row[0])
        features.append(row[1:])
    # Without a header the width of the block is what its rows need; the survey knows the file's.
    largest = max((int(indices[-1]) for indices, _ in features if len(indices)), default=-1)
    values, indptr = flattened(labels, strings=False)
    block = RawBlock(
        source=path,
        rows=np.arange(start, start + len(rows), dtype=np.int64),
        lines=np.array([line for line, _ in rows], dtype=np.int64),
        features=sparse_rows(features, largest + 1 if header is None else header.features),
        labels=values,
        indptr=indptr,
    )
    return screened(block, reasons, lambda position: rows[position][1])


def parse(line: bytes, header: Header | None) -> tuple[list[int], NDArray[np.int32], NDArray[np.float32]]:
    """Labels, indices (sorted) and values of one line.

    Raises
    ------
    Refused
        With the reason: something is no number, negative, given twice or outside the header's numbers.
    """
    refuse_lone_cr(line)
    if b"_" in line:
        # Python's int and float would take 1_000 for a number.
        raise Refused("'_' in a number")
    tokens = line.partition(b"#")[0].split()
    # Extreme Classification rows without labels start with a space, others with their first feature.
    labels = tokens.pop(0).split(b",") if tokens and b":" not in tokens[0] else []
    pairs = [token.split(b":") for token in tokens]
    for token, pair in zip(tokens, pairs, strict=True):
        if len(pair) != 2:
            raise Refused(f"{shown(token)} is not index:value")
    indices = np.array([feature_index(index) for index, _ in pairs], dtype=np.int64)
    values = np.array([number(value, "feature") for _, value in pairs], dtype=np.float64)
    known = sorted({whole_number(label, "label") for label in labels})
    if header is not None and known and known[-1] >= header.labels:
        raise Refused(f"label {known[-1]} is unknown (the header says {header.labels} labels)")
    return (known, *sorted_features(indices, values, None if header is None else header.features))

"""Interaction lists: `user item item …`, integers, each user once a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pipelines.formats.rows import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    Distinct,
    Given,
    InteractionBlock,
    Refused,
    Reject,
    Survey,
    flattened,
    reject,
)
from pipelines.formats.text import numbered_lines, refuse_lone_cr, whole_number


def survey(file: BinaryIO, path: str, given: Given) -> Survey:
    """Lines, users and items of the file. Raises DataError if it is empty."""
    return survey_of(read(file, path, given, None), path)


def survey_of(blocks: Iterator[InteractionBlock], path: str) -> Survey:
    """The survey of a file of interactions, from its blocks."""
    rows, users, items = 0, Distinct(), Distinct()
    for block in blocks:
        rows += len(block) + len(block.rejects) + block.left_out
        users.add(block.users)
        items.add(block.items)
    return Survey(path, rows, True, 0, None, items.sorted(), users=users.sorted())


def read(file: BinaryIO, path: str, given: Given, survey: Survey | None) -> Iterator[InteractionBlock]:
    """The lines of the file in blocks. A second line of one user is refused, for it cannot be told which one stands."""
    met: set[int] = set()
    size, rows = 0, list[tuple[int, bytes]]()
    for item in numbered_lines(file, path):
        rows.append(item)
        size += len(item[1])
        if len(rows) == BLOCK_ROWS or size >= BLOCK_BYTES:
            yield _block(rows, path, met)
            size, rows = 0, []
    if rows:
        yield _block(rows, path, met)


def _block(rows: list[tuple[int, bytes]], path: str, met: set[int]) -> InteractionBlock:
    lines, users, items = list[int](), list[int](), list[list[int]]()
    rejects: list[Reject] = []
    for line, content in rows:
        try:
            user, listed = parse(content)
            if user in met:
                raise Refused(f"user {user} has a line already in this file")
        except Refused as refusal:
            rejects.append(reject(path, line, str(refusal), content))
            continue
        met.add(user)
        lines.append(line)
        users.append(user)
        items.append(listed)
    flat, indptr = flattened(items, strings=False)
    numbers = np.array(lines, dtype=np.int64)
    return InteractionBlock(path, numbers, np.array(users, dtype=np.int64), flat, indptr, tuple(rejects))


def parse(line: bytes) -> tuple[int, list[int]]:
    """User and items of one line. Raises Refused where something is no integer of 0 or more."""
    refuse_lone_cr(line)
    user, *items = line.split()
    return whole_number(user, "user"), [whole_number(item, "item") for item in items]

"""Interactions as comma-separated `user,item[,rating[,time]]`, one a line, with or without a header line.

A file most of whose first lines have tabs is separated by them, whatever commas are in its names. Users and items may
be any text but a number that is not whole: that is a column of measurements. Ratings decide what is a positive
(`min_rating`); times are not looked at.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import BinaryIO

import numpy as np

from pipelines.errors import DataError
from pipelines.formats.interactions import survey_of
from pipelines.formats.rows import Given, InteractionBlock, Refused, Reject, Survey, integers_if_all, objects, reject
from pipelines.formats.text import number, numbered_lines, refuse_lone_cr

FIRST_LINES = 100
"""By which a separator and a header are told."""

# About 60 bytes a line when pickled: 2 MB a block.
_BLOCK_LINES = 32768
_RATING = 2
_MOST_FIELDS = 4
_DECIMAL = re.compile(r"[+-]?\d*\.\d*[1-9]\d*(e[+-]?\d+)?", re.IGNORECASE)
_COLUMNS = "user,item[,rating[,time]]"
_USERS = ("user", "uid")
_USER = re.compile(r"(user|uid|customer|client|member|account|visitor|person)s?[_ -]?(id|key|no|name)?")


def survey(file: BinaryIO, path: str, given: Given) -> Survey:
    """Lines, users and items of the file; as integers where each is spelt as one. Raises DataError if it is empty."""
    found = survey_of(read(file, path, given, None), path)
    users = None if found.users is None else np.sort(integers_if_all(found.users))
    return replace(found, users=users, label_values=np.sort(integers_if_all(found.label_values)))


def read(file: BinaryIO, path: str, given: Given, survey: Survey | None) -> Iterator[InteractionBlock]:
    """The lines of the file in blocks; users and items as text.

    Raises
    ------
    DataError
        min_rating is given and the first line has no rating; the header names the columns in another order.
    """
    lines = numbered_lines(file, path)
    first = list(islice(lines, FIRST_LINES))
    refuse_semicolons(first[0][1], path)
    separator = separator_of([line for _, line in first])
    header = is_header([line for _, line in first])
    if given.min_rating is not None and len(_fields(first[0][1], separator)) <= _RATING:
        raise DataError(f"{path}: line {first[0][0]} has no rating to hold against data.min_rating; remove that key")
    if header:
        _check_header(_fields(first[0][1], separator), path)
    rest = chain(first[1:] if header else first, lines)
    while rows := list(islice(rest, _BLOCK_LINES)):
        yield _block(rows, path, separator, given.min_rating)


def separator_of(first: Sequence[bytes]) -> str:
    """Of a file, by its first lines: titles have commas, names seldom have tabs."""
    return "\t" if 2 * sum(b"\t" in line for line in first) > len(first) else ","


def is_header(first: Sequence[bytes]) -> bool:
    """Whether the first of a file's first lines names the columns: it has a word for a user or a rating, or any word
    for a user or an item where all lines after it have numbers."""
    separator = separator_of(first)
    try:
        names = _fields(first[0], separator)
    except Refused:
        return False
    if names[0].strip().lower().startswith(_USERS) or any(map(_names_users, names[:_RATING])):
        return True
    if len(names) > _RATING and not _is_number(names[_RATING]):
        return True
    rows = [row for line in first[1:] if len(row := _readable(line, separator)) >= _RATING]
    columns = zip(names[:_RATING], *(row[:_RATING] for row in rows), strict=False) if rows else ()
    return any(not _is_number(name) and all(map(_is_number, values)) for name, *values in columns)


def _readable(line: bytes, separator: str) -> list[str]:
    """The fields of a line, none of one that is refused."""
    try:
        return _fields(line, separator)
    except Refused:
        return []


def _check_header(names: Sequence[str], path: str) -> None:
    """Columns are taken by their place: a header that says another order must not be read over."""
    words = [name.strip().lower() for name in names]
    twice = next((name for i, name in enumerate(words) if name and name in words[:i]), None)
    if twice is not None:
        raise DataError(f"{path}: line 1: column {twice} stands twice; remove one")
    swapped = any(word.startswith(_USERS) or _names_users(word) for word in words[1:])
    timed = len(words) > _RATING and words[_RATING].startswith(("time", "date"))
    if swapped or timed:
        raise DataError(f"{path}: line 1: the columns are {','.join(names)}; they must be {_COLUMNS}, in this order")


def refuse_semicolons(first: bytes, path: str) -> None:
    """Raise DataError for a first line that has semicolons and no other separator, as some spreadsheets write it."""
    if b";" in first and b"," not in first and b"\t" not in first:
        raise DataError(f"{path}: line 1 is separated by semicolons; write the file with commas or tabs")


def _names_users(word: str) -> bool:
    return _USER.fullmatch(word.strip().lower()) is not None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fields(line: bytes, separator: str) -> list[str]:
    try:
        text = line.decode()
        if '"' not in text:
            return text.split(separator)
        return next(csv.reader([text], delimiter=separator, strict=True))
    except UnicodeDecodeError:
        raise Refused("not UTF-8: convert the file") from None
    except csv.Error as error:
        raise Refused(f"not comma-separated: {error}") from None


def _block(rows: list[tuple[int, bytes]], path: str, separator: str, min_rating: float | None) -> InteractionBlock:
    lines, users, items = list[int](), list[str](), list[str]()
    rejects: list[Reject] = []
    left_out = 0
    for line, content in rows:
        try:
            user, item, rating = parse(content, separator, min_rating is not None)
        except Refused as refusal:
            rejects.append(reject(path, line, str(refusal), content))
            continue
        if min_rating is not None and rating < min_rating:
            left_out += 1
            continue
        lines.append(line)
        users.append(user)
        items.append(item)
    indptr = np.arange(len(lines) + 1, dtype=np.int64)
    numbers = np.array(lines, dtype=np.int64)
    return InteractionBlock(path, numbers, objects(users), objects(items), indptr, tuple(rejects), left_out)


def parse(line: bytes, separator: str, rated: bool) -> tuple[str, str, float]:
    """User, item and rating (1 where there is none) of one line.

    Raises
    ------
    Refused
        Fewer than two fields or more than four, a user or item that is empty, negative or not whole, a rating that is
        no number, or none where `rated` asks for one.
    """
    refuse_lone_cr(line)
    fields = [field.strip() for field in _fields(line, separator)]
    if not 2 <= len(fields) <= _MOST_FIELDS:
        raise Refused(f"{len(fields)} fields (must be {_COLUMNS})")
    for what, key in (("user", fields[0]), ("item", fields[1])):
        if not key:
            raise Refused(f"no {what}")
        if key[0] == "-" and key[1:].isdigit():
            raise Refused(f"{what} {key} is negative")
        if _DECIMAL.fullmatch(key):
            raise Refused(f"{what} {key} is a number that is not whole: give a table of features as npz or Parquet")
    if len(fields) <= _RATING or not fields[_RATING]:
        if rated:
            raise Refused("no rating")
        return fields[0], fields[1], 1.0
    rating = number(fields[_RATING], "rating")
    if not np.isfinite(rating):
        raise Refused(f"rating is {rating} (must be finite)")
    return fields[0], fields[1], rating

"""Lines of a text file, read in chunks: numbered, without their ends, blank ones skipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.errors import DataError
from pipelines.formats.rows import LARGEST_INT32, Refused

CHUNK_BYTES = 1 << 20
# A longer line is no row of a text format (a million features in 30 characters each would fit); without a bound a
# binary file read as text would be held whole.
LINE_BYTES = 32 << 20
_BOM = b"\xef\xbb\xbf"
_WHOLE = re.compile(rb"[+-]?[0-9]+(\.0*)?")
_SHOWN_CHARACTERS = 40
_LONE_CR = "a carriage return inside the line"


def numbered_lines(file: BinaryIO, path: str) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their number from 1; CR LF and LF end a line, a byte order mark is dropped.

    Raises
    ------
    DataError
        The file holds no such line, or one that is longer than `LINE_BYTES`; its lines end in CR alone.
    """
    number, met = 0, False
    rest = b""
    while True:
        chunk = file.read(CHUNK_BYTES)
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop() if chunk else b""
        for line in lines:
            number += 1
            if number == 1:
                line = line.removeprefix(_BOM)
            line = line.rstrip(b"\r\n")
            if line.strip():
                if not met:
                    check_line_ends(line, path)
                met = True
                yield number, line
        if not chunk:
            break
        if len(rest) > LINE_BYTES:
            if not met:
                check_line_ends(rest, path)
            raise DataError(
                f"{path}: line {number + 1} is longer than {LINE_BYTES >> 20} MiB; is it the format that "
                f"data.format says?"
            )
    if not met:
        raise DataError(f"{path}: the file is empty; give a file with rows, or leave it out")


def check_line_ends(first: bytes, path: str) -> None:
    """Raises DataError where the first line of a file has a carriage return inside: it is the whole file."""
    if b"\r" in first.strip():
        raise DataError(f"{path}: its lines end in CR alone; convert them to LF")


def refuse_lone_cr(line: bytes) -> None:
    """Raises Refused where two lines may stand in one: split at white space they would be one row."""
    if b"\r" in line:
        raise Refused(_LONE_CR)


def shown(token: bytes) -> str:
    """A token as it may stand in a one-line message: repr of its first characters."""
    return repr(token[:_SHOWN_CHARACTERS].decode(errors="backslashreplace"))


def whole_number(token: bytes, what: str) -> int:
    """An integer that is 0 or more and fits 63 bits ("7", also "7.0").

    Raises
    ------
    Refused
        Anything else; `what` names the thing in the reason.
    """
    if not _WHOLE.fullmatch(token) or len(token) > 2 * _SHOWN_CHARACTERS:
        raise Refused(f"{what} {shown(token)} is not an integer")
    value = int(token.partition(b".")[0])
    if value < 0:
        raise Refused(f"{what} {value} is negative")
    if value >= 2**63:
        raise Refused(f"{what} {value} is too large")
    return value


def feature_index(token: bytes) -> int:
    """An index of x, as it is written. Whether it is in range is checked with the row."""
    try:
        index = int(token)
    except ValueError:
        raise Refused(f"feature index {shown(token)} is not an integer") from None
    # An index beyond int32 must not wrap around in the arrays that follow.
    if abs(index) > LARGEST_INT32:
        raise Refused(f"feature index {shown(token)} is too large (must be below {LARGEST_INT32})")
    return index


def number(token: str | bytes, what: str) -> float:
    """A number as Python's float reads it, "nan" and "inf" included (they are refused later, with the row)."""
    try:
        return float(token)
    except ValueError:
        text = token if isinstance(token, bytes) else token.encode(errors="backslashreplace")
        raise Refused(f"{what} {shown(text)} is not a number") from None

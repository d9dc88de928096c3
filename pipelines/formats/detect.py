"""Which format a file has, from its first bytes and its first 100 lines, where data.format does not say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from pipelines.errors import ConfigError, DataError
from pipelines.formats import interactions, pairs, svmlight
from pipelines.formats.rows import Refused
from pipelines.formats.text import check_line_ends

HEAD_BYTES = 1 << 20
_LEAST_SHARE = 0.1
_FEATURE = re.compile(rb"(^|\s)\d+:[-+.\d]")
_COMPRESSED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_MAGIC = {b"PK\x03\x04": "npz", b"PK\x05\x06": "npz", b"PAR1": "parquet"}


def detect(head: bytes, path: str) -> str:
    """Name of the one format that fits the beginning of a file.

    Parameters
    ----------
    head : the first `HEAD_BYTES` bytes of the file, or all of a shorter one.
    path : named in messages.

    Raises
    ------
    ConfigError
        Two formats fit, or none does: `data.format` has to say.
    DataError
        The file is empty, or compressed where its name does not say so; its lines end in CR alone or have semicolons
        for commas.
    """
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    for magic, suffix in _COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(f"{path}: it is compressed, and its name does not say so; name it {path}{suffix}")
    lines = _first_lines(head)
    if not lines:
        raise DataError(f"{path}: the file is empty; give a file with rows, or leave it out")
    check_line_ends(lines[0], path)
    if any(_is_arff(line) for line in lines):
        return "arff"
    if not any(map(_FEATURE.search, lines)):
        pairs.refuse_semicolons(lines[0], path)
    # Bad rows must not hide the format: they are to be refused with their reason, and the reader knows it.
    shares = {name: share(lines) for name, share in _SHARES.items()}
    fitting = [name for name, share in shares.items() if share > _LEAST_SHARE]
    whole = [name for name in fitting if shares[name] == max(shares.values())]
    if len(whole) > 1:
        raise ConfigError(f"{path}: its first lines fit {' and '.join(whole)}; say which with data.format")
    if not whole:
        why = _nearest(lines) or ", and a table of features has to be npz or Parquet"
        raise ConfigError(f"{path}: its first lines fit no known format{why}; say with data.format how to read it")
    return whole[0]


def _nearest(lines: Sequence[bytes]) -> str:
    """Which format the last of the lines looks like, the first may be a header, and why it is not of that format."""
    if lines[0].startswith(b"\x93NUMPY"):
        return " (it is one array: save it with its labels by numpy.savez)"
    line = lines[-1]
    name = "svmlight" if _FEATURE.search(line) else "csv" if b"," in line or b"\t" in line else None
    try:
        if name == "svmlight":
            svmlight.parse(line, header=None)
        elif name == "csv":
            pairs.parse(line, pairs.separator_of(lines), rated=False)
    except Refused as refusal:
        return f" (as {name}, line {len(lines)}: {refusal})"
    return ""


def _first_lines(head: bytes) -> list[bytes]:
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if len(head) >= HEAD_BYTES and len(lines) > 1:
        lines.pop()  # cut by the end of the head
    return [line.rstrip(b"\r") for line in lines if line.strip()][: pairs.FIRST_LINES]


def _is_arff(line: bytes) -> bool:
    return line.lstrip().lower().startswith((b"@relation", b"@attribute"))


def _svmlight(lines: Sequence[bytes]) -> float:
    header, rest = svmlight.split_header(iter(list(enumerate(lines))))
    return ((header is not None) + _parsed(partial(svmlight.parse, header=None), [line for _, line in rest])) / len(
        lines
    )


def _interactions(lines: Sequence[bytes]) -> float:
    return _parsed(interactions.parse, lines) / len(lines)


def _pairs(lines: Sequence[bytes]) -> float:
    header = int(pairs.is_header(lines) and len(lines) > 1)
    # Labels with commas between would be users and items, and what follows them a part of the last one's name.
    fitting = [line for line in lines[header:] if not _FEATURE.search(line)]
    parsed = _parsed(partial(pairs.parse, separator=pairs.separator_of(lines), rated=False), fitting)
    return (header + parsed) / len(lines) if parsed else 0.0  # a header alone may be any table's


def _parsed(parse: Callable[[bytes], object], lines: Sequence[bytes]) -> int:
    parsed = 0
    for line in lines:
        try:
            parse(line)
        except Refused:
            continue
        parsed += 1
    return parsed


# The share of the lines that a format can read.
_SHARES = {"svmlight": _svmlight, "interactions": _interactions, "csv": _pairs}

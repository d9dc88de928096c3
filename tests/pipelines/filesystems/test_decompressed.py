"""Compressed files: all of their content or an error, never a shorter file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipelines.filesystems.decompressed import decompressed, is_compressed

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    ".deflate": zlib.compress,
    ".zst": zstandard.compress,
    ".zstd": zstandard.compress,
}
several = pytest.mark.parametrize("suffix", [suffix for suffix in COMPRESS if suffix != ".lzma"])
suffixes = pytest.mark.parametrize("suffix", COMPRESS)


def read(content: bytes, suffix: str) -> bytes:
    with decompressed(io.BytesIO(content), f"rows.svm{suffix}") as file:
        return file.read()


@suffixes
@given(content=st.binary(max_size=300))
def test_the_content_comes_back(suffix: str, content: bytes) -> None:
    assert is_compressed(f"ROWS{suffix.upper()}")
    assert read(COMPRESS[suffix](content), suffix) == content


@several
@given(parts=st.lists(st.binary(max_size=50), min_size=1, max_size=4), padding=st.integers(0, 3))
def test_streams_that_follow_one_another_are_one_file(suffix: str, parts: list[bytes], padding: int) -> None:
    content = b"".join(map(COMPRESS[suffix], parts)) + b"\0" * padding
    assert read(content, suffix) == b"".join(parts)


@suffixes
@given(data=st.data())
def test_wherever_it_is_cut_short_it_is_an_error(suffix: str, data: st.DataObject) -> None:
    content = COMPRESS[suffix](bytes(range(256)) * 3)
    cut = data.draw(st.integers(0, len(content) - 1))
    if suffix == ".lzma" and cut >= len(content) - 6:  # whose end is a mark that need not be there
        return
    with pytest.raises(EOFError, match="ends before its content"):
        read(content[:cut], suffix)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".deflate", ".zst"])
def test_what_is_not_compressed_is_an_error(suffix: str) -> None:
    with pytest.raises(OSError, match="damaged, or not compressed as its name says"):
        read(b"1 0:1\n2 1:1\n", suffix)


def test_a_name_without_a_suffix_is_read_as_it_is() -> None:
    file = io.BytesIO(gzip.compress(b"1"))
    assert decompressed(file, "rows.svm") is file
    assert not is_compressed("rows.gz/part-1.svm")

"""Folders as the datasets' filesystem."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from schemas.filesystem import LocalFileSystem

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full, a disk that is always full")
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_full_disk_says_where_it_is_full(size: int, tmp_path: Path) -> None:
    draft = LocalFileSystem().draft(str(tmp_path))
    draft._file = FULL.open("wb")

    def write() -> None:
        draft.write(bytes(size))
        draft.keep(str(tmp_path / "kept"))  # what is small is written when the file is closed

    with pytest.raises(OSError, match="No space left on device") as raised:
        write()
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(tmp_path)
    assert str(tmp_path) in str(raised.value)
    draft.discard()
    assert list(tmp_path.iterdir()) == []

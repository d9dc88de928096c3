"""The few file operations that datasets need, so that a bucket works like a folder."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from uuid import uuid4

DRAFT = "writing-"
"""What the name of a draft begins with, where it has one."""


class Draft(Protocol):
    """A file while it is written, before it has its path: a name may depend on what was written."""

    def write(self, content: bytes) -> int:
        """Append; the number of bytes, which is all of them."""

    def keep(self, path: str) -> None:
        """Give the file its path, whole; one that stands there is replaced. No rename is assumed to be atomic."""

    def discard(self) -> None:
        """Remove what was not kept; nothing is done to what was."""


class Readable(Protocol):
    """Where files are read from. Paths are strings."""

    def join(self, directory: str, *names: str) -> str:
        """Path of a name below a directory."""

    def open(self, path: str) -> BinaryIO:
        """Open for reading: a seekable binary file. Raises FileNotFoundError."""


class FileSystem(Readable, Protocol):
    """Directories need not be made before a file is written below them."""

    def draft(self, directory: str) -> Draft:
        """A new file, which will be kept in that directory."""

    def put(self, path: str, content: bytes) -> None:
        """Write a small file whole: a reader sees the old content or the new one."""

    def exists(self, path: str) -> bool:
        """Whether there is a file at that path."""

    def names(self, directory: str) -> list[str]:
        """Sorted names of the files that lie in a directory itself; none where there is no directory."""

    def delete(self, paths: Sequence[str]) -> None:
        """Remove files; one that is already gone is no error."""


@contextmanager
def saying_where(path: str | Path) -> Iterator[None]:
    """Give errors of writing a path: a full disk has none of its own."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


class LocalDraft:
    """A draft beside the file that it will become."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / f"{DRAFT}{uuid4().hex}"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("wb")

    def write(self, content: bytes) -> int:
        with saying_where(self._path.parent):
            return self._file.write(content)

    def keep(self, path: str) -> None:
        with saying_where(self._path.parent):
            self._file.close()
        os.replace(self._path, path)

    def discard(self) -> None:
        try:
            self._file.close()
        except OSError:  # of a full disk: what could not be written is not wanted
            pass
        finally:
            self._path.unlink(missing_ok=True)


class LocalFileSystem:
    """Files of this machine, without Beam."""

    def join(self, directory: str, *names: str) -> str:
        return os.path.join(directory, *names)

    def open(self, path: str) -> BinaryIO:
        return open(path, "rb")

    def draft(self, directory: str) -> LocalDraft:
        return LocalDraft(directory)

    def put(self, path: str, content: bytes) -> None:
        draft = self.draft(os.path.dirname(path))
        try:
            draft.write(content)
            draft.keep(path)
        finally:
            draft.discard()

    def exists(self, path: str) -> bool:
        return os.path.isfile(path)

    def names(self, directory: str) -> list[str]:
        if not os.path.isdir(directory):
            return []
        return sorted(entry.name for entry in os.scandir(directory) if entry.is_file())

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            Path(path).unlink(missing_ok=True)


class DraftFile(io.RawIOBase):
    """A draft as Arrow wants a file that it writes."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        return self._draft.write(bytes(content))


@contextmanager
def written(fs: FileSystem, path: str) -> Iterator[DraftFile]:
    """A file to be written, which has its path when all of it is there; where writing fails, nothing stays."""
    draft = fs.draft(os.path.dirname(path))
    try:
        yield DraftFile(draft)
        draft.keep(path)
    finally:
        draft.discard()


def read_bytes(fs: Readable, path: str) -> bytes:
    """The whole content of a small file. Raises FileNotFoundError."""
    with fs.open(path) as file:
        return file.read()

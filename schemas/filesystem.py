"""The few file operations that datasets need, so that a bucket works like a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import uuid4


class FileSystem(Protocol):
    """Paths are strings; directories need not be made before a file is written below them."""

    def join(self, directory: str, *names: str) -> str:
        """Path of a name below a directory."""

    def open(self, path: str) -> BinaryIO:
        """Open for reading: a seekable binary file. Raises FileNotFoundError."""

    def create(self, path: str) -> BinaryIO:
        """Open for writing: what is written is there when the file is closed."""

    def put(self, path: str, content: bytes) -> None:
        """Write a small file whole: a reader sees the old content or the new one."""

    def exists(self, path: str) -> bool:
        """Whether there is a file at that path."""

    def names(self, directory: str) -> list[str]:
        """Sorted names of the files that lie in a directory itself; none where there is no directory."""

    def rename(self, source: str, destination: str) -> None:
        """Move a file; one that stands there is replaced."""

    def delete(self, paths: Sequence[str]) -> None:
        """Remove files; one that is already gone is no error."""


class LocalFileSystem:
    """Files of this machine, without Beam."""

    def join(self, directory: str, *names: str) -> str:
        return os.path.join(directory, *names)

    def open(self, path: str) -> BinaryIO:
        return open(path, "rb")

    def create(self, path: str) -> BinaryIO:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return open(path, "wb")

    def put(self, path: str, content: bytes) -> None:
        temporary = f"{path}.{uuid4().hex}.tmp"
        with self.create(temporary) as file:
            file.write(content)
        os.replace(temporary, path)

    def exists(self, path: str) -> bool:
        return os.path.isfile(path)

    def names(self, directory: str) -> list[str]:
        if not os.path.isdir(directory):
            return []
        return sorted(entry.name for entry in os.scandir(directory) if entry.is_file())

    def rename(self, source: str, destination: str) -> None:
        os.replace(source, destination)

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            Path(path).unlink(missing_ok=True)


def read_bytes(fs: FileSystem, path: str) -> bytes:
    """The whole content of a small file. Raises FileNotFoundError."""
    with fs.open(path) as file:
        return file.read()

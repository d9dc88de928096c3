"""The datasets' filesystem: folders of this machine, or any URI that Beam's FileSystems know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from schemas.filesystem import LocalFileSystem

_MIME = "application/octet-stream"


class BeamFileSystem:
    """`schemas.filesystem.FileSystem` over Beam's FileSystems. Has no state, so that it can travel to workers.

    A local file can be seen half written and its name may hold characters that a pattern would take for its own, so
    local paths go to `LocalFileSystem`. An object of a store appears when it is whole.
    """

    _folder = LocalFileSystem()

    @staticmethod
    def _is_local(path: str) -> bool:
        return FileSystems.get_scheme(path) is None

    def join(self, directory: str, *names: str) -> str:
        return FileSystems.join(directory, *names)

    def open(self, path: str) -> BinaryIO:
        if self._is_local(path):
            return self._folder.open(path)
        if not self.exists(path):  # stores answer a missing object with errors of their own
            raise FileNotFoundError(path)
        return cast(BinaryIO, FileSystems.open(path, _MIME, CompressionTypes.UNCOMPRESSED))

    def open_raw(self, path: str) -> BinaryIO:
        """Open a user's file, decompressed where its name says that it is compressed (.gz, .bz2, .zst …)."""
        return cast(BinaryIO, FileSystems.open(path, _MIME, CompressionTypes.AUTO))

    def create(self, path: str) -> BinaryIO:
        if self._is_local(path):
            return self._folder.create(path)
        return cast(BinaryIO, FileSystems.create(path, _MIME, CompressionTypes.UNCOMPRESSED))

    def put(self, path: str, content: bytes) -> None:
        if self._is_local(path):
            self._folder.put(path, content)
            return
        with self.create(path) as file:
            file.write(content)

    def exists(self, path: str) -> bool:
        return self._folder.exists(path) if self._is_local(path) else bool(FileSystems.exists(path))

    def glob(self, pattern: str) -> list[str]:
        """Sorted paths of the files that match a pattern; none is no error."""
        return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)

    def names(self, directory: str) -> list[str]:
        if self._is_local(directory):
            return self._folder.names(directory)
        prefix = self.join(directory, "")
        below = [path[len(prefix) :] for path in self.glob(self.join(directory, "*"))]
        return sorted(name for name in below if "/" not in name)

    def rename(self, source: str, destination: str) -> None:
        if self._is_local(source):
            self._folder.rename(source, destination)
            return
        FileSystems.rename([source], [destination])

    def delete(self, paths: Sequence[str]) -> None:
        self._folder.delete([path for path in paths if self._is_local(path)])
        for path in paths:
            if not self._is_local(path) and self.exists(path):
                try:
                    FileSystems.delete([path])
                except BeamIOError:
                    if self.exists(path):  # another attempt may have removed it first
                        raise

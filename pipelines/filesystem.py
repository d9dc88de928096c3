"""The datasets' filesystem: folders of this machine, S3's buckets, or any URI that Beam's FileSystems know."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import lru_cache
from typing import BinaryIO, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.scratch import ScratchCopies, ScratchDraft
from schemas.errors import StoreError
from schemas.filesystem import Draft, FileSystem, LocalFileSystem, Readable

_MIME = "application/octet-stream"


class BeamFileSystem:
    """`schemas.filesystem.FileSystem` of any path. Has no state, so that it can travel to workers.

    A local file can be seen half written and its name may hold characters that a pattern would take for its own, so
    local paths go to `LocalFileSystem`. An object of a store appears when it is whole.
    """

    @staticmethod
    def _of(path: str) -> FileSystem:
        scheme = FileSystems.get_scheme(path)
        if scheme is None:
            return _FOLDERS
        return _buckets() if scheme == "s3" else _OTHERS

    def join(self, directory: str, *names: str) -> str:
        return self._of(directory).join(directory, *names)

    def open(self, path: str) -> BinaryIO:
        return self._of(path).open(path)

    def open_raw(self, path: str) -> BinaryIO:
        """Open a user's file, decompressed where its name says that it is compressed (.gz, .bz2, .zst …)."""
        return cast(BinaryIO, FileSystems.open(path, _MIME, CompressionTypes.AUTO))

    def draft(self, directory: str) -> Draft:
        return self._of(directory).draft(directory)

    def put(self, path: str, content: bytes) -> None:
        self._of(path).put(path, content)

    def exists(self, path: str) -> bool:
        return self._of(path).exists(path)

    def names(self, directory: str) -> list[str]:
        return self._of(directory).names(directory)

    def delete(self, paths: Sequence[str]) -> None:
        by_system: dict[FileSystem, list[str]] = {}
        for path in paths:
            by_system.setdefault(self._of(path), []).append(path)
        for system, its in by_system.items():
            system.delete(its)

    def near(self, root: str) -> Readable:
        """For files below `root` that are read again and again and do not change: they are fetched once."""
        return self if FileSystems.get_scheme(root) is None else ScratchCopies(self)


class _OtherStores:
    """`schemas.filesystem.FileSystem` over Beam's FileSystems."""

    def join(self, directory: str, *names: str) -> str:
        return FileSystems.join(directory, *names)

    def open(self, path: str) -> BinaryIO:
        if not self.exists(path):  # stores answer a missing object with errors of their own
            raise FileNotFoundError(path)
        return cast(BinaryIO, FileSystems.open(path, _MIME, CompressionTypes.UNCOMPRESSED))

    def draft(self, directory: str) -> ScratchDraft:
        return ScratchDraft(_send)

    def put(self, path: str, content: bytes) -> None:
        with FileSystems.create(path, _MIME, CompressionTypes.UNCOMPRESSED) as file:
            file.write(content)

    def exists(self, path: str) -> bool:
        return bool(FileSystems.exists(path))

    def names(self, directory: str) -> list[str]:
        prefix = self.join(directory, "")
        found = FileSystems.match([self.join(directory, "*")])[0].metadata_list
        below = [each.path[len(prefix) :] for each in found]
        return sorted(name for name in below if "/" not in name)

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            if self.exists(path):
                try:
                    FileSystems.delete([path])
                except BeamIOError:
                    if self.exists(path):  # another attempt may have removed it first
                        raise


def _send(scratch: str, path: str) -> None:
    with (
        open(scratch, "rb") as source,
        FileSystems.create(path, _MIME, CompressionTypes.UNCOMPRESSED) as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)


_FOLDERS, _OTHERS = LocalFileSystem(), _OtherStores()


@lru_cache(1)
def _buckets() -> FileSystem:
    """S3's. Only who uses it waits for the import of boto3, or needs it at all."""
    try:
        from pipelines.object_store import S3FileSystem
    except ImportError as error:
        raise StoreError(f"s3:// needs boto3 ({error}); install affinity-weighted-embedding[aws]") from error
    return S3FileSystem()

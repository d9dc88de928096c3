"""The datasets' filesystem: folders of this machine, S3's buckets, or any URI that Beam's FileSystems know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import BinaryIO

from pipelines.filesystems.decompressed import decompressed
from pipelines.filesystems.scratch import ScratchCopies
from schemas.errors import StoreError
from schemas.filesystem import Draft, FileSystem, LocalFileSystem, Readable

_FOLDERS = LocalFileSystem()


def scheme_of(path: str) -> str | None:
    """`s3` of a URI; None of a path of this machine."""
    found = re.match(r"([a-zA-Z][-a-zA-Z0-9+.]*)://", path)
    return None if found is None else found[1]


class BeamFileSystem:
    """`schemas.filesystem.FileSystem` of any path. Has no state, so that it can travel to workers.

    Beam, which takes a second to import, is only asked for what is not a folder of this machine.

    A local file can be seen half written and its name may hold characters that a pattern would take for its own, so
    local paths go to `LocalFileSystem`. An object of a store appears when it is whole.
    """

    @staticmethod
    def _of(path: str) -> FileSystem:
        scheme = scheme_of(path)
        if scheme is None:
            return _FOLDERS
        return _buckets() if scheme == "s3" else _stores()

    def join(self, directory: str, *names: str) -> str:
        return self._of(directory).join(directory, *names)

    def open(self, path: str) -> BinaryIO:
        return self._of(path).open(path)

    def open_raw(self, path: str) -> BinaryIO:
        """Open a user's file, decompressed where its name says that it is compressed (.gz, .bz2, .zst …)."""
        from pipelines.filesystems.beam_stores import open_any

        return decompressed(open_any(path), path)

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
        return self if scheme_of(root) is None else ScratchCopies(self)


@lru_cache(1)
def _stores() -> FileSystem:
    """Those that Beam knows."""
    from pipelines.filesystems.beam_stores import BeamStores

    return BeamStores()


@lru_cache(1)
def _buckets() -> FileSystem:
    """S3's. Only who uses it waits for the import of boto3, or needs it at all."""
    try:
        from pipelines.filesystems.object_store import S3FileSystem
    except ImportError as error:
        raise StoreError(f"s3:// needs boto3 ({error}); install affinity-weighted-embedding[aws]") from error
    return S3FileSystem()

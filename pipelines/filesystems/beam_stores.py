"""The datasets' filesystem over Beam's stores of objects, gs:// above all; imported by who has such a path."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import BinaryIO, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.filesystems.scratch import ScratchDraft
from schemas.errors import StoreError

_MIME = "application/octet-stream"


def open_any(path: str) -> BinaryIO:
    """Open any path that Beam knows for reading, as it is."""
    return cast(BinaryIO, FileSystems.open(path, _MIME, CompressionTypes.UNCOMPRESSED))


class BeamStores:
    """`schemas.filesystem.FileSystem` over Beam's FileSystems."""

    def join(self, directory: str, *names: str) -> str:
        return FileSystems.join(directory, *names)

    def open(self, path: str) -> BinaryIO:
        if not self.exists(path):  # stores answer a missing object with errors of their own
            raise FileNotFoundError(path)
        return cast(BinaryIO, FileSystems.open(path, _MIME, CompressionTypes.UNCOMPRESSED))

    def draft(self, directory: str) -> ScratchDraft:
        _refuse_hdfs(directory)
        return ScratchDraft(_send)

    def put(self, path: str, content: bytes) -> None:
        _refuse_hdfs(path)
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


def _refuse_hdfs(path: str) -> None:
    """Raise StoreError where a file cannot be replaced by a whole one, as Beam's HDFS cannot: it can be read only."""
    if path.lower().startswith("hdfs://"):
        raise StoreError(
            f"{path}: hdfs:// replaces no file whole, which a run directory needs; name a folder, s3:// or gs://"
        )


def _send(scratch: str, path: str) -> None:
    with (
        open(scratch, "rb") as source,
        FileSystems.create(path, _MIME, CompressionTypes.UNCOMPRESSED) as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)

"""Parts: one Parquet file each, one row group a block, named after what is in it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Self, cast
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataError
from schemas.filesystem import FileSystem

_CHECKED: set[tuple[str, str]] = set()
"""(path, sha256) of the parts that this process has read whole once and found right."""


@dataclass(frozen=True)
class Part:
    """What a manifest says of one Parquet file.

    `sums` are figures that its writer took of the part (Σ G over the true pairs, say), to be added over parts in order.
    """

    name: str
    rows: int
    bytes: int
    sha256: str
    sums: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet stores the columns: dense vectors as they are, the rest by dictionary and zstd.

    Floats of a vector seldom repeat. With a dictionary and zstd a block of 1,024 × 474 was a fifth larger, took eight
    times as long to write and twice as long to read.
    """
    vectors = {f.name for f in schema if pa.types.is_fixed_size_list(f.type)}
    paths = {f.name: f"{f.name}.list.element" if pa.types.is_nested(f.type) else f.name for f in schema}
    return {
        "compression": {path: "NONE" if name in vectors else "ZSTD" for name, path in paths.items()},
        "use_dictionary": [path for name, path in paths.items() if name not in vectors],
    }


class _Hashing(io.RawIOBase):
    """Hands on what is written, hashing and counting it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256, self.bytes = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        data = bytes(content)
        self.sha256.update(data)
        self.bytes += len(data)
        self.file.write(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.file.close()
            super().close()


class PartWriter:
    """Writes part `index` of a dataset, a block at a time, under a temporary name until it is whole.

    Two attempts at one part write the same content and so the same name: whichever comes last is harmless.
    """

    def __init__(self, fs: FileSystem, directory: str, index: int, schema: pa.Schema) -> None:
        self._fs, self._directory, self._index, self._schema = fs, directory, index, schema
        self._temporary = fs.join(directory, f"writing-{index:05d}-{uuid4().hex}")
        self._rows = 0
        self._part: Part | None = None

    def __enter__(self) -> Self:
        self._file = _Hashing(self._fs.create(self._temporary))
        try:
            self._writer = pq.ParquetWriter(self._file, self._schema, **_encoding(self._schema), store_schema=True)
        except (OSError, pa.ArrowException):
            self._file.close()
            self._fs.delete([self._temporary])
            raise
        return self

    @property
    def part(self) -> Part:
        """What was written. Raises RuntimeError before the writer is closed, or where it was given up."""
        if self._part is None:
            raise RuntimeError(f"part {self._index} of {self._directory} is not written")
        return self._part

    def write(self, block: pa.Table) -> None:
        """Append one block as a row group; one without rows leaves no trace, so that the others keep their index."""
        if not len(block):
            return
        self._writer.write_table(block.select(self._schema.names).cast(self._schema), row_group_size=len(block))
        self._rows += len(block)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._close()
        except (OSError, ValueError, pa.ArrowException):  # a full disk, say
            self._fs.delete([self._temporary])
            if kind is None:
                raise
            return
        if kind is not None:
            self._fs.delete([self._temporary])
            return
        checksum = self._file.sha256.hexdigest()
        name = f"part-{self._index:05d}-{checksum[:16]}.parquet"
        self._fs.rename(self._temporary, self._fs.join(self._directory, name))
        self._part = Part(name, self._rows, self._file.bytes, checksum)

    def _close(self) -> None:
        try:
            self._writer.close()  # also of a part that is given up, or its destructor would write to a closed file
        finally:
            self._file.close()


class PartReader:
    """Reads the blocks of one part, after checking its checksum when the process first opens it.

    Raises
    ------
    DataError : the file is missing, is not the one that the manifest lists, or is no Parquet.
    """

    def __init__(self, fs: FileSystem, directory: str, part: Part) -> None:
        self.path = fs.join(directory, part.name)
        self.part = part
        if (self.path, part.sha256) not in _CHECKED:
            self._check(fs)
            _CHECKED.add((self.path, part.sha256))
        self._file = self._open(fs)

    def _open(self, fs: FileSystem) -> pq.ParquetFile:
        try:
            file = fs.open(self.path)
        except FileNotFoundError:
            raise self._gone() from None
        try:
            return pq.ParquetFile(cast(Any, file), pre_buffer=False)
        except pa.ArrowException as error:
            file.close()
            raise DataError(
                f"{self.path}: not a Parquet file ({error}); remove the dataset's manifest.json and run its stage again"
            ) from error

    def _gone(self) -> DataError:
        return DataError(f"{self.path}: the manifest lists this part but it is gone; run its stage again")

    def _check(self, fs: FileSystem) -> None:
        digest = hashlib.sha256()
        try:
            with fs.open(self.path) as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except FileNotFoundError:
            raise self._gone() from None
        if digest.hexdigest() != self.part.sha256:
            raise DataError(
                f"{self.path}: the content is not what its manifest says (sha256 differs); "
                "remove the dataset's manifest.json and run its stage again"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close(force=True)

    @property
    def blocks(self) -> int:
        """Number of blocks, that is of row groups that hold rows."""
        return sum(rows > 0 for rows in self.rows_of_block)

    @property
    def rows_of_block(self) -> list[int]:
        """Rows of every row group."""
        metadata = self._file.metadata
        return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def block(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one block."""
        return self._file.read_row_group(index, columns=columns, use_threads=False)

    def where(self, index: int) -> str:
        """What an error message calls block `index`."""
        return f"{self.path}, block {index}"

"""Parts: one Parquet file each, one row group a block, named after what is in it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import DataError
from schemas.filesystem import Draft, DraftFile, FileSystem, Readable

_CHECKED: set[tuple[str, str]] = set()
"""(path, sha256) of the parts that this process has read whole once and found right."""

_PAGE_BYTES, _PAGE_ROWS = 1 << 30, 20_000
"""A column of a block is one page of Parquet up to these: the writer's own choice, and what Arrow never goes beyond."""

_ONE_PAGE = {b"awe.vectors": b"one page"}
"""In the footer of parts whose vectors `PartReader` may take as they lie: older parts have a page a megabyte."""


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


def _vectors(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The columns of dense float32 vectors."""
    return {f.name: f.type for f in schema if pa.types.is_fixed_size_list(f.type) and f.type.value_type == pa.float32()}


def _path(name: str, kind: pa.DataType) -> str:
    """What Parquet calls a column."""
    return f"{name}.list.element" if pa.types.is_nested(kind) else name


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet stores the columns: dense vectors as they are, 64-bit numbers by LZ4, the rest by dictionary too.

    Floats of a vector seldom repeat. With a dictionary and zstd a block of 1,024 × 474 was a fifth larger, took eight
    times as long to write and twice as long to read. Nor do ids and float64 distances: without a dictionary a part of
    neighbours is a fifth smaller, written in a third of the time and read in a quarter. Lists are 16 to 25 % smaller by
    zstd, and by LZ4 twice as fast to read: the trainer reads them in every epoch.
    """
    vectors = _vectors(schema)
    paths = {f.name: _path(f.name, f.type) for f in schema}
    seldom_repeat = {*vectors, *(f.name for f in schema if _leaf(f.type) in (pa.int64(), pa.float64()))}
    return {
        "compression": {path: "NONE" if name in vectors else "LZ4" for name, path in paths.items()},
        "use_dictionary": [path for name, path in paths.items() if name not in seldom_repeat],
        "data_page_size": _PAGE_BYTES,
    }


def _leaf(column: pa.DataType) -> pa.DataType:
    return column.value_type if pa.types.is_nested(column) else column


class _Hashing(DraftFile):
    """Hands on what is written, hashing and counting it."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.sha256, self.bytes = hashlib.sha256(), 0

    def write(self, content: Any) -> int:
        data = bytes(content)
        self.sha256.update(data)
        self.bytes += len(data)
        return super().write(data)


class PartWriter:
    """Writes part `index` of a dataset, a block at a time, as a draft until it is whole.

    Two attempts at one part write the same content and so the same name: whichever comes last is harmless.
    """

    def __init__(self, fs: FileSystem, directory: str, index: int, schema: pa.Schema) -> None:
        self._fs, self._directory, self._index, self._schema = fs, directory, index, schema
        self._rows = 0
        self._part: Part | None = None

    def __enter__(self) -> Self:
        self._draft = self._fs.draft(self._directory)
        self._file = _Hashing(self._draft)
        try:
            schema = self._schema.with_metadata(_ONE_PAGE)
            self._writer = pq.ParquetWriter(self._file, schema, **_encoding(schema), store_schema=True)
        except (OSError, pa.ArrowException):
            self._draft.discard()
            raise
        return self

    @property
    def part(self) -> Part:
        """What was written. Raises RuntimeError before the writer is closed, or where it was given up."""
        if self._part is None:
            raise RuntimeError(f"part {self._index} of {self._directory} is not written")
        return self._part

    def write(self, block: pa.Table) -> None:
        """Append one block as a row group; one without rows leaves no trace, so that the others keep their index.

        Raises ValueError or KeyError where it does not fit the schema, or a vector holds a null.
        """
        if not len(block):
            return
        table = block.select(self._schema.names).cast(self._schema)
        for name in _vectors(self._schema):
            if pc.list_flatten(table.column(name)).null_count or table.column(name).null_count:
                raise ValueError(f"column '{name}' holds a null: it would not be as long as its rows")
        self._writer.write_table(table, row_group_size=len(block))
        self._rows += len(block)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._writer.close()  # also of a part that is given up, or its destructor would write to a closed file
            if kind is None:
                self._keep()
        except (OSError, ValueError, pa.ArrowException):  # a full disk, say
            if kind is None:
                raise
        finally:
            self._draft.discard()

    def _keep(self) -> None:
        checksum = self._file.sha256.hexdigest()
        name = f"part-{self._index:05d}-{checksum[:16]}.parquet"
        self._draft.keep(self._fs.join(self._directory, name))
        self._part = Part(name, self._rows, self._file.bytes, checksum)


def _native(file: BinaryIO) -> pa.NativeFile:
    """A file as Arrow reads it; one of this machine by Arrow alone.

    To Python's own file Arrow comes back for every read, and each time has to wait for the interpreter's lock: beside a
    training that is longer than the read itself.
    """
    if not isinstance(getattr(file, "raw", None), io.FileIO):
        return pa.PythonFile(file, mode="r")
    with file:
        return pa.OSFile(file.name)


class PartReader:
    """Reads the blocks of one part, after checking its checksum when the process first opens it.

    Raises
    ------
    DataError : the file is missing, is not the one that the manifest lists, or is no Parquet.
    """

    def __init__(self, fs: Readable, directory: str, part: Part) -> None:
        self.path = fs.join(directory, part.name)
        self.part = part
        try:
            file = fs.open(self.path)
        except FileNotFoundError:
            raise DataError(f"{self.path}: the manifest lists this part but it is gone; run its stage again") from None
        if (self.path, part.sha256) not in _CHECKED:
            self._check(file)
            _CHECKED.add((self.path, part.sha256))
        self._bytes = _native(file)
        self._file = self._open()

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._bytes, pre_buffer=False)
        except pa.ArrowException as error:
            self._bytes.close()
            raise DataError(
                f"{self.path}: not a Parquet file ({error}); remove the dataset's manifest.json and run its stage again"
            ) from error

    def _check(self, file: BinaryIO) -> None:
        """Compare the checksum, and go back to the file's start: a store would send it a second time."""
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
        file.seek(0)
        if digest.hexdigest() != self.part.sha256:
            file.close()
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
        schema, group = self._file.schema_arrow, self._file.metadata.row_group(index)
        names = schema.names if columns is None else columns
        lying = self._lying(schema, group.num_rows)
        rest = self._file.read_row_group(index, [name for name in names if name not in lying], use_threads=False)
        if not any(name in lying for name in names):
            return rest
        arrays = [self._as_it_lies(group, name, lying[name]) if name in lying else rest.column(name) for name in names]
        return pa.table(arrays, schema=pa.schema([schema.field(name) for name in names], rest.schema.metadata))

    def _lying(self, schema: pa.Schema, rows: int) -> dict[str, pa.DataType]:
        """The vector columns that are one page of plain values in a block of so many rows."""
        if not _ONE_PAGE.items() <= (schema.metadata or {}).items() or rows > _PAGE_ROWS:
            return {}
        return {name: kind for name, kind in _vectors(schema).items() if 8 * rows * kind.list_size <= _PAGE_BYTES}

    def _as_it_lies(self, group: pq.RowGroupMetaData, name: str, kind: pa.DataType) -> pa.FixedSizeListArray:
        """A column of vectors, without Arrow's decoder, which takes ten times as long to look at every value's level.

        The values of a page come last in it, after its header and the levels.
        """
        chunks = (group.column(position) for position in range(group.num_columns))
        chunk = next(chunk for chunk in chunks if chunk.path_in_schema == _path(name, kind))
        size = 4 * group.num_rows * kind.list_size
        self._bytes.seek(chunk.data_page_offset + chunk.total_compressed_size - size)
        values = pa.Array.from_buffers(pa.float32(), size // 4, [None, self._bytes.read_buffer(size)])
        return pa.FixedSizeListArray.from_arrays(values, type=kind)

    def where(self, index: int) -> str:
        """What an error message calls block `index`."""
        return f"{self.path}, block {index}"

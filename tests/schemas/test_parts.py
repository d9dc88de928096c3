"""Parts: written whole or not at all, named after their content, and never read when they are something else."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import parts, tables
from schemas.errors import DataError
from schemas.filesystem import LocalDraft, LocalFileSystem
from schemas.parts import Part, PartReader, PartWriter

FS = LocalFileSystem()
SCHEMA = pa.schema([pa.field("id", pa.int64(), False), pa.field("name", pa.string(), False)])


@pytest.fixture(autouse=True)
def _another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been checked yet."""
    monkeypatch.setattr(parts, "_CHECKED", set())


def block(first: int, rows: int) -> pa.Table:
    ids = range(first, first + rows)
    return pa.table({"name": [f"row {i}" for i in ids], "id": pa.array(ids, pa.int64())})


def write(folder: Path, blocks: list[pa.Table], index: int = 0) -> Part:
    with PartWriter(FS, str(folder), index, SCHEMA) as writer:
        for one in blocks:
            writer.write(one)
    return writer.part


def ids(folder: Path, part: Part) -> list[list[int]]:
    with PartReader(FS, str(folder), part) as reader:
        return [reader.block(index)["id"].to_pylist() for index in range(reader.blocks)]


def test_blocks_come_back_one_by_one_in_the_columns_order(tmp_path: Path) -> None:
    part = write(tmp_path, [block(0, 3), block(3, 3), block(6, 1)])
    assert part.rows == 7
    assert ids(tmp_path, part) == [[0, 1, 2], [3, 4, 5], [6]]
    with PartReader(FS, str(tmp_path), part) as reader:
        assert reader.rows_of_block == [3, 3, 1]
        assert reader.block(1).schema.equals(SCHEMA)
        assert reader.block(2, ["name"]).to_pydict() == {"name": ["row 6"]}
        assert reader.where(2) == f"{reader.path}, block 2"


def test_a_block_larger_than_parquets_default_stays_one_block(tmp_path: Path) -> None:
    part = write(tmp_path, [block(0, 1_100_000)])
    with PartReader(FS, str(tmp_path), part) as reader:
        assert reader.rows_of_block == [1_100_000]


def test_the_part_says_what_the_file_is(tmp_path: Path) -> None:
    part = write(tmp_path, [block(0, 5)], index=12)
    content = (tmp_path / part.name).read_bytes()
    assert part.bytes == len(content)
    assert part.sha256 == hashlib.sha256(content).hexdigest()
    assert part.name == f"part-00012-{part.sha256[:16]}.parquet"
    assert Part(**part.as_json()) == part


def test_the_same_content_has_the_same_name_and_another_has_another(tmp_path: Path) -> None:
    one, again, other = (write(tmp_path, [block(first, 5)]) for first in (0, 0, 1))
    assert one == again
    assert other.name != one.name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({one.name, other.name})


def test_a_part_without_rows_is_a_file_without_blocks(tmp_path: Path) -> None:
    part = write(tmp_path, [])
    assert part.rows == 0
    assert ids(tmp_path, part) == []
    assert pq.read_schema(tmp_path / part.name).equals(SCHEMA)


def test_blocks_without_rows_leave_the_others_where_they_are(tmp_path: Path) -> None:
    part = write(tmp_path, [block(0, 0), block(0, 2), block(2, 0), block(2, 1)])
    assert part.rows == 3
    assert ids(tmp_path, part) == [[0, 1], [2]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_an_exception_leaves_no_file(tmp_path: Path, blocks: int) -> None:
    writer = PartWriter(FS, str(tmp_path), 0, SCHEMA)

    def fail() -> None:
        with writer:
            for index in range(blocks):
                writer.write(block(index, 1))
            assert list(tmp_path.iterdir()) != []
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    with pytest.raises(RuntimeError, match="is not written"):
        writer.part  # noqa: B018
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [0, 10, 4000])
def test_a_full_disk_leaves_no_part(tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(LocalDraft):
        written = 0

        def write(self, content: bytes) -> int:
            self.written += len(content)
            if self.written > room:
                raise OSError(28, "No space left on device")
            return super().write(content)

    monkeypatch.setattr(LocalFileSystem, "draft", lambda self, directory: FullDisk(directory))
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, [block(0, 3), block(3, 3000)])
    assert list(tmp_path.iterdir()) == []


def test_while_it_is_written_a_part_has_a_name_of_its_own(tmp_path: Path) -> None:
    with PartWriter(FS, str(tmp_path), 0, SCHEMA) as one, PartWriter(FS, str(tmp_path), 0, SCHEMA) as other:
        names = [path.name for path in tmp_path.iterdir()]
        assert len(names) == 2
        assert not any(name.startswith("part-") for name in names)
        one.write(block(0, 2))
        other.write(block(0, 2))
    assert one.part == other.part
    assert [path.name for path in tmp_path.iterdir()] == [one.part.name if one.part else None]


@pytest.mark.parametrize(
    "wrong",
    [
        pa.table({"id": pa.array([1], pa.int64())}),
        pa.table({"id": pa.array([None], pa.int64()), "name": ["a"]}),
        pa.table({"id": ["x"], "name": ["a"]}),
    ],
    ids=["a missing column", "a null", "another type"],
)
def test_a_block_that_does_not_fit_the_schema_is_not_written(tmp_path: Path, wrong: pa.Table) -> None:
    with pytest.raises((KeyError, ValueError)):
        write(tmp_path, [block(0, 1), wrong])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [0, 0.3, 0.6, -1])
def test_one_changed_byte_is_found_out(tmp_path: Path, where: float) -> None:
    part = write(tmp_path, [block(0, 50)])
    content = bytearray((tmp_path / part.name).read_bytes())
    content[int(where * len(content)) if where >= 0 else -1] ^= 1
    (tmp_path / part.name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{part.name}: .*sha256 differs.*run its stage again"):
        PartReader(FS, str(tmp_path), part)


def test_a_truncated_file_is_found_out(tmp_path: Path) -> None:
    part = write(tmp_path, [block(0, 50)])
    content = (tmp_path / part.name).read_bytes()
    (tmp_path / part.name).write_bytes(content[:-20])
    with pytest.raises(DataError, match="sha256 differs"):
        PartReader(FS, str(tmp_path), part)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet at all"])
def test_a_listed_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    checksum = hashlib.sha256(content).hexdigest()
    (tmp_path / "part-00000-0.parquet").write_bytes(content)
    part = Part("part-00000-0.parquet", 3, len(content), checksum)
    with pytest.raises(DataError, match=r"part-00000-0.parquet: .*Parquet") as refusal:
        PartReader(FS, str(tmp_path), part)
    assert "\n" not in str(refusal.value)


def test_a_missing_part_is_refused_when_first_opened_and_later(tmp_path: Path) -> None:
    part = write(tmp_path, [block(0, 5)])
    assert ids(tmp_path, part)
    (tmp_path / part.name).unlink()
    with pytest.raises(DataError, match="lists this part but it is gone"):
        PartReader(FS, str(tmp_path), part)
    parts._CHECKED.clear()
    with pytest.raises(DataError, match="lists this part but it is gone"):
        PartReader(FS, str(tmp_path), part)


def test_a_part_is_hashed_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = write(tmp_path, [block(0, 5)])
    checked: list[str] = []
    whole = PartReader._check

    def counted(self: PartReader, fs: LocalFileSystem) -> None:
        checked.append(self.path)
        whole(self, fs)

    monkeypatch.setattr(PartReader, "_check", counted)
    for _ in range(3):
        ids(tmp_path, part)
    assert checked == [str(tmp_path / part.name)]


def vectors(rows: int, dimension: int) -> pa.Table:
    values = pa.array(np.random.default_rng(rows).standard_normal(rows * dimension, dtype=np.float32))
    return pa.table(
        {
            "vector": pa.FixedSizeListArray.from_arrays(values, type=tables.vector(dimension)),
            "id": pa.array(range(rows), pa.int64()),
            "list": pa.array([[i] * (i % 3) for i in range(rows)], tables.LIST_INT),
        }
    )


# More than Parquet's usual megabyte a page and, last, more rows than Arrow puts into any page.
@pytest.mark.parametrize(("rows", "dimension"), [((1, 3), 1), ((1024, 700), 474), ((2, 20_001), 20)])
def test_vectors_are_the_ones_that_parquets_own_reader_finds(
    tmp_path: Path, rows: tuple[int, ...], dimension: int
) -> None:
    blocks = [vectors(count, dimension) for count in rows]
    with PartWriter(FS, str(tmp_path), 0, blocks[0].schema) as writer:
        for one in blocks:
            writer.write(one)
    with PartReader(FS, str(tmp_path), writer.part) as reader, pq.ParquetFile(reader.path) as theirs:
        for index, one in enumerate(blocks):
            assert reader.block(index).equals(one)
            assert theirs.read_row_group(index).equals(one)
            assert reader.block(index, ["list", "vector"]).equals(one.select(["list", "vector"]))
            assert reader.block(index, ["vector"]).equals(one.select(["vector"]))


def test_vectors_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = vectors(1024, 474)
    with PartWriter(FS, str(tmp_path), 0, table.schema) as writer:
        writer.write(table)
    asked: list[list[str]] = []
    read = pq.ParquetFile.read_row_group

    def noted(self: pq.ParquetFile, index: int, columns: list[str], use_threads: bool) -> pa.Table:
        asked.append(columns)
        return read(self, index, columns, use_threads=use_threads)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    with PartReader(FS, str(tmp_path), writer.part) as reader:
        reader.block(0)
    assert asked == [["id", "list"]]


def test_vectors_of_a_part_with_many_pages_are_decoded(tmp_path: Path) -> None:
    table = vectors(1024, 474)
    path = tmp_path / "older.parquet"
    pq.write_table(table, path, compression="NONE", use_dictionary=False)
    content = path.read_bytes()
    part = Part(path.name, len(table), len(content), hashlib.sha256(content).hexdigest())
    with PartReader(FS, str(tmp_path), part) as reader:
        assert reader.block(0).equals(table)


def test_a_file_that_is_no_file_of_this_machine_is_read_the_same(tmp_path: Path) -> None:
    class Store(LocalFileSystem):
        def open(self, path: str) -> BinaryIO:
            return BytesIO(Path(path).read_bytes())

    table = vectors(50, 7)
    with PartWriter(FS, str(tmp_path), 0, table.schema) as writer:
        writer.write(table)
    with PartReader(Store(), str(tmp_path), writer.part) as reader:
        assert reader.block(0).equals(table)


@pytest.mark.parametrize("hole", [[[1.0, None]], [[1.0, 2.0], None]], ids=["a value", "a vector"])
def test_a_vector_with_a_null_is_not_written(tmp_path: Path, hole: list[list[float | None] | None]) -> None:
    schema = pa.schema([pa.field("vector", tables.vector(2))])
    with pytest.raises(ValueError, match="holds a null"), PartWriter(FS, str(tmp_path), 0, schema) as writer:
        writer.write(pa.table({"vector": pa.array(hole, tables.vector(2))}))
    assert list(tmp_path.iterdir()) == []


def test_ids_and_float64_distances_have_no_dictionary_and_other_columns_do(tmp_path: Path) -> None:
    schema = pa.schema(
        [pa.field("id", pa.int64()), pa.field("far", pa.list_(pa.float64())), pa.field("name", pa.utf8())]
    )
    with PartWriter(FS, str(tmp_path), 0, schema) as writer:
        writer.write(pa.table({"id": [1, 2], "far": [[0.5], [0.5]], "name": ["a", "a"]}, schema))
    columns = pq.read_metadata(tmp_path / writer.part.name).row_group(0)
    assert [columns.column(i).has_dictionary_page for i in range(3)] == [False, False, True]

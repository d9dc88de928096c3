from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from pipelines.config import Config
from pipelines.errors import ConfigError, DataError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.formats.registry import READERS
from pipelines.ingestion.raw_files import RawFile, find_files, opened, reading
from tests.pipelines.ingested import write

FS = BeamFileSystem()


def found(folder: Path, **data: Any) -> list[RawFile]:
    return find_files(FS, Config.model_validate({"data": {"root": str(folder), **data}}))


def test_files_of_all_splits_are_numbered_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for i, name in enumerate(("c", "a", "b1", "b2")):
        write(tmp_path / name, f"{i} 0:1\n")
    files = found(tmp_path, train=["c", "b*"], test="a")
    assert [(file.index, Path(file.path).name, file.split) for file in files] == [
        (0, "a", "test"),
        (1, "b1", "train"),
        (2, "b2", "train"),
        (3, "c", "train"),
    ]


def test_a_name_that_looks_like_a_pattern_is_the_file_of_that_name(tmp_path: Path) -> None:
    write(tmp_path / "a[1].txt", "1 0:1\n")
    write(tmp_path / "a1.txt", "1 0:1\n")
    assert [Path(file.path).name for file in found(tmp_path, train="a[1].txt")] == ["a[1].txt"]


def test_only_the_last_part_of_a_path_is_a_pattern(tmp_path: Path) -> None:
    for i, folder in enumerate(("a [1]", "a 1")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x1.txt", f"1 0:{i}\n")
        write(tmp_path / folder / "x2.txt", f"2 0:{i}\n")
        write(tmp_path / folder / ".x3.txt", f"3 0:{i}\n")
    names = [str(Path(file.path).relative_to(tmp_path)) for file in found(tmp_path, train="a [1]/*.txt")]
    assert names == ["a [1]/x1.txt", "a [1]/x2.txt"]
    assert [Path(file.path).name for file in found(tmp_path, train="a [1]/x[2-9].txt")] == ["x2.txt"]
    with pytest.raises(ConfigError, match=r"a\*/x1\.txt: no such file"):
        found(tmp_path, train="a*/x1.txt")


@pytest.mark.parametrize("train", ["folder", "folder/", ["x", "folder"]])
def test_a_folder_is_no_file(tmp_path: Path, train: Any) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "x", "1 0:1\n")
    with pytest.raises(ConfigError, match=r"data\.train: .*folder is a folder; give .*folder/\*\.EXT"):
        found(tmp_path, train=train)


@pytest.mark.parametrize(
    ("one", "other"), [("x", "./x"), ("x", "link"), ("x", "sub/../x"), ("x", "copy"), ("x", "x"), ("x", "*")]
)
def test_one_file_is_given_once_however_it_is_spelt(tmp_path: Path, one: str, other: str) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "x", "1 0:1\n")
    if other == "link":
        (tmp_path / "link").symlink_to(tmp_path / "x")
    if other == "copy":
        write(tmp_path / "copy", "1 0:1\n")
    with pytest.raises(ConfigError, match=r"data\.test: .* is given for train too|data\.test: .* as .* of data\.train"):
        found(tmp_path, train=one, test=other)
    with pytest.raises(ConfigError, match=r"data\.train: .* is given twice|data\.train: .* as .* of data\.train"):
        found(tmp_path, train=[one, other])


def test_a_compressed_file_is_read_as_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "a.txt.gz", gzip.compress(b"1 0:1\n"))
    (file,) = found(tmp_path, train="a.txt.gz")
    assert file.format == "svmlight"
    with opened(FS, file) as raw:
        assert raw.read() == b"1 0:1\n"


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_tables_can_be_sought_in(tmp_path: Path, suffix: str) -> None:
    compress = {".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    content = io.BytesIO()
    np.savez(content, X=np.eye(3), y=np.arange(3))
    write(tmp_path / f"a.npz{suffix}", compress(content.getvalue()))
    (file,) = found(tmp_path, train=f"a.npz{suffix}")
    assert file.format == "npz"
    with opened(FS, file) as raw:
        assert READERS["npz"].survey(raw, file.path, file.given).rows == 3


def test_a_compressed_file_whose_name_does_not_say_so_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", gzip.compress(b"1 0:1\n"))
    with pytest.raises(DataError, match=r"a\.txt: it is compressed.* name it .*a\.txt\.gz"):
        found(tmp_path, train="a.txt")


def test_what_goes_wrong_while_reading_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt.gz", b"\x1f\x8b\x08\x00 this is not compressed")
    with pytest.raises(DataError, match=r"a\.txt\.gz: cannot be read"), reading(FS, path) as raw:
        raw.read()


def test_the_checksum_is_of_the_content_and_of_the_label_list(tmp_path: Path) -> None:
    header = "@relation r\n@attribute a numeric\n@attribute l {0,1}\n@attribute m {0,1}\n@data\n1,1,0\n"
    write(tmp_path / "x-train.arff", header)
    write(tmp_path / "x.xml", '<labels><label name="l"/></labels>')
    (first,) = found(tmp_path, train="x-train.arff")
    assert first.given.label_names == ("l",)
    write(tmp_path / "x.xml", '<labels><label name="m"/></labels>')
    (second,) = found(tmp_path, train="x-train.arff")
    assert second.given.label_names == ("m",)
    assert first.sha256 != second.sha256


def test_interactions_and_examples_do_not_go_together(tmp_path: Path) -> None:
    write(tmp_path / "a", "1 0:1\n")
    write(tmp_path / "b", "1 2 3 4\n")
    with pytest.raises(ConfigError, match="a is svmlight but .*b is interactions; give files of one kind"):
        found(tmp_path, train="a", test="b")


@pytest.mark.parametrize(
    ("content", "data", "message"),
    [
        ("1 0:1\n", {"train": "a", "x": "history"}, r"data\.x = history: .*a has no interactions"),
        (
            "1 2 3\n1 5 6\n",
            {"train": "a", "format": "interactions", "intercept": 1},
            r"data\.intercept: .*a holds inter",
        ),
        (
            "1 2 3\n1 5 6\n",
            {"train": "a", "format": "interactions", "landmarks": 500},
            r"data\.landmarks: .*a holds inter",
        ),
        (None, {"format": "digits", "x": "history"}, r"data\.x = history: digits has no interactions"),
        ("1 0:1\n", {"train": "a", "min_rating": 3}, r"data\.min_rating: .*a has no ratings"),
        ("1 2 3\n1 5 6\n", {"train": "a", "format": "interactions", "min_rating": 3}, "a has no ratings"),
        (None, {"format": "digits", "min_rating": 3}, r"data\.min_rating: digits has no ratings"),
        ("a,b,3\n", {"train": "a", "min_rating": float("nan")}, r"data\.min_rating is nan; give a number"),
    ],
)
def test_keys_that_would_be_ignored_are_refused(
    tmp_path: Path, content: str | None, data: dict[str, Any], message: str
) -> None:
    write(tmp_path / "a", content or "")
    with pytest.raises(ConfigError, match=message):
        found(tmp_path, **data)


@pytest.mark.parametrize("data", [{"train": "a"}, {"test": "a"}])
def test_the_embedded_digits_need_no_files(tmp_path: Path, data: dict[str, str]) -> None:
    write(tmp_path / "a", "1 0:1\n")
    with pytest.raises(ConfigError, match=r"data\.format = digits"):
        found(tmp_path, format="digits", **data)

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Config
from pipelines.errors import ConfigError, DataError
from pipelines.filesystem import BeamFileSystem
from pipelines.ingestion.raw_files import RawFile, find_files, opened, reading
from tests.pipelines.ingested import write

FS = BeamFileSystem()


def found(folder: Path, **data: Any) -> list[RawFile]:
    return find_files(FS, Config.model_validate({"data": {"root": str(folder), **data}}))


def test_files_of_all_splits_are_numbered_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("c", "a", "b1", "b2"):
        write(tmp_path / name, "1 0:1\n")
    files = found(tmp_path, train=["c", "b*", "b1"], test="a")
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


def test_a_compressed_file_is_read_as_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "a.txt.gz", gzip.compress(b"1 0:1\n"))
    (file,) = found(tmp_path, train="a.txt.gz")
    assert file.format == "svmlight"
    with opened(FS, file) as raw:
        assert raw.read() == b"1 0:1\n"


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


@pytest.mark.parametrize("data", [{"train": "a"}, {"test": "a"}])
def test_the_embedded_digits_need_no_files(tmp_path: Path, data: dict[str, str]) -> None:
    write(tmp_path / "a", "1 0:1\n")
    with pytest.raises(ConfigError, match=r"data\.format = digits"):
        found(tmp_path, format="digits", **data)

"""Tensor files: safetensors that anyone reads, in pieces, checked against their sha256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from schemas import tensor_file
from schemas.filesystem import LocalFileSystem
from schemas.tensor_file import TensorFileError, read_tensor_file, write_tensors

FS = LocalFileSystem()
TENSORS = {
    "V": np.arange(12, dtype=np.float32).reshape(4, 3).T,
    "U": np.array([[0.1, -0.0]], np.float32),
    "none": np.zeros((0, 5), np.float32),
    "one": np.array(7, np.float32),
    "whole": np.array([2**31 - 1, -1, 16_777_217], np.int32),
}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.shape == right[name].shape
        assert array.dtype == right[name].dtype
        assert array.tobytes() == right[name].tobytes()


@pytest.mark.parametrize("piece", [4, 16, 1 << 24])
def test_written_in_pieces_of_any_size_they_come_back_and_are_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(tensor_file, "_PIECE_BYTES", piece)
    path = str(tmp_path / "some.safetensors")
    draft = FS.draft(str(tmp_path))
    sha256 = write_tensors(draft, TENSORS)
    draft.keep(path)
    content = Path(path).read_bytes()
    assert sha256 == hashlib.sha256(content).hexdigest()
    same(read_tensor_file(FS, path, sha256), TENSORS)
    same(safetensors.numpy.load(content), TENSORS)


def test_what_is_said_of_the_tensors_is_read_by_safetensors(tmp_path: Path) -> None:
    draft = FS.draft(str(tmp_path))
    path = str(tmp_path / "some.safetensors")
    sha256 = write_tensors(draft, TENSORS, {"D": "3", "ä": '{"x": 1}'})
    draft.keep(path)
    with safetensors.safe_open(path, "numpy") as opened:
        assert opened.metadata() == {"D": "3", "ä": '{"x": 1}'}
    same(read_tensor_file(FS, path, sha256), TENSORS)
    with pytest.raises(ValueError, match="the header would have"):
        write_tensors(FS.draft(str(tmp_path)), TENSORS, {"long": "x" * (1 << 20)})


def test_what_safetensors_writes_is_read(tmp_path: Path) -> None:
    content = safetensors.numpy.save({name: np.array(array, order="C") for name, array in TENSORS.items()})
    (tmp_path / "theirs").write_bytes(content)
    same(read_tensor_file(FS, str(tmp_path / "theirs"), hashlib.sha256(content).hexdigest()), TENSORS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"junk", "header"),
        (b"\xff" * 64, "header"),
        ((2).to_bytes(8, "little") + b"{]", "Expecting"),
        ((2).to_bytes(8, "little") + b"{}x", "longer"),
        ((60).to_bytes(8, "little") + b'{"U":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(60), "too early"),
        ((60).to_bytes(8, "little") + b'{"U":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}'.ljust(60), "float32"),
        ((60).to_bytes(8, "little") + b'{"U":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}'.ljust(60), "float32"),
    ],
)
def test_what_is_no_tensor_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(TensorFileError, match=words):
        read_tensor_file(FS, str(tmp_path / "bad"), hashlib.sha256(content).hexdigest())
    with pytest.raises(TensorFileError, match="sha256 differs"):
        read_tensor_file(FS, str(tmp_path / "bad"), "0" * 64)

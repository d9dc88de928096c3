"""A checkpoint on disk: what was written is read, the last one survives anything, and it is no model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from schemas.checkpoint_file import (
    CHECKPOINT,
    CheckpointFile,
    find_checkpoint,
    read_checkpoint_tensors,
    write_checkpoint,
)
from schemas.errors import DataError
from schemas.filesystem import LocalFileSystem
from schemas.model_file import find_model, write_model

FS = LocalFileSystem()


def arrays(value: float) -> dict[str, np.ndarray]:
    return {"U": np.full((3, 2), value, np.float32), "offset": np.array([value], np.float32)}


def write(folder: Path, value: float, before: CheckpointFile | None = None, best: bool = False) -> CheckpointFile:
    return write_checkpoint(FS, str(folder), "r", before, arrays(value), {"step": value, "loss": 0.1}, best)


def values(folder: Path, saved: CheckpointFile, name: str | None) -> float:
    assert name is not None
    return float(read_checkpoint_tensors(FS, str(folder), saved, name)["U"][0, 0])


def test_it_comes_back_bit_for_bit_and_is_no_model(tmp_path: Path) -> None:
    written = write(tmp_path, 0.1)
    found = find_checkpoint(FS, str(tmp_path))
    assert found == written
    assert found.facts == {"step": 0.1, "loss": 0.1}
    back = read_checkpoint_tensors(FS, str(tmp_path), found, found.current)
    assert {name: array.tobytes() for name, array in back.items()} == {
        name: array.tobytes() for name, array in arrays(0.1).items()
    }
    assert found.best is None
    assert find_model(FS, str(tmp_path)) is None
    assert find_checkpoint(FS, str(tmp_path / "elsewhere")) is None


def test_the_best_epochs_arrays_stay_while_the_current_ones_change(tmp_path: Path) -> None:
    saved = write(tmp_path, 1.0, best=True)
    assert saved.best == saved.current
    for value in (2.0, 3.0):
        saved = write(tmp_path, value, saved)
    assert (values(tmp_path, saved, saved.current), values(tmp_path, saved, saved.best)) == (3.0, 1.0)
    saved = write(tmp_path, 4.0, saved, best=True)
    assert values(tmp_path, saved, saved.best) == 4.0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([CHECKPOINT, saved.current])


def test_a_kill_between_two_files_leaves_the_last_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = write(tmp_path, 1.0)

    class Killed(Exception):
        pass

    def die(self: LocalFileSystem, path: str, content: bytes) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, "put", die)
        with pytest.raises(Killed):
            write(tmp_path, 2.0, saved)
    found = find_checkpoint(FS, str(tmp_path))
    assert found == saved
    assert values(tmp_path, found, found.current) == 1.0
    write(tmp_path, 3.0, found)
    assert len(list(tmp_path.glob("checkpoint-*"))) == 1


def test_the_model_takes_its_place(tmp_path: Path) -> None:
    write(tmp_path, 1.0, best=True)
    write_model(FS, str(tmp_path), "r", {"model": arrays(1.0)}, {}, [])
    assert find_checkpoint(FS, str(tmp_path)) is None
    assert not list(tmp_path.glob("checkpoint*"))


def test_one_changed_byte_is_found_out(tmp_path: Path) -> None:
    saved = write(tmp_path, 1.0)
    path = tmp_path / saved.current
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="sha256 differs.*remove checkpoint.json"):
        read_checkpoint_tensors(FS, str(tmp_path), saved, saved.current)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint_tensors(FS, str(tmp_path), saved, saved.current)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"checksum": "x"}'])
def test_what_is_no_checkpoint_is_refused_with_the_mend(tmp_path: Path, content: str) -> None:
    (tmp_path / CHECKPOINT).write_text(content)
    with pytest.raises(DataError, match="remove it to train from the start"):
        find_checkpoint(FS, str(tmp_path))


def test_another_content_under_the_same_checksum_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1.0)
    body = json.loads((tmp_path / CHECKPOINT).read_text())
    body["facts"]["step"] = 2.0
    (tmp_path / CHECKPOINT).write_text(json.dumps(body))
    with pytest.raises(DataError, match="checksum"):
        find_checkpoint(FS, str(tmp_path))

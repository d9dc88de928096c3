"""The model on disk: what was written is read, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.filesystem import LocalDraft, LocalFileSystem
from schemas.model_file import MODEL, ModelFile, find_model, read_tensors, write_model

FS = LocalFileSystem()
FACTS = {"scale": 1 / 3, "bias": 0.0, "C": float("inf"), "best_epoch": 4, "settings": {"D": 2}}
U, V = np.arange(6, dtype=np.float32).reshape(3, 2), np.float32(0.1) * np.ones((4, 2), np.float32)


def write(folder: Path, U: NDArray[np.float32] = U, facts: dict[str, Any] = FACTS, recipe: str = "r") -> ModelFile:
    tensors = {"model": {"U": U, "V": V}, "accumulators": {"U": U * U}}
    return write_model(FS, str(folder), recipe, tensors, facts, [{"epoch": 1, "p@1": 0.5}])


def found(folder: Path) -> ModelFile:
    model = find_model(FS, str(folder))
    assert model is not None
    return model


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_tensors_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, matrix: NDArray[np.float32]) -> None:
    folder = tmp_path_factory.mktemp("model")
    tensors = {"model": {"U": matrix, "V": np.asfortranarray(matrix.T)}}
    model = write_model(FS, str(folder), "r", tensors, {}, [])
    back = read_tensors(FS, str(folder), model, "model")
    assert back["U"].dtype == np.float32
    np.testing.assert_array_equal(back["U"], matrix)
    np.testing.assert_array_equal(back["V"], matrix.T)
    np.testing.assert_array_equal(np.signbit(back["U"]), np.signbit(matrix))


def test_facts_and_history_come_back(tmp_path: Path) -> None:
    model = write(tmp_path)
    assert found(tmp_path) == model
    assert found(tmp_path).facts == FACTS
    assert found(tmp_path).fingerprint == model.fingerprint
    assert json.loads((tmp_path / "history.json").read_text()) == [{"epoch": 1, "p@1": 0.5}]
    assert set(model.files) == {"model.safetensors", "accumulators.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {*model.files, "history.json", MODEL}


def test_the_fingerprint_changes_with_recipe_tensors_and_facts(tmp_path: Path) -> None:
    one = write(tmp_path).fingerprint
    others = [write(tmp_path, U + 1), write(tmp_path, facts={**FACTS, "bias": 0.1}), write(tmp_path, recipe="s")]
    assert len({one, *(other.fingerprint for other in others)}) == 4
    assert write(tmp_path).fingerprint == one


def test_without_model_json_there_is_no_model(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / MODEL).unlink()
    assert find_model(FS, str(tmp_path)) is None
    assert find_model(FS, str(tmp_path / "nowhere")) is None


def test_model_json_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    put = LocalFileSystem.put

    def noted(self: LocalFileSystem, path: str, content: bytes) -> None:
        written.append(Path(path).name)
        put(self, path, content)

    monkeypatch.setattr(LocalFileSystem, "put", noted)
    write(tmp_path)
    assert written[-1] == MODEL
    assert written.count(MODEL) == 1


@pytest.mark.parametrize(("name", "value"), [("scale", 2.0), ("recipe", "s"), ("files", {}), ("new", 1)])
def test_an_edited_fact_is_found_out(tmp_path: Path, name: str, value: Any) -> None:
    write(tmp_path)
    body = json.loads((tmp_path / MODEL).read_text())
    (tmp_path / MODEL).write_text(json.dumps({**body, name: value}))
    with pytest.raises(DataError, match=r"model.json: the fingerprint does not fit .* train again"):
        find_model(FS, str(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"[1]", b"7", b"null", b'"x"', b"\xff", b"{}", b'{"recipe": "r"}']
)
def test_what_is_no_model_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MODEL).write_bytes(content)
    with pytest.raises(DataError, match=r"model.json: not a model .* train again"):
        find_model(FS, str(tmp_path))


@pytest.mark.parametrize("byte", [0, 30, -1])
def test_one_changed_byte_of_a_tensor_is_found_out(tmp_path: Path, byte: int) -> None:
    model = write(tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"model.safetensors: .*sha256 differs"):
        read_tensors(FS, str(tmp_path), model, "model")
    assert read_tensors(FS, str(tmp_path), model, "accumulators")["U"].shape == (3, 2)


def test_a_missing_a_foreign_and_an_unlisted_file_are_refused(tmp_path: Path) -> None:
    model = write(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_tensors(FS, str(tmp_path), model, "model")
    with pytest.raises(DataError, match="model.json does not list it"):
        read_tensors(FS, str(tmp_path), model, "other")


def test_a_listed_file_that_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    junk = ModelFile("r", {"model.safetensors": "8b6a0f3d"}, {})
    with pytest.raises(DataError, match="sha256 differs"):
        read_tensors(FS, str(tmp_path), junk, "model")
    junk.files["model.safetensors"] = hashlib.sha256(b"junk").hexdigest()
    with pytest.raises(DataError, match="cannot be read"):
        read_tensors(FS, str(tmp_path), junk, "model")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite_is_neither_written_nor_read(tmp_path: Path, bad: float) -> None:
    spoilt = U.copy()
    spoilt[1, 1] = bad
    with pytest.raises(DataError, match="model/U overflowed in training; lower train.learning_rate"):
        write(tmp_path / "new", spoilt)
    assert not (tmp_path / "new").exists()
    content = safetensors.numpy.save({"U": spoilt})
    (tmp_path / "model.safetensors").write_bytes(content)
    model = ModelFile("r", {"model.safetensors": hashlib.sha256(content).hexdigest()}, {})
    with pytest.raises(DataError, match="tensor U is not finite; train again with a lower train.learning_rate"):
        read_tensors(FS, str(tmp_path), model, "model")


def test_a_crash_while_a_model_is_replaced_leaves_the_old_one_or_none(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    fs, directory = LocalFileSystem(), str(tmp_path / "model-0")
    write_model(fs, directory, "old", {"model": {"U": np.zeros((2, 2), np.float32)}}, {}, [])

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for owner, step in ((LocalFileSystem, "put"), (LocalDraft, "keep"), (LocalDraft, "write")):
        with monkeypatch.context() as crashing:
            crashing.setattr(owner, step, crash)
            with pytest.raises(KeyboardInterrupt):
                write_model(fs, directory, "new", {"model": {"U": np.ones((2, 2), np.float32)}}, {}, [])
        found = find_model(fs, directory)
        if found is not None:
            assert found.recipe == "old"
            assert not read_tensors(fs, directory, found, "model")["U"].any()
    write_model(fs, directory, "new", {"model": {"U": np.ones((2, 2), np.float32)}}, {}, [])
    assert sorted(path.name for path in (tmp_path / "model-0").iterdir()) == [
        "history.json",
        "model.json",
        "model.safetensors",
    ]


def test_what_an_older_model_and_a_training_left_goes_and_files_of_others_stay(tmp_path: Path) -> None:
    for name in ("ridge.safetensors", "checkpoint.json", "writing-0123"):
        (tmp_path / name).write_bytes(b"left over")
    (tmp_path / "notes.txt").write_bytes(b"a user's own")
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("model.safetensors", "accumulators.safetensors", "history.json", MODEL, "notes.txt")
    }

"""`awe model show`, and what loading a model refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from pipelines.command_line import cli
from pipelines.datasets.models import load_linear, load_model
from pipelines.filesystems.filesystem import BeamFileSystem
from schemas.errors import DataError
from schemas.model_file import write_model

FS = BeamFileSystem()
FACTS = {"settings": {"D": 2}, "offset": 0.0}
U, V = np.ones((4, 2), np.float32), np.ones((3, 2), np.float32)


def test_it_says_shapes_norms_history_and_fingerprints(hostile_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = hostile_run / "model-1"
    capsys.readouterr()
    cli.main(["model", "show", str(directory), "--json"])
    found = json.loads(capsys.readouterr().out)
    described = json.loads((directory / "model.json").read_text())
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    assert found["fingerprint"] == described["fingerprint"]
    assert found["inputs"] == described["inputs"]
    assert "reweighted-1/train" in found["inputs"]
    for name in "UV":
        norms = np.linalg.norm(tensors[name].astype(np.float64), axis=1)
        assert found["tensors"][name]["shape"] == list(tensors[name].shape)
        assert found["tensors"][name]["norms"]["median"] == pytest.approx(np.median(norms))
    assert found["history"] == json.loads((directory / "history.json").read_text())
    cli.main(["model", "show", f"{directory}/"])
    text = capsys.readouterr().out
    assert f"V  10 × 6  norms of rows: least {found['tensors']['V']['norms']['least']:.4g}" in text
    assert [line.split()[0] for line in text.splitlines() if line.endswith("kept")] == [
        str(found["facts"]["best_epoch"])
    ]


def test_where_there_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["model", "show", str(tmp_path)])
    assert stopped.value.code == 1
    assert "there is no model.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"model": {"U": U[:, :1], "V": V}}, r"model.safetensors: tensor U is \[4, 1\] where \[rows, 2\] belongs"),
        ({"model": {"U": U, "V": V.ravel()}}, r"tensor V is \[6\] where \[rows, 2\] belongs"),
        ({"model": {"U": U}}, "tensor 'V' is missing"),
        (
            {"model": {"U": U, "V": V}, "accumulators": {"V": U}},
            r"accumulators.safetensors: tensor V is \[4, 2\] where \[3, 2\] belongs",
        ),
    ],
)
def test_tensors_of_other_shapes_are_refused(tmp_path: Path, tensors: dict[str, dict], words: str) -> None:
    described = write_model(FS, str(tmp_path), "r", tensors, FACTS, [])
    with pytest.raises(DataError, match=words):
        load_model(FS, str(tmp_path), described, warm=True)


def test_a_ridge_of_other_shapes_is_refused(tmp_path: Path) -> None:
    described = write_model(FS, str(tmp_path), "r", {"ridge": {"weights": U, "intercept": V[0, :1]}}, FACTS, [])
    with pytest.raises(DataError, match=r"tensor intercept is \[1\] where \[2\] belongs"):
        load_linear(FS, str(tmp_path), described, "ridge")

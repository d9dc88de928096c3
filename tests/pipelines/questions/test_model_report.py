"""`awe model show`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from pipelines.command_line import cli


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

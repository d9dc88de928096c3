"""What loading a model refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets.models import load_linear, load_model
from pipelines.filesystems.filesystem import BeamFileSystem
from schemas.errors import DataError
from schemas.model_file import write_model

FS = BeamFileSystem()
FACTS = {"settings": {"D": 2}, "offset": 0.0}
U, V = np.ones((4, 2), np.float32), np.ones((3, 2), np.float32)


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


def test_a_model_is_read_with_the_kernel_that_it_was_trained_by(tmp_path: Path) -> None:
    for kernel in ("numpy", "numba"):
        facts = {**FACTS, "settings": {"D": 2, "kernel": kernel}}
        described = write_model(FS, str(tmp_path / kernel), "r", {"model": {"U": U, "V": V}}, facts, [])
        assert load_model(FS, str(tmp_path / kernel), described).kernel == kernel


def test_a_ridge_of_other_shapes_is_refused(tmp_path: Path) -> None:
    described = write_model(FS, str(tmp_path), "r", {"ridge": {"weights": U, "intercept": V[0, :1]}}, FACTS, [])
    with pytest.raises(DataError, match=r"tensor intercept is \[1\] where \[2\] belongs"):
        load_linear(FS, str(tmp_path), described, "ridge")

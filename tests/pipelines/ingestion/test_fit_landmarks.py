from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from awe_core.arrangement import hash_fractions
from awe_core.landmarks import Landmarks
from awe_core.scaling import moments_of, prepared, scaled
from pipelines.command_line import cli
from pipelines.errors import DataError
from tests.pipelines import ingested
from tests.pipelines.conftest import made, write_rows
from tests.pipelines.ingested import by_id, manifest, run, write, write_npz
from tests.pipelines.test_annotate_input import annotated

MAPPED: dict[str, Any] = {"landmarks": 60, "components": 12, "gamma": 0.5}
FLAGS = tuple(f"--data.{key}={value}" for key, value in MAPPED.items())


def test_examples_are_mapped_as_in_memory_and_workers_change_no_byte(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).normal([3, 0, -1], [1, 5, 2], size=(500, 3)).astype(np.float32)
    data = write_npz(tmp_path / "rows.npz", X=raw, y=np.arange(500) % 4)
    roots = tmp_path / "one", tmp_path / "two"
    for root, workers in zip(roots, (1, 2), strict=True):
        flags = f"--direct_num_workers={workers}"
        run(root, flags, train=data, scale="standard", intercept=2.0, rows_per_part=100, block_rows=32, **MAPPED)
    assert ingested.parts(roots[0]) == ingested.parts(roots[1])
    listed = [[part.name for part in manifest(root, "landmarks").parts] for root in roots]
    assert listed[0] == listed[1]

    ids = np.arange(500, dtype=np.int64)
    test = hash_fractions(0, "test", ids) < 0.2
    train = np.flatnonzero(~test & ~(hash_fractions(0, "validation", ids) < 0.1))
    columns = moments_of(raw[train]).columns("standard")
    φ = Landmarks.fit(0, train, scaled(raw[train], "standard", columns), 60, 12, 0.5)
    facts = manifest(roots[0], "examples/train").facts
    assert (facts["dimension"], facts["sparse"], facts["mapped_from"]) == (13, False, {"dimension": 3, "sparse": False})
    for split in ("train", "test"):
        for i, row in by_id(roots[0], split).items():
            expected = prepared(raw[[i]], "standard", columns, φ, 2.0)[0]
            np.testing.assert_allclose(row["features"], expected, rtol=1e-3, atol=1e-5)


def test_sparse_rows_become_dense(tmp_path: Path) -> None:
    X = sp.random(300, 5000, density=0.004, random_state=0, format="csr", dtype=np.float32)
    lines = (" ".join(f"{j}:{v:.4f}" for j, v in zip(x.indices, x.data, strict=True)) for x in X)
    write(tmp_path / "rows.svm", "".join(f"{i % 3} {line}\n" for i, line in enumerate(lines)))
    run(tmp_path / "run", train=str(tmp_path / "rows.svm"), scale="tf-idf", **MAPPED)
    facts = manifest(tmp_path / "run", "examples/train").facts
    assert (facts["dimension"], facts["sparse"]) == (12, False)
    assert facts["mapped_from"] == {"dimension": max(x.indices.max() for x in X if x.nnz) + 1, "sparse": True}


@pytest.mark.parametrize("scale", ["none", "standard"])
def test_new_rows_are_mapped_as_the_run_was(tmp_path: Path, scale: str) -> None:
    write_rows(tmp_path / "rows.npz", 300, 0, list("abcd"))
    data = (f"--data.train={tmp_path / 'rows.npz'}", f"--data.scale={scale}", *FLAGS)
    root = made(tmp_path / "run", *data, "--affinity.n=6")
    np.savez(tmp_path / "all.npz", X=np.load(tmp_path / "rows.npz")["X"])
    found, _ = annotated(root, tmp_path, f"--input={tmp_path / 'all.npz'}", "--k=4")
    of_stage = ingested.rows(root, "predictions-1/awe/test")
    assert len(of_stage) > 30
    for expected in of_stage:
        assert found[expected["id"]]["labels"] == expected["labels"]
        assert found[expected["id"]]["scores"] == pytest.approx(expected["scores"], rel=1e-3, abs=1e-4)


def test_landmarks_of_another_ingest_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.npz", 300, 0, list("abcd"))
    data = (f"--data.train={tmp_path / 'rows.npz'}", *FLAGS[:-1])
    root = made(tmp_path / "run", *data, "--run.iterations=0", "--evaluate.methods=['wsabie']")
    cli.main(["ingest", f"--run={tmp_path / 'other'}", *data, "--data.gamma=3"])
    shutil.rmtree(root / "landmarks")
    shutil.copytree(tmp_path / "other" / "landmarks", root / "landmarks")
    with pytest.raises(SystemExit) as stopped:
        annotated(root, tmp_path, f"--input={tmp_path / 'rows.npz'}")
    assert stopped.value.code == 1
    assert "the model was trained with other landmarks; run 'awe run' again" in capsys.readouterr().err


def test_a_model_of_other_landmarks_is_no_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.npz", 300, 0, list("abcd"))
    data = (f"--data.train={tmp_path / 'rows.npz'}", *FLAGS)
    first = made(tmp_path / "first", *data, "--run.iterations=0", "--evaluate.methods=['wsabie']")
    with pytest.raises(SystemExit) as stopped:
        made(tmp_path / "second", *data, "--run.seed=1", f"--train.init_from={first / 'model-0'}")
    assert stopped.value.code == 2
    assert "the features of two runs are not the same; train from scratch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((200, 3), np.float32), "data.landmarks: half of the pairs of 60 landmarks, or more, have the same x"),
        (np.eye(14, 3, dtype=np.float32), r"data.landmarks: \d+ rows of train make no 12 components"),
    ],
    ids=["alike", "few"],
)
def test_what_cannot_be_mapped_is_refused_in_a_line(tmp_path: Path, X: np.ndarray, message: str) -> None:
    data = write_npz(tmp_path / "rows.npz", X=X, y=np.arange(len(X)) % 3)
    with pytest.raises(DataError, match=message):
        run(tmp_path / "run", train=data, test=0.3, **MAPPED)
    assert not list((tmp_path / "run").rglob("manifest.json"))


def test_more_components_than_landmarks_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["ingest", f"--run={tmp_path}", "--data.format=digits", "--data.landmarks=30"])
    assert stopped.value.code == 2
    assert "data.components = 500 are more than data.landmarks = 30 make" in capsys.readouterr().err

"""Affinities that are learnt with U and V go through all stages without any that is stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from awe_core.affinities.joint_kinds import joint_named
from pipelines.datasets.models import WARM, load_model, model_file
from pipelines.filesystems.filesystem import BeamFileSystem
from tests.end_to_end.runs import DIGITS, awe, metrics, parts
from tests.end_to_end.test_kinds_of_data import interactions


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("linear-sigmoid", "--affinity.beta=0.25"),
        ("top-k", "--affinity.k=3"),
        ("low-rank", "--affinity.rank=2"),
        ("pair-matrix", "--affinity.other=0.5"),
    ],
)
def test_interactions(tmp_path: Path, kind: str, own: str) -> None:
    run, flags = tmp_path / "run", [*interactions(tmp_path), "--data.x=history", f"--affinity.kind={kind}", own]
    awe("run", f"--run={run}", *flags)

    found = metrics(run)
    assert {method for _, iteration, method in found if iteration} == {"awe"}
    assert found["test", 1, "awe"]["p@1"] > 0.1  # twice as often as chance, as in the test of the neighbours' affinity
    assert not [name for name in parts(run) if name.startswith(("embeddings", "reweighted"))]
    described = json.loads((run / "model-1" / "model.json").read_text())
    name, _, value = own.removeprefix("--affinity.").partition("=")
    assert described["settings"]["affinity"][name] == float(value)

    fs, directory = BeamFileSystem(), str(run / "model-1")
    model = load_model(fs, directory, model_file(fs, directory, 1), warm=True)
    assert model.joint == joint_named(kind, described["settings"]["affinity"])
    tensors = {
        "low-rank": {"g": (40, 2), "h": (40, 2)},
        "pair-matrix": {"pair_starts": (41,), "pair_labels": (1600,), "pair_weights": (1600,)},
    }
    assert {tensor: values.shape for tensor, values in model.own.items()} == tensors.get(kind, {})
    assert set(model.accumulators) == {"U", "V", *(tensor for tensor in model.own if not tensor.startswith("pair_"))}
    assert np.isfinite(model.f(np.eye(40, dtype=np.float32))).all()
    assert WARM in {Path(file).stem for file in described["files"]}
    again = awe("run", f"--run={run}", *flags)
    assert "model-1 is up to date, skipped" in again.stderr


def test_dense_features_refit_and_a_second_iteration(tmp_path: Path) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *DIGITS, "--affinity.kind=sigmoid", "--train.refit=true", "--run.iterations=2")
    found = metrics(run)
    assert found["test", 2, "awe"]["p@1"] > 0.8
    assert found["validation", 1, "awe"]["p@1"] > 0.8


def test_a_kind_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = [f"--run={run}", *interactions(tmp_path), "--affinity.kind=max"]
    for command, says in {
        (
            "run",
        ): 'affinity.kind = "max" compares the features of x, and a one-hot user has one; set data.x = "history"',
        ("affinity",): 'affinity.kind = "max" is learnt with U and V',
        ("run", '--evaluate.methods=["gxf"]', "--data.x=history"): 'affinity.kind = "max" stores no G to rank by',
        ("run", "--affinity.kind=linear-sigmoid", "--affinity.beta=2"): "affinity.alpha must be above 0 and above",
    }.items():
        done = awe(*command[:1], *flags, *command[1:], check=False)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 2
        assert last.startswith("awe: ")
        assert says in last
    assert not (run / "model-0").exists()


def test_items_of_every_user_are_held_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [" ".join(map(str, [user, *rng.permutation(30)[: 3 + user % 9]])) for user in range(60)]
    (tmp_path / "met.txt").write_text("\n".join(lines) + "\n")
    run, flags = tmp_path / "run", ["--data.format=interactions", f"--data.train={tmp_path / 'met.txt'}"]
    awe("ingest", f"--run={run}", *flags, "--data.hold_out=2", "--data.x=history")
    rows = {
        split: sum(
            part["rows"] for part in json.loads((run / "examples" / split / "manifest.json").read_text())["parts"]
        )
        for split in ("train", "validation", "test")
    }
    many = sum(3 + user % 9 > 4 for user in range(60))
    assert rows == {"train": 60, "validation": many, "test": many}
    (tmp_path / "plain.svm").write_text("0 1:1\n1 2:1\n")
    for wrong, status, says in (
        (("--data.hold_out=20",), 1, "no user has 41 items; lower data.hold_out"),
        (
            ("--data.hold_out=2", "--data.format=svmlight", f"--data.train={tmp_path / 'plain.svm'}"),
            2,
            "a user's items",
        ),
    ):
        done = awe("ingest", f"--run={tmp_path / 'other'}", *flags, *wrong, check=False)
        assert done.returncode == status
        assert says in done.stderr.strip().splitlines()[-1]

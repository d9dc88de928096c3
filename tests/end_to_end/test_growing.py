"""A second run that begins with the model of a first: labels by name, features by number, the rest grown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.end_to_end.runs import awe

FLAGS = ("--data.format=csv", "--train.D=4", "--train.batch=16", "--train.epochs=2", "--run.iterations=0")


def interactions(path: Path, users: int, items: list[str]) -> None:
    """Every user has three items that follow one another."""
    lines = [f"{user},{items[(user + step) % len(items)]}" for user in range(users) for step in range(3)]
    path.write_text("\n".join(["user,item", *lines]) + "\n")


def tensors(run: Path, stem: str = "model") -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(run / "model-0" / f"{stem}.safetensors")


def test_known_labels_keep_their_vectors_and_new_ones_are_added(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    interactions(tmp_path / "old.csv", 40, ["a", "c", "e", "g"])
    interactions(tmp_path / "new.csv", 50, ["b", "a", "c", "d", "e", "g"])
    awe("ingest", f"--run={first}", *FLAGS, f"--data.train={tmp_path / 'old.csv'}")
    awe("train", f"--run={first}", *FLAGS, f"--data.train={tmp_path / 'old.csv'}")
    flags = (*FLAGS, f"--data.train={tmp_path / 'new.csv'}", "--train.learning_rate=1e-9")
    awe("ingest", f"--run={second}", *flags)
    done = awe("train", f"--run={second}", *flags, f"--init-from={first / 'model-0'}")
    assert "4 of 6 labels and 40 of 50 features are known" in done.stderr
    # At this rate nothing moves: the known rows are found again, each under its name.
    old, new = tensors(first), tensors(second)
    assert new["V"].shape == (6, 4)
    assert new["U"].shape == (50, 4)
    assert np.abs(new["U"][:40] - old["U"]).max() < 1e-6
    for vector in old["V"]:
        assert np.abs(new["V"] - vector).max(axis=1).min() < 1e-6
    again = awe("train", f"--run={second}", *flags, f"--init-from={first / 'model-0'}")
    assert "model-0 is up to date, skipped" in again.stderr
    # Without the model that it began with the run would train another one over it.
    forgotten = awe("run", f"--run={second}", *flags, check=False)
    assert forgotten.returncode == 2
    assert "model-0 began with another run's model" in forgotten.stderr.strip().splitlines()[-1]
    assert (
        "model-0 is up to date"
        in awe("run", f"--run={second}", *flags, f"--train.init_from={first / 'model-0'}").stderr
    )
    refused = awe("train", f"--run={second}", *flags, "--train.D=5", f"--init-from={first / 'model-0'}", check=False)
    assert refused.returncode == 1
    assert "give --train.D=4" in refused.stderr.strip().splitlines()[-1]
    missing = awe("train", f"--run={second}", *flags, f"--init-from={tmp_path / 'nowhere'}", check=False)
    assert missing.returncode in (1, 2)
    assert "nowhere" in missing.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("iteration", [0, 1])
def test_the_constant_of_x_keeps_its_vector_whatever_features_are_added(tmp_path: Path, iteration: int) -> None:
    X, y = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3
    flags = ("--data.format=npz", *FLAGS[1:], "--data.intercept=1", "--train.learning_rate=1e-9")
    runs = {}
    for width in (3, 5):
        np.savez(tmp_path / f"{width}.npz", X=X[:, :width], y=y)
        runs[width] = (f"--run={tmp_path / str(width)}", *flags, f"--data.train={tmp_path / f'{width}.npz'}")
        awe("ingest", *runs[width])
    awe("run", *runs[3], f"--run.iterations={iteration}", "--affinity.n=5")
    origin = tmp_path / "3" / f"model-{iteration}"
    said = awe("train", *runs[5], f"--init-from={origin}").stderr
    assert "4 of 6 features are known" in said
    np.testing.assert_allclose(
        tensors(tmp_path / "5")["U"][[0, 1, 2, 5]],
        safetensors.numpy.load_file(origin / "model.safetensors")["U"],
        atol=1e-6,
    )


def test_the_dimension_may_follow_from_the_number_of_labels(tmp_path: Path) -> None:
    interactions(
        tmp_path / "some.csv", 40, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"]
    )
    flags = (*FLAGS, f"--data.train={tmp_path / 'some.csv'}", "--train.D=auto")
    awe("ingest", f"--run={tmp_path / 'run'}", *flags)
    awe("train", f"--run={tmp_path / 'run'}", *flags)
    assert tensors(tmp_path / "run")["V"].shape == (16, 40)  # 20 · 16^¼


def test_a_distance_trains_iteration_0_and_is_refused_beside_an_affinity(tmp_path: Path) -> None:
    interactions(tmp_path / "some.csv", 40, ["a", "b", "c", "d", "e"])
    flags = (*FLAGS, f"--data.train={tmp_path / 'some.csv'}", "--train.similarity=negative-distance")
    done = awe("run", f"--run={tmp_path / 'run'}", *flags)
    assert "wsabie" in done.stdout
    refused = awe("run", f"--run={tmp_path / 'run'}", *flags, "--run.iterations=1", check=False)
    assert refused.returncode == 2
    assert "cannot be joined to an affinity" in refused.stderr.strip().splitlines()[-1]

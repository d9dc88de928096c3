"""All stages on the kinds of data that users have: refit, sparse tags, interactions, a hierarchy, more iterations."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.runs import DIGITS, SHORT, awe, metrics, parts


def test_refit_takes_its_epochs_from_a_lane_that_never_saw_validation(tmp_path: Path) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *DIGITS, "--train.refit=true")
    for iteration in (0, 1):
        selected = json.loads((run / "selection" / f"model-{iteration}" / "model.json").read_text())
        final = json.loads((run / f"model-{iteration}" / "model.json").read_text())
        assert final["best_epoch"] == selected["best_epoch"]
        assert selected["validation_p@1"] is not None
        assert final["validation_p@1"] is None
        history = json.loads((run / f"model-{iteration}" / "history.json").read_text())
        assert max(record["epoch"] for record in history) == selected["best_epoch"]
    assert {key for key in metrics(run) if key[2] == "awe"} == {("validation", 1, "awe"), ("test", 1, "awe")}
    assert "selection/reweighted-1/test" not in parts(run)


def interactions(folder: Path) -> tuple[str, ...]:
    """Users of two tastes: lists of items for train, validation and test."""
    rng = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for user in range(120):
        liked = rng.permutation(20)[:12] + 20 * (user % 2)
        for split, items in zip(lines, np.split(liked, [8, 10]), strict=True):
            lines[split].append(" ".join(map(str, [user, *items])))
    for split, text in lines.items():
        (folder / f"{split}.txt").write_text("\n".join(text) + "\n")
    files = (f"--data.{split}={folder / split}.txt" for split in lines)
    return ("--data.format=interactions", *files, *SHORT, "--affinity.n=10")


@pytest.mark.parametrize("x", ["user", "history"])
def test_interactions(tmp_path: Path, x: str) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *interactions(tmp_path), f"--data.x={x}")
    found = metrics(run)
    methods = {method for _, _, method in found}
    assert ("knn" in methods) == ("ridge" in methods) == (x == "history")
    # Of 40 items 12 are of the user's taste and not seen; whoever learnt the taste is right twice as often as chance.
    assert found["test", 0, "wsabie"]["p@1"] > 0.1
    assert found["test", 1, "awe"]["p@1"] > 0.1


@pytest.mark.parametrize("x", ["user", "history"])
def test_a_refit_trains_on_one_row_a_user_that_has_all_test_has_seen(tmp_path: Path, x: str) -> None:
    run = tmp_path / "run"
    flags = (f"--run={run}", *interactions(tmp_path), f"--data.x={x}", "--train.refit=true")
    awe("run", *flags)
    examples = {
        name: pq.ParquetDataset(sorted((run / "examples" / name).glob("part-*"))).read().sort_by("id").to_pydict()
        for name in ("refit", "test")
    }
    assert examples["refit"]["labels"] == examples["test"]["seen"]
    assert {len(items) for items in examples["refit"]["labels"]} == {10}
    assert examples["refit"]["indices"] == examples["test"]["indices"]
    made = set(parts(run))
    assert made >= {"reweighted-1/refit", "reweighted-1/test", "selection/reweighted-1/validation"}
    for iteration in (0, 1):
        selected = json.loads((run / "selection" / f"model-{iteration}" / "model.json").read_text())
        final = json.loads((run / f"model-{iteration}" / "model.json").read_text())
        assert final["best_epoch"] == selected["best_epoch"]
        assert final["inputs"].keys() & {"examples/refit", "reweighted-1/refit"}
    assert metrics(run)["test", 1, "awe"]["p@1"] > 0.1
    # The row of the base is what neighbours are asked for by, and what is exported where nothing is said.
    ids, embeddings = examples["refit"]["id"], tmp_path / "out" / "refit.parquet"
    awe("export", str(run), "--of=examples", "--format=parquet", f"--output={tmp_path / 'out'}")
    vectors = np.array(pq.read_table(embeddings).sort_by("id").column("vector").to_pylist(), dtype=np.float64)
    distances = ((vectors - vectors[3]) ** 2).sum(axis=1)
    found = json.loads(awe("neighbours", f"--run={run}", f"--example={ids[3]}", "--k=1", "--json").stdout)
    assert found[0]["distance"] == pytest.approx(np.sort(distances)[1], rel=1e-4)
    skipped = awe("run", *flags).stderr
    assert "examples are up to date" in skipped
    assert "selection/model-1 is up to date" in skipped
    assert json.loads(awe("plan", f"--run={run}", "--json").stdout)["run"]["refit_rows"] == 120
    refused = awe("train", *flags[:-1], check=False)
    assert refused.returncode == 1
    assert "users were written with train.refit = true, and it is false now; run 'awe ingest' again" in refused.stderr


def test_users_of_an_ingest_without_a_refit_are_not_joined_to_those_of_one_before(tmp_path: Path) -> None:
    flags = (f"--run={tmp_path / 'run'}", *interactions(tmp_path))
    awe("ingest", *flags, "--train.refit=true", "--run.seed=0")
    awe("ingest", *flags, "--run.seed=1")
    refused = awe("train", *flags, "--train.refit=true", "--run.seed=1", check=False)
    assert refused.returncode == 1
    assert "train.refit = false, and it is true now; run 'awe ingest' again" in refused.stderr.strip().splitlines()[-1]


def test_a_hierarchy_adds_sibling_precision(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 300)
    X = (np.eye(6)[y] + 0.8 * rng.normal(size=(300, 6))).astype(np.float32)
    names = np.array([f"label {label}" for label in range(6)])
    np.savez(tmp_path / "own.npz", X=X, y=y, label_names=names)
    (tmp_path / "tree.tsv").write_text("".join(f"label {label}\tparent {label // 2}\n" for label in range(6)))
    run = tmp_path / "run"
    awe(
        "run",
        f"--run={run}",
        f"--data.train={tmp_path / 'own.npz'}",
        f"--data.hierarchy={tmp_path / 'tree.tsv'}",
        "--train.D=4",
        "--train.batch=16",
        "--affinity.n=5",
    )
    found = metrics(run)["test", 0, "wsabie"]
    assert found["sibling-p@1"] > found["p@1"] > 2 / 6


def test_bias_and_learnt_offset_go_through_all_stages(tmp_path: Path) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *DIGITS, "--affinity.bias=0.1", "--affinity.offset=learnt", "--affinity.mode=max")
    model = json.loads((run / "model-1" / "model.json").read_text())
    assert model["bias"] == 0.1
    assert model["offset"] != 0
    assert metrics(run)["test", 1, "awe"]["p@1"] > 0.8


@pytest.mark.parametrize("name", ["bibtex", "corel5k"])
def test_real_data(tmp_path: Path, name: str) -> None:
    if "AWE_DATA" not in os.environ:
        pytest.skip("left out: AWE_DATA does not name the folder of the real data")
    stem = {"bibtex": "bibtex/bibtex-{}.arff", "corel5k": "corel5k/Corel5k-{}-sparse.arff"}[name]
    files = [f"--data.{split}={stem.format(split)}" for split in ("train", "test")]
    run = tmp_path / "run"
    awe("run", f"--run={run}", *files, "--data.scale=unit", "--train.D=32")
    found = metrics(run)
    assert found["test", 0, "wsabie"]["p@1"] > found["test", 0, "popularity"]["p@1"] + 0.05
    assert found["test", 1, "awe"]["p@1"] > found["test", 0, "wsabie"]["p@1"]

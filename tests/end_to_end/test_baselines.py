"""The baselines that are asked for: fitted beside model-0, ranked and measured as the others, each with its cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.command_line import cli
from pipelines.jobs import progress
from tests.end_to_end.runs import DIGITS, awe, metrics

METHODS = "['popularity','knn','ridge','one-vs-rest','pamir','wsabie','awe']"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("baselines") / "run"
    awe("run", f"--run={root}", *DIGITS, "--data.scale=unit", "--train.refit=true", f"--evaluate.methods={METHODS}")
    return root


def test_they_learn_and_stand_in_the_results(run: Path) -> None:
    found = metrics(run)
    for method in ("one-vs-rest", "pamir"):
        for split in ("validation", "test"):
            assert found[split, 0, method]["p@1"] > 0.85


def test_the_final_model_takes_over_what_the_selection_chose(run: Path) -> None:
    chosen = json.loads((run / "selection" / "model-0" / "model.json").read_text())
    final = json.loads((run / "model-0" / "model.json").read_text())
    for fact in ("pamir_choice", "one-vs-rest_choice"):
        assert chosen[fact] == final[fact]
    assert chosen["files"]["pamir.safetensors"] != final["files"]["pamir.safetensors"]


def test_results_say_what_a_query_has_to_reach(run: Path) -> None:
    rows = json.loads((run / "results.json").read_text())
    assert not list(run.rglob("sums-*"))
    reached = {row["method"]: row["bytes"] for row in rows if row["split"] == "test"}
    assert reached["ridge"] == reached["pamir"] == reached["one-vs-rest"] == 4 * 65 * 10
    assert reached["wsabie"] == 4 * 8 * (64 + 10)
    manifests = [run / "examples" / split / "manifest.json" for split in ("train", "validation")]
    base = sum(json.loads(manifest.read_text())["rows"] for manifest in manifests)
    assert reached["awe"] == reached["wsabie"] + 4 * 8 * base
    assert reached["knn"] > reached["awe"] > reached["popularity"]
    assert all(row["seconds"] > 0 for row in rows)


def test_without_being_asked_for_they_are_not_fitted(tmp_path: Path) -> None:
    awe("run", f"--run={tmp_path}", *DIGITS, "--run.iterations=0")
    assert {method for _, _, method in metrics(tmp_path)} == {"popularity", "knn", "ridge", "wsabie"}
    assert not list(tmp_path.rglob("pamir*"))


def test_a_log_says_that_they_are_being_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)
    flags = [f"--run={tmp_path}", *DIGITS, "--run.iterations=0", "--evaluate.methods=['pamir','wsabie']"]
    for stage in ("ingest", "train"):
        cli.main([stage, *flags])
    assert "model-0, pamir: " in capsys.readouterr().err


def test_a_join_of_knn_that_does_not_fit_is_the_configurations_fault(tmp_path: Path) -> None:
    ended = awe("run", f"--run={tmp_path}", *DIGITS, "--run.iterations=0", "--affinity.memory=100000", check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("give the join more memory (--memory, or affinity.memory)")

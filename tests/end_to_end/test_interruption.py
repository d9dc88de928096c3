"""A run that is killed, stopped, or started again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.runs import DIGITS, awe, environment, metrics, models, parts

STAGES = {
    "examples": "examples/train/manifest.json",
    "model-0": "model-0/model.json",
    "predictions-0": "predictions-0/wsabie/test/manifest.json",
    "results of iteration 0": "results.json",
    "embeddings-0": "embeddings-0/train/manifest.json",
    "reweighted-1": "reweighted-1/train/manifest.json",
    "model-1": "model-1/model.json",
    "predictions-1": "predictions-1/awe/test/manifest.json",
}
"""Stages by what they say when they begin, and what stands there once they have ended."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    awe("run", f"--run={run}", *DIGITS)
    return run


def _start_until(run: Path, stage: str, number: int, delay_s: float) -> tuple[int, str]:
    """Run until a stage says that it begins, send a signal a moment later; exit status and standard error."""
    command = [sys.executable, "-m", "pipelines", "run", f"--run={run}", *DIGITS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if f"] {stage}" in line and "…" in line:
                time.sleep(delay_s)
                process.send_signal(number)
                break
        said += process.stderr.readlines()
        return process.wait(), "".join(said)


@pytest.mark.timeout(600)
def test_killed_in_every_stage_it_ends_as_if_undisturbed(undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for stage, made in STAGES.items():
        status, said = _start_until(run, stage, signal.SIGKILL, delay_s=0.05)
        assert status == -signal.SIGKILL, said
        assert not (run / made).exists(), f"{stage} was over before it was killed"
    done = awe("run", f"--run={run}", *DIGITS)
    assert "model-0 is up to date, skipped" in done.stderr
    assert parts(run) == parts(undisturbed)
    assert models(run) == models(undisturbed)
    assert metrics(run) == metrics(undisturbed)
    leftovers = [
        path for path in run.rglob("*") if path.name.startswith(("writing-", "pending")) or ".tmp" in path.name
    ]
    assert leftovers == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_with_its_status_and_one_line(tmp_path: Path, number: int, status: int) -> None:
    found, said = _start_until(tmp_path / "run", "predictions-0", number, delay_s=0.1)
    assert found == status
    assert f"stopped by {signal.Signals(number).name}" in said
    assert "Traceback" not in said


def test_a_second_run_does_nothing_and_says_so(undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.name != "run.toml"}
    done = awe("run", f"--run={undisturbed}", *DIGITS)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert done.stderr.count("up to date, skipped") >= 15


def test_another_setting_makes_only_what_depends_on_it(undisturbed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    done = awe("run", f"--run={run}", *DIGITS, "--affinity.n=5")
    assert "model-0 is up to date, skipped" in done.stderr
    assert "reweighted-1/test is up to date" not in done.stderr
    assert parts(run)["embeddings-0/train"] == parts(undisturbed)["embeddings-0/train"]
    assert parts(run)["reweighted-1/train"] != parts(undisturbed)["reweighted-1/train"]


def test_a_failed_rerun_leaves_the_older_run_intact(undisturbed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    before = parts(run), models(run), metrics(run)
    done = awe("run", f"--run={run}", *DIGITS, "--train.learning_rate=1e30", "--train.optimiser=sgd", check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "diverged at epoch 1" in last
    assert "lower train.learning_rate" in last
    assert (parts(run), models(run), metrics(run)) == before


def test_several_seeds_end_in_one_summary(undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = awe("run", f"--run={run}", *DIGITS, "--seeds=0,7")
    assert parts(run / "seed-0") == parts(undisturbed)
    assert parts(run / "seed-7") != parts(undisturbed)
    summary = {row["method"]: row for row in json.loads((run / "summary.json").read_text()) if row["split"] == "test"}
    both = [metrics(run / f"seed-{seed}")["test", 1, "awe"]["p@1"] for seed in (0, 7)]
    assert summary["awe"]["mean"]["p@1"] == pytest.approx(sum(both) / 2)
    assert summary["awe"]["spread"]["p@1"] == pytest.approx(abs(both[0] - both[1]) / 2**0.5)
    assert "± " in done.stdout


def test_rows_of_an_earlier_configuration_do_not_stay(undisturbed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    done = awe("run", f"--run={run}", *DIGITS, "--run.iterations=0", "--train.D=9", "--evaluate.methods=['wsabie']")
    assert set(metrics(run)) == {("validation", 0, "wsabie"), ("test", 0, "wsabie")}
    assert "awe" not in done.stdout


def test_a_stage_does_not_go_on_from_what_an_earlier_model_made(undisturbed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    awe("train", f"--run={run}", *DIGITS, "--train.D=9")
    for stage in ("affinity", "train", "annotate", "evaluate"):
        done = awe(stage, f"--run={run}", *DIGITS, "--train.D=9", "--iteration=1", check=False)
        assert done.returncode == 1, stage
        last = done.stderr.strip().splitlines()[-1]
        assert "was made from another model-0" in last
        assert f"{run}/" in last
        assert "make it again with 'awe " in last


def test_a_part_that_is_gone_is_made_again(undisturbed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    next((run / "reweighted-1" / "train").glob("part-*")).unlink()
    (run / "model-0" / "model.safetensors").unlink()
    awe("run", f"--run={run}", *DIGITS)
    assert parts(run) == parts(undisturbed)
    assert models(run) == models(undisturbed)


def test_results_that_were_edited_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *DIGITS, "--run.iterations=0")
    results = run / "results.json"
    rows = json.loads(results.read_text())
    rows[0]["metrics"]["p@1"] = 0.999
    results.write_text(json.dumps(rows))
    done = awe("run", f"--run={run}", *DIGITS, "--run.iterations=0", check=False)
    assert done.returncode == 1
    assert "was changed by hand" in done.stderr

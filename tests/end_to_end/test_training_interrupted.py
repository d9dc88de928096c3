"""A training that is killed or asked to stop between two steps goes on to the same bytes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.compiled import needs_numba
from tests.end_to_end.runs import CUT, awe, environment

# Some seconds of training: long enough to be hit, with checkpoints many times a second, or after every epoch alone.
TRAINED = (
    "--data.format=digits",
    *CUT,
    "--train.D=8",
    "--train.batch=64",
    "--train.epochs=80",
    "--train.patience=80",
)
OFTEN = "--train.checkpoint_minutes=0.002"


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("ingested") / "run"
    awe("ingest", f"--run={run}", *TRAINED)
    return run


@pytest.fixture(scope="module")
def undisturbed(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(ingested, run)
    awe("train", f"--run={run}", *TRAINED, "--train.threads=1")
    return model_of(run)


def model_of(run: Path) -> dict[str, bytes]:
    assert not list((run / "model-0").glob("checkpoint*"))
    return {name: (run / "model-0" / name).read_bytes() for name in ("model.json", "model.safetensors")}


def stop(run: Path, number: int, delay_s: float, *flags: str) -> tuple[int, str]:
    """Train, send a signal some time after the first step; exit status and standard error.

    What is killed leaves what is on disk: that comes some time after there is a checkpoint.
    """
    command = [sys.executable, "-m", "pipelines", "train", f"--run={run}", *TRAINED, *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "negatives are drawn by" in line:
                if number == signal.SIGKILL:
                    wait_for_checkpoint(run, process)
                time.sleep(delay_s)
                process.send_signal(number)
                break
        said += process.stderr.readlines()
        return process.wait(), "".join(said)


def wait_for_checkpoint(run: Path, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and not (run / "model-0" / "checkpoint.json").exists():
        time.sleep(0.01)


@pytest.mark.parametrize(("flags", "threads"), [((OFTEN,), 4), ((), 2)])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(
    ingested: Path, undisturbed: dict[str, bytes], tmp_path: Path, flags: tuple[str, ...], threads: int
) -> None:
    run = tmp_path / "run"
    shutil.copytree(ingested, run)
    for delay_s in (0.31, 0.07, 0.17):
        status, said = stop(run, signal.SIGKILL, delay_s, f"--train.threads={threads}", *flags)
        assert status == -signal.SIGKILL, said
        assert (run / "model-0" / "checkpoint.json").exists()
        assert not (run / "model-0" / "model.json").exists()
    done = awe("train", f"--run={run}", *TRAINED, f"--train.threads={threads}", *flags)
    assert "going on from the checkpoint of epoch" in done.stderr
    assert model_of(run) == undisturbed


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop_it_leaves_a_checkpoint_and_says_so(
    ingested: Path, undisturbed: dict[str, bytes], tmp_path: Path, number: int, status: int
) -> None:
    run = tmp_path / "run"
    shutil.copytree(ingested, run)
    found, said = stop(run, number, 0.1)
    assert found == status
    assert f"stopped by {signal.Signals(number).name}: a checkpoint of epoch" in said
    assert "Traceback" not in said
    # No model yet: a stage that needs it says so.
    assert awe("embed", f"--run={run}", *TRAINED, check=False).returncode == 1
    awe("train", f"--run={run}", *TRAINED)
    assert model_of(run) == undisturbed


def test_another_kernel_is_refused_and_another_setting_begins_anew(ingested: Path, tmp_path: Path) -> None:
    needs_numba()
    run = tmp_path / "run"
    shutil.copytree(ingested, run)
    stop(run, signal.SIGTERM, 0.05, "--train.kernel=numba")
    refused = awe("train", f"--run={run}", *TRAINED, "--train.kernel=numpy", check=False)
    assert refused.returncode == 2
    assert "train.kernel" in refused.stderr.strip().splitlines()[-1]
    other = awe("train", f"--run={run}", *TRAINED, "--train.kernel=numpy", "--train.epochs=2")
    assert "going on" not in other.stderr
    assert json.loads((run / "model-0" / "model.json").read_text())["settings"]["kernel"] == "numpy"
    assert not list((run / "model-0").glob("checkpoint*"))

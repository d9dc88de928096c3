"""Runs as a user starts them, small enough for tests and still of many parts, blocks and shards."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from pipelines.command_line.cli import main

CUT = ("--data.rows_per_part=80", "--data.block_rows=32")
"""1,797 digits become some 24 parts of about three blocks: more parts of train than there are shards in any test."""

CIFAR = (
    f"--config={Path(__file__).parents[2] / 'configs' / 'cifar100.toml'}",
    "--data.rows_per_part=2500",
    "--train.epochs=2",
)
"""All rows of CIFAR-100, in more parts of train than there are shards in any test; two epochs are enough to compare."""

SHORT = ("--train.D=8", "--train.batch=64", "--train.epochs=8", "--train.learning_rate=0.1")
DIGITS = ("--data.format=digits", *CUT, *SHORT, "--affinity.n=10")


# Commands are forked from one process that has Beam imported, which takes more than two seconds a time.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pipelines.command_line.cli"])


def awe(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        process = _PROCESSES.Process(target=_command, args=(arguments, dict(os.environ), folder))
        process.start()
        process.join()
        stdout, stderr = ((Path(folder) / stream).read_text() for stream in _STREAMS)
    assert process.exitcode is not None
    if check and process.exitcode:
        raise AssertionError(f"exit status {process.exitcode}\n{stderr}")
    return subprocess.CompletedProcess(["awe", *arguments], process.exitcode, stdout, stderr)


_STREAMS = ("stdout", "stderr")


def _command(arguments: tuple[str, ...], environment: dict[str, str], folder: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(_STREAMS, start=1):
        os.dup2(os.open(Path(folder) / stream, os.O_CREAT | os.O_WRONLY), number)
    try:
        main(arguments)
    finally:
        atexit._run_exitfuncs()  # a forked process ends without; Beam's job servers would stay


def environment() -> dict[str, str]:
    """The tests' own, so that the command is this checkout's."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def parts(run: Path) -> dict[str, list[str]]:
    """Names, which carry the checksums, of the parts of every dataset of a run."""
    found: dict[str, list[str]] = {}
    for manifest in sorted(run.rglob("manifest.json")):
        names = [part["name"] for part in json.loads(manifest.read_text())["parts"]]
        assert names == sorted(path.name for path in manifest.parent.glob("part-*")), manifest.parent
        found[str(manifest.parent.relative_to(run))] = names
    return found


def models(run: Path) -> dict[str, bytes]:
    """Content of every tensor file of a run."""
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*.safetensors"))}


def metrics(run: Path) -> dict[tuple[str, int, str], dict[str, float]]:
    """Metrics by split, iteration and method."""
    rows = json.loads((run / "results.json").read_text())
    return {(row["split"], row["iteration"], row["method"]): row["metrics"] for row in rows}


def same(run: Path, reference: Path) -> None:
    """Fails where two runs differ in the checksum of a part, in a model or in a metric."""
    assert parts(run) == parts(reference)
    assert models(run) == models(reference)
    assert metrics(run) == metrics(reference)


def reweighted_alike(reference: Path, run: Path, shards: int, *flags: str) -> None:
    """Fails where the join by so many shards, in a copy of a run, does not give that run's bytes."""
    shutil.copytree(reference, run)
    shutil.rmtree(run / "reweighted-1")
    awe("affinity", f"--run={run}", "--iteration=1", f"--affinity.shards={shards}", *flags)
    assert len(counters(run, "affinity-1")["base_shards"]) == shards
    assert parts(run) == parts(reference)


def counters(run: Path, stage: str) -> dict[str, Any]:
    """What the workers of a job counted."""
    return dict(json.loads((run / "log" / f"{stage}.json").read_text())["counters"])

"""Runs as a user starts them, small enough for tests and still of many parts, blocks and shards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CUT = ("--data.rows_per_part=80", "--data.block_rows=32")
"""1,797 digits become some 24 parts of about three blocks: more parts of train than there are shards in any test."""

DIGITS = ("--data.format=digits", *CUT, "--train.D=8", "--train.batch=64", "--train.epochs=8", "--affinity.n=10")


def awe(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments], capture_output=True, text=True, env=environment(), check=False
    )
    if check and done.returncode:
        raise AssertionError(f"exit status {done.returncode}\n{done.stderr}")
    return done


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


def counters(run: Path, stage: str) -> dict[str, Any]:
    """What the workers of a job counted."""
    return dict(json.loads((run / "log" / f"{stage}.json").read_text())["counters"])

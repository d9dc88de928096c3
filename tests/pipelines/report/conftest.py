"""Runs that reports are made of, once a session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.command_line import cli
from tests.pipelines.conftest import made, write_rows

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "' onmouseover='document.title=1",
    "]]></svg><b>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;not a tag&gt;",
    "\u202egnp.exe",
    "שלום \u200f!",
    "W" * 300,
    "",
    "nul\x00bell\x07",
    "tab\tnew\nline",
]
"""Names of labels that want to be more than names."""


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All methods of three iterations on the digits, in several parts."""
    run = tmp_path_factory.mktemp("digits") / "run"
    cut = ("--data.rows_per_part=600", "--data.block_rows=128", "--train.D=8", "--train.epochs=4", "--affinity.n=8")
    cli.main(["run", f"--run={run}", "--data.format=digits", "--run.iterations=2", *cut])
    return run


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with siblings whose labels have the worst of names."""
    folder = tmp_path_factory.mktemp("hostile")
    write_rows(folder / "rows.npz", 400, 0, HOSTILE)
    parents = [f"{name}\tparent{place % 3}" for place, name in enumerate(HOSTILE) if not set(name) & set("\t\n")]
    (folder / "tree.tsv").write_text("\n".join(line for line in parents if line[0] != "\t") + "\n")
    flags = (f"--data.hierarchy={folder / 'tree.tsv'}", "--affinity.n=8")
    return made(folder / "run", f"--data.train={folder / 'rows.npz'}", *flags)


@pytest.fixture(scope="session")
def bare_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wsabie alone, fitted on validation too, and no label on any row of test."""
    folder = tmp_path_factory.mktemp("bare")
    rows = [f"{row % 3} {row % 3}:3 {3 + row % 4}:1" for row in range(90)]
    (folder / "train.svm").write_text("\n".join(rows) + "\n")
    (folder / "test.svm").write_text(" 0:1 2:1\n 1:2\n")
    files = (f"--data.train={folder / 'train.svm'}", f"--data.test={folder / 'test.svm'}")
    return made(folder / "run", *files, "--run.iterations=0", "--train.refit=true", "--evaluate.methods=['wsabie']")


def results(run: Path) -> dict[tuple[str, int, str], dict[str, Any]]:
    """The rows of results.json by (split, iteration, method)."""
    rows = json.loads((run / "results.json").read_text())
    return {(row["split"], row["iteration"], row["method"]): row for row in rows}


def directions(vectors: np.ndarray) -> np.ndarray:
    """Rows at length 1."""
    return vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)

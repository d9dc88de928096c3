"""What tests of the stages share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.command_line import cli

Awe = Callable[..., int]


@pytest.fixture
def awe(capfd: pytest.CaptureFixture[str]) -> Awe:
    """Types `awe knn`; what it printed is on `awe.err`."""

    def run(*arguments: str) -> int:
        try:
            cli.main(["knn", *arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        else:
            status = 0
        run.err = capfd.readouterr().err  # type: ignore[attr-defined]
        return status

    return run


HOSTILE = [
    "plain",
    "tab\tname",
    "line\nbreak",
    "quo\"te's",
    "ü 漢字 \u2028",
    "",
    "a b",
    "back\\slash",
    "%20",
    "<b>&amp;",
]
"""Names of labels that every format has to survive."""


def write_rows(path: Path, rows: int, seed: int, names: list[str], labelled: bool = True) -> None:
    """Rows whose nearest corner of a simplex is their label."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(names), rows)
    X = (3 * np.eye(len(names))[y] + rng.normal(size=(rows, len(names)))).astype(np.float32)
    np.savez(path, X=X, **({"y": y, "label_names": np.array(names)} if labelled else {}))


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both iterations, standardised with a constant beside, whose labels have the worst of names."""
    folder = tmp_path_factory.mktemp("hostile")
    write_rows(folder / "rows.npz", 400, 0, HOSTILE)
    data = (f"--data.train={folder / 'rows.npz'}", "--data.scale=standard", "--data.intercept=1")
    return made(folder / "run", *data, "--affinity.n=8")


def made(run: Path, *flags: str) -> Path:
    """A small run, made by `awe run`."""
    cut = ("--data.rows_per_part=150", "--data.block_rows=64", "--train.D=6", "--train.epochs=3", "--train.batch=64")
    cli.main(["run", f"--run={run}", *cut, "--evaluate.methods=['wsabie','awe']", *flags])
    return run

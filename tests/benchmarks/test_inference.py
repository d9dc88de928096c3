"""The ModelHandler's benchmark: it measures what it says, and its last line is JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import inference, processes
from pipelines.command_line import cli


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inference")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 120)
    np.savez(folder / "rows.npz", X=3 * np.eye(3)[y] + rng.normal(size=(120, 3)), y=y)
    small = ["--train.D=3", "--train.epochs=1", "--affinity.n=4", "--evaluate.methods=['awe']"]
    cli.main(["run", f"--run={folder / 'run'}", f"--data.train={folder / 'rows.npz'}", *small])
    return folder / "run"


def test_a_measurement_counts_every_row(run: Path) -> None:
    asked = [f"--run={run}", f"--data={run.parent / 'rows.npz'}"]
    done = CliRunner().invoke(inference.main, [*asked, "--measure=2000", "--k=2"], catch_exceptions=False)
    said = json.loads(done.output.splitlines()[-1])
    assert said["rows"] == 2000
    assert said["rows_per_cpu_second"] == pytest.approx(2000 / said["cpu_seconds"])


def test_memory_that_grows_with_the_rows_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(command: list[str]) -> processes.Outcome:
        return processes.Outcome([{}], int(command[-1].partition("=")[2]))

    monkeypatch.setattr(processes, "run", measured)
    done = CliRunner().invoke(
        inference.main, ["--run=RUN", "--data=X", "--rows=1000", "--rows=2000"], catch_exceptions=False
    )
    assert json.loads(done.output)["ratio"] == pytest.approx(inference.MOST_GROWTH / 2)
    with pytest.raises(ValueError, match="2 rows were annotated where 3 were drawn"):
        inference._check(2, expected=3)

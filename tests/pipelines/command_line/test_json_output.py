"""`--json`: standard output is JSON and nothing else; what is said on the way goes to standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import results_table
from pipelines.command_line import cli
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.run_directory import RunDirectory


def out_of(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capfd.readouterr()
    cli.main(arguments)
    return json.loads(capfd.readouterr().out)


def test_run_and_evaluate_give_the_rows_of_all_splits(hostile_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = json.loads((hostile_run / "results.json").read_text())
    of_it = [f"--config={hostile_run / 'run.toml'}", f"--run={hostile_run}"]
    assert out_of(capfd, "run", *of_it, "--json") == rows
    assert out_of(capfd, "evaluate", *of_it, "--iteration=1", "--json") == rows
    assert {row["split"] for row in rows} == {"validation", "test"}


def test_evaluate_ends_in_the_table(hostile_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    cli.main(["evaluate", f"--config={hostile_run / 'run.toml'}", f"--run={hostile_run}", "--quiet"])
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines()[0].split()[:3] == ["method", "T", "p@1"]
    assert [line.split()[:2] for line in out.splitlines()[2:4]] == [["wsabie", "0"], ["awe", "1"]]


def test_several_seeds_give_their_summary(hostile_run: Path, tmp_path: Path) -> None:
    (tmp_path / "seed-0").symlink_to(hostile_run)
    text = results_table.of_seeds(BeamFileSystem(), RunDirectory(str(tmp_path)), [0], as_json=True)
    assert text == (tmp_path / "summary.json").read_text()
    assert json.loads(text)[0]["seeds"] == [0]


@pytest.mark.parametrize(
    "line",
    [
        "plan --json",
        "plan --run=RUN --json",
        "model show RUN/model-0 --json",
        "neighbours --run=RUN --label=plain --json",
    ],
)
def test_what_asks_something_gives_json_alone(hostile_run: Path, capfd: pytest.CaptureFixture[str], line: str) -> None:
    assert out_of(capfd, *line.replace("RUN", str(hostile_run)).split())

"""docs/results.md: what the results say, and nothing that they do not."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import tables
from pipelines.config import Config
from pipelines.results_table import row_fingerprint
from schemas.errors import DataError
from schemas.filesystem import LocalFileSystem
from schemas.manifest import MANIFEST, Manifest
from schemas.model_file import write_model

TABLES = """
[[table]]
title = "Own"
about = "Two labels."
metrics = ["p@1", "p@3"]
published = "own"

[[table.runs]]
config = "configs/own.toml"
run = "runs/own"
seeds = [0, 1]

[[table.runs]]
config = "configs/own.toml"
run = "runs/other"
seeds = [0]
flags = ["--train.D=8"]
methods = ["awe"]
name = "D = 8"
"""
PUBLISHED = """
[own]
source = "A paper"
metrics = ["p@1"]

[own.rows]
Theirs = [12.5]
Others = [11.0]

[own.costs]
Others = [113000.0, 82.0]
"""


def row(method: str, iteration: int, p_at_1: float, **more: Any) -> dict[str, Any]:
    metrics = {"p@1": p_at_1, "p@3": 0.25}
    cost = {"seconds": 2.0, "bytes": 3_000_000}
    made = {"method": method, "split": "test", "iteration": iteration, "seed": 0, "metrics": metrics, "scored": 100}
    made = {**made, **cost, **more}
    return {**made, "fingerprint": row_fingerprint(made)}


def put(root: Path, run: str, seed: int, rows: list[dict[str, Any]]) -> Path:
    directory = root / run / f"seed-{seed}"
    directory.mkdir(parents=True)
    (directory / "results.json").write_text(json.dumps(rows))
    config = Config.model_validate({"data": {"format": "digits"}, "train": {"D": 96}})
    (directory / "run.toml").write_bytes(config.to_toml())
    return directory / "results.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/tables.toml").write_text(TABLES)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/own.toml").write_text('[data]\nformat = "digits"\n\n[train]\nD = 96\n')
    (tmp_path / "pipelines/report").mkdir(parents=True)
    (tmp_path / "pipelines/report/published.toml").write_text(PUBLISHED)
    put(tmp_path, "runs/own", 0, [row("awe", 1, 0.5), row("wsabie", 0, 0.4), row("wsabie", 0, 0.1, split="validation")])
    put(tmp_path, "runs/own", 1, [row("awe", 1, 0.6), row("wsabie", 0, 0.42)])
    return tmp_path


def written(root: Path) -> list[str]:
    tables.main(root)
    return (root / "docs/results.md").read_text().splitlines()


def test_rows_are_means_and_spreads_over_the_seeds_with_the_published_ones_below(root: Path) -> None:
    lines = written(root)
    ours = [line for line in lines if line.startswith("|")]
    assert ours[0] == "|  | p@1 | p@3 | ms | MB | run |"
    assert ours[2] == "| wsabie | 41.00 ± 1.41 | 25.00 ± 0.00 | 20 | 3 | 1 |"
    assert ours[3] == "| awe | 55.00 ± 7.07 | 25.00 ± 0.00 | 20 | 3 | 1 |"
    assert ours[4] == "| *Theirs* | 12.50 | – |  |  | published |"
    assert ours[5] == "| *Others* | 11.00 | – | 113,000 | 82 | published |"
    assert "Published: A paper." in lines


def test_every_row_has_its_command_and_its_settings_and_a_run_that_is_missing_is_said(root: Path) -> None:
    lines = written(root)
    assert "1. `make run CONFIG=configs/own.toml RUN=runs/own SEEDS=0,1`: train.D = 96" in lines
    other = 'make run CONFIG=configs/own.toml RUN=runs/other SEEDS=0 ARGS="--train.D=8"'
    assert f"2. `{other}`: **not run**" in lines
    put(root, "runs/other", 0, [row("awe", 1, 0.3), row("gxf", 1, 0.2)])
    ours = [line for line in written(root) if line.startswith("|")]
    assert "| awe (D = 8) | 30.00 | 25.00 | 20 | 3 | 2 |" in ours
    assert not any("gxf" in line for line in ours)


def test_what_was_measured_outlives_the_run(root: Path) -> None:
    lines = written(root)
    shutil.rmtree(root / "runs")
    assert written(root) == lines
    put(root, "runs/other", 0, [row("awe", 1, 0.3)])
    more = written(root)
    assert [line for line in lines if "runs/other" not in line] == [
        line for line in more if "runs/other" not in line and "D = 8" not in line
    ]


@pytest.mark.parametrize(
    "changed",
    [("docs/tables.toml", "seeds = [0, 1]", "seeds = [0, 1, 2]"), ("configs/own.toml", "D = 96", "D = 64")],
    ids=["command", "settings"],
)
def test_what_was_measured_of_another_command_or_of_other_settings_is_not_said(
    root: Path, changed: tuple[str, str, str]
) -> None:
    assert any(line.startswith("| wsabie") for line in written(root))
    shutil.rmtree(root / "runs")
    path = root / changed[0]
    path.write_text(path.read_text().replace(*changed[1:]))
    lines = written(root)
    assert not any(line.startswith("| wsabie") for line in lines)
    assert json.loads((root / "docs/results.json").read_text()) == {}


@pytest.mark.parametrize(
    ("kind", "ranked_by", "there"), [("knn", "this", True), ("rbf", "this", False), ("knn", "another", False)]
)
def test_results_from_before_a_run_was_begun_anew_are_not_said(
    root: Path, kind: str, ranked_by: str, there: bool
) -> None:
    """They are of the model that stands, and that is of the configuration."""
    fs, seed = LocalFileSystem(), root / "runs/other/seed-0"
    put(root, "runs/other", 0, [row("awe", 1, 0.7)])
    facts = {"settings": {"D": 8}, "inputs": {}, "kind": kind, "n": 50, "lambda_y": "inf"}
    model = write_model(fs, str(seed / "model-1"), "r", {"model": {"U": np.zeros((2, 2), np.float32)}}, facts, [])
    inputs = {"model-1": model.fingerprint if ranked_by == "this" else "0" * 64}
    predictions = seed / "predictions-1/awe/test"
    predictions.mkdir(parents=True)
    (predictions / MANIFEST).write_bytes(Manifest("r", (), (), {}, inputs).to_bytes())
    assert any("70.00" in line for line in written(root)) == there


def test_flags_come_through_the_shell_and_through_that_of_make() -> None:
    flags = ["--affinity.kind=hybrid", '--evaluate.methods=["pamir","awe"]', "--data.root=a b's"]
    run = tables.Run.of({"config": "c", "run": "r", "seeds": [0], "flags": flags}, ["p@1"])
    assert shlex.split(shlex.split(run.command)[-1].removeprefix("ARGS=")) == flags


def test_a_run_may_have_a_command_of_its_own_and_pairs_that_are_compared(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def paired(directories: list[Path], first: str, second: str, metric: str) -> str:
        asked.append((list(directories), first, second, metric))
        return "+1.00"

    monkeypatch.setattr(tables.records, "paired", paired)
    more = 'command = "python -m own"\ncompared = [["awe", "wsabie"]]'
    listed = TABLES.replace("seeds = [0, 1]", f"seeds = [0, 1]\n{more}")
    columns = '["p@1", "p@1-all", "recall@3", "sibling-p@1"]'
    (root / "docs/tables.toml").write_text(listed.replace('["p@1", "p@3"]', columns))
    lines = written(root)
    assert "1. `python -m own`: train.D = 96" in lines
    assert "- awe − wsabie: p@1 +1.00; recall@3 +1.00" in lines
    seeds = [root / "runs/own/seed-0", root / "runs/own/seed-1"]
    assert asked == [(seeds, "awe", "wsabie", "p@1"), (seeds, "awe", "wsabie", "recall@3")]


def test_a_result_that_was_changed_by_hand_is_refused(root: Path) -> None:
    path = root / "runs/own/seed-0/results.json"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(DataError, match="changed by hand"):
        tables.main(root)


def test_the_tables_that_come_with_it_name_configurations_that_are_there() -> None:
    root = Path(__file__).parents[2]
    listed = tables.tomllib.loads((root / "docs/tables.toml").read_text())["table"]
    published = tables.tomllib.loads((root / "pipelines/report/published.toml").read_text())
    for table in listed:
        assert table.get("published") is None or table["published"] in published
        assert all((root / run["config"]).exists() for run in table["runs"])
    for rows in published.values():
        assert all(len(figures) == len(rows["metrics"]) for figures in rows["rows"].values())


def test_the_page_that_comes_with_it_is_written_from_what_is_kept(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for name in ("docs/tables.toml", "docs/results.json", "pipelines/report/published.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    shutil.copytree(root / "configs", tmp_path / "configs")
    tables.main(tmp_path)
    for name in ("docs/results.json", "docs/results.md"):
        assert (tmp_path / name).read_text() == (root / name).read_text()

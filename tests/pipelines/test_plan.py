"""`awe plan` as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.config import Config
from pipelines.jobs.runners import RUNNERS
from pipelines.planning.run_plan import Run
from tests.end_to_end.runs import DIGITS, awe

STAGES = ["ingest", "train", "embed", "affinity", "annotate", "evaluate"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "run"
    awe("run", f"--run={run}", *DIGITS)
    return run


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_plan_is_a_table_of_the_stages_and_flags_to_paste(runner: str) -> None:
    said = awe("plan", "--rows=50000", f"--runner={runner}", "--workers=2", "--memory=16GiB").stdout
    assert [line.split()[0] for line in said.splitlines()[1:7]] == STAGES
    assert f"\n--runner={runner}" in said
    assert "speeds: built in" in said


def test_json_has_the_same_plan_in_bytes_and_seconds() -> None:
    counts = ["--rows=50000", "--features=474", "--labels=100", "--workers=20", "--cores=1", "--memory=4GiB"]
    plan = json.loads(awe("plan", *counts, "--runner=flink", "--json").stdout)
    assert [stage["name"] for stage in plan["stages"]] == STAGES
    assert plan["seconds"] == pytest.approx(sum(stage["seconds"] for stage in plan["stages"]))
    assert plan["run"]["dimension"] == 474
    assert plan["flags"][0].startswith("--runner=flink --parallelism=20 --affinity.memory=")


def test_what_cannot_fit_ends_with_status_2_and_one_line_that_says_what_would() -> None:
    done = awe("plan", "--rows=1000000", "--cores=8", "--memory=1GiB", "--runner=flink", check=False)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("awe: "))
    assert "give it --memory=" in line
    assert done.stdout == ""


def test_the_counts_and_the_speeds_of_a_run_are_its_own(digits: Path) -> None:
    plan = json.loads(awe("plan", f"--run={digits}", "--json").stdout)
    assert sum(plan["run"][split] for split in ("train", "validation", "test")) == 1797
    assert {name: plan["run"][name] for name in ("dimension", "D", "labels", "n", "epochs")} == {
        "dimension": 64,
        "D": 8,
        "labels": 10,
        "n": 10,
        "epochs": 8,
    }
    assert plan["run"]["labels_a_row"] == 1
    assert 1 <= plan["run"]["candidates_found"] <= 10
    assert "from the logs of" in plan["speeds"]["source"]
    assert plan["speeds"]["join"]["per_pair"] > 0


def test_the_settings_of_an_experiment_that_has_not_run_are_its_configurations(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    settings = "[train]\nD = 12\nrefit = true\n[affinity]\nn = 7\ninput_weight = 0.5\n[run]\niterations = 2\n"
    config.write_text('[data]\ntrain = "mine.npz"\n' + settings)
    plan = json.loads(awe("plan", f"--config={config}", "--rows=5000", "--n=9", "--json").stdout)["run"]
    assert {name: plan[name] for name in ("train", "D", "n", "input_weight", "iterations", "refit")} == {
        "train": 5000,
        "D": 12,
        "n": 9,
        "input_weight": 0.5,
        "iterations": 2,
        "refit": True,
    }
    assert "pamir" not in plan["methods"]


def test_what_is_not_said_is_as_a_configuration_has_it() -> None:
    plan = json.loads(awe("plan", "--json").stdout)["run"]
    usual = Config.model_validate({"data": {"format": "digits"}})
    assert (plan["D"], plan["n"], plan["k"]) == (usual.train.D, usual.affinity.n, usual.evaluate.k)
    assert plan["epochs"] == usual.train.epochs == Run.__dataclass_fields__["epochs"].default
    said = awe("plan", "--help").stdout
    assert f"[default: {usual.affinity.n}]" in said
    assert f"[default: {usual.train.epochs}]" in said


def test_where_a_configuration_maps_x_the_features_are_those_of_the_raw_data(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('[data]\ntrain = "mine.npz"\nlandmarks = 300\ncomponents = 40\n')
    asked = f"--config={config}", "--features=90", "--nonzeros=5", "--json"
    plan = json.loads(awe("plan", *asked).stdout)["run"]
    of_x = {name: plan[name] for name in ("dimension", "mapped_from", "landmarks", "nonzeros")}
    assert of_x == {"dimension": 40, "mapped_from": 90, "landmarks": 300, "nonzeros": None}


def test_methods_and_checks_are_of_x_as_landmarks_make_it(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    mapped = "landmarks = 1000\ncomponents = 500\n[affinity]\ninput_weight = 0.8\n"
    config.write_text('[data]\ntrain = "mine.npz"\n' + mapped)
    asked = f"--config={config}", "--features=100000", "--nonzeros=50", "--json"
    plan = json.loads(awe("plan", *asked).stdout)["run"]
    assert plan["input_weight"] == 0.8
    assert "ridge" in plan["methods"]


def test_a_configuration_goes_before_the_run_whose_counts_stay(digits: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('[data]\ntrain = "mine.npz"\n[train]\nD = "auto"\n[affinity]\nkind = "top-k"\n')
    plan = json.loads(awe("plan", f"--run={digits}", f"--config={config}", "--json").stdout)
    assert plan["run"]["kind"] == "top-k"
    assert plan["run"]["dimension"] == 64
    assert sum(plan["run"][split] for split in ("train", "validation", "test")) == 1797
    assert plan["run"]["methods"][-1] == "awe"
    done = awe("plan", f"--config={tmp_path / 'none.toml'}", check=False)
    assert (done.returncode, "there is no such configuration" in done.stderr) == (2, True)


def test_the_kind_is_that_of_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    awe("ingest", f"--run={run}", *DIGITS, "--affinity.kind=top-k")
    plan = json.loads(awe("plan", f"--run={run}", "--json").stdout)
    assert plan["run"]["kind"] == "top-k"
    assert [stage["name"] for stage in plan["stages"]] == ["ingest", "train", "annotate", "evaluate"]


def test_methods_lanes_and_files_are_those_of_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    named = ["popularity", "wsabie", "awe"]
    awe("ingest", f"--run={run}", *DIGITS, "--train.refit=true", f"--evaluate.methods={json.dumps(named)}")
    plan = json.loads(awe("plan", f"--run={run}", "--workers=20", "--runner=flink", "--json").stdout)
    joins = {stage["name"]: len(stage["joins"]) for stage in plan["stages"]}
    assert plan["run"]["methods"] == named
    assert joins["annotate"] == 0  # no knn on the features
    assert joins["affinity"] == 2  # of the selection, and once more with validation
    assert (plan["run"]["files"], plan["run"]["text"]) == (1, False)


def test_options_go_before_the_counts_of_the_run(digits: Path) -> None:
    plan = json.loads(awe("plan", f"--run={digits}", "--rows=2000000", "--memory=32GiB", "--json").stdout)
    assert (plan["run"]["train"], plan["run"]["dimension"]) == (2_000_000, 64)
    assert plan["run"]["candidates_found"] is None


def test_a_run_that_is_not_there_is_said() -> None:
    done = awe("plan", "--run=/nowhere/run", check=False)
    assert done.returncode == 2
    assert "/nowhere/run" in done.stderr.splitlines()[-1]

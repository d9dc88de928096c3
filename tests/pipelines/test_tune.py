"""Settings by validation alone: deterministic, gone on with, never where test can be seen."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines import tune
from pipelines.command_line import cli
from pipelines.config import Config, load_config
from pipelines.errors import ConfigError, DataError, StoreError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs.job import pipeline_options
from pipelines.results_table import row_fingerprint
from pipelines.run_directory import RunDirectory
from pipelines.stage import Context
from pipelines.tuning.search_space import Range, Space
from pipelines.tuning.trials import Trial, Trials
from tests.end_to_end.runs import DIGITS, models

FS = BeamFileSystem()
SPACE: Space = {"train": {"D": [8, 64], "margin": Range(low=0.1, high=10.0, log=True)}}


class Killed(Exception):
    """Stands for a signal."""


def searched(
    root: Path,
    trials: int,
    killed_at: int | None = None,
    seeds: tuple[int, ...] = (0, 1),
    killed_by: type[Exception] = Killed,
) -> list[Trial]:
    """A search whose trials cost nothing: P@1 is best at a margin of 2 with D = 64, and one corner diverges."""
    config = Config.model_validate(
        {"data": {"format": "digits"}, "tune": {"metric": "p@1", "wsabie": {"train": {"C": [], "batch": []}}}}
    )
    context = Context(config, RunDirectory(str(root)), FS, pipeline_options("in-process", []))
    request = tune.Request(None, trials, seeds, seed=5)
    measured = 0

    def measure(number: int, settings: Mapping[str, Any], seed: int) -> tuple[dict[str, float], list[int]]:
        nonlocal measured
        measured += 1
        if measured == killed_at:
            raise killed_by
        if settings["train.margin"] > 8:
            raise DataError("training diverged")
        distance = abs(settings["train.margin"] - 2) / 10 + (settings["train.D"] == 8) / 5
        return {"p@1": 0.9 - distance - 0.01 * seed}, [number + 1]

    found = Trials.load(FS, str(root / "trials.json"), {"seed": 5})
    search = tune.Search("wsabie", SPACE, context, request, found, measure, 1.0)
    search.run()
    return found.searches["wsabie"]


def described(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, t.settings, t.state, t.validation, t.epochs, t.reason) for t in trials]


def test_the_first_trial_is_the_configuration_itself_and_the_search_gets_better(tmp_path: Path) -> None:
    trials = searched(tmp_path, 25)
    assert trials[0].settings["train.D"] == 64
    assert trials[0].settings["train.margin"] == 1.0
    best = max(trials, key=lambda trial: trial.mean("p@1") if trial.state == "complete" else -1)
    assert best.mean("p@1") > trials[0].mean("p@1")
    assert best.settings["train.D"] == 64


def test_a_trial_that_falls_behind_is_given_up_and_one_that_diverges_is_kept_with_its_reason(tmp_path: Path) -> None:
    trials = searched(tmp_path, 25)
    states = {trial.state for trial in trials}
    assert states == {"complete", "pruned", "failed"}
    assert all(len(trial.validation) == 1 for trial in trials if trial.state == "pruned")
    assert {trial.reason for trial in trials if trial.state == "failed"} == {"training diverged"}


def test_a_store_that_goes_away_ends_the_search_and_no_trial_is_blamed(tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", 6)
    with pytest.raises(StoreError):
        searched(tmp_path / "cut", 6, killed_at=5, killed_by=StoreError)
    assert described(searched(tmp_path / "cut", 6)) == described(whole)


def test_a_search_is_the_same_where_the_data_were_moved_and_another_where_other_rows_are_held_out() -> None:
    def asked(**data: Any) -> dict[str, Any]:
        return tune._asked(Config.model_validate({"data": data}), tune.Request(None, 1, (0,), 0))

    assert asked(train="a.svm", root="/one") == asked(train="/two/a.svm") != asked(train="a.svm", scale="unit")
    assert asked(train="a.svm") != asked(train="a.svm", validation=0.2)
    assert asked(train="a.svm") != asked(train="a.svm", test=0.3)


def test_trials_of_other_examples_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "trials.json")
    trials = Trials({"seed": 5})
    trials.measured_on({"seed-0/examples/train": "a"}, path)
    trials.searches["wsabie"] = []
    trials.save(FS, path)
    again = Trials.load(FS, path, {"seed": 5})
    again.measured_on({"seed-0/examples/train": "a"}, path)
    with pytest.raises(ConfigError, match=r"trials\.json: .* the data have changed since"):
        again.measured_on({"seed-0/examples/train": "b"}, path)


@pytest.mark.parametrize("killed_at", [1, 2, 23])
def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, killed_at: int) -> None:
    whole = searched(tmp_path / "whole", 16)
    with pytest.raises(Killed):
        searched(tmp_path / "killed", 16, killed_at)
    assert described(searched(tmp_path / "killed", 16)) == described(whole)
    saved = json.loads((tmp_path / "killed" / "trials.json").read_text())["searches"]["wsabie"]
    assert [trial["settings"] for trial in saved] == [trial.settings for trial in whole]


def test_minutes_bound_the_search_over_all_its_starts(tmp_path: Path) -> None:
    config = Config.model_validate({"data": {"format": "digits"}, "tune": {"metric": "p@1"}})
    context = Context(config, RunDirectory(str(tmp_path)), FS, pipeline_options("in-process", []))
    spent = Trial(0, {"train.D": 8, "train.margin": 1.0}, "complete", [{"p@1": 0.5}], [1], 50.0)
    found = Trials({}, {"wsabie": [spent]}, seconds_before=5.0)

    def measure(number: int, settings: Mapping[str, Any], seed: int) -> tuple[dict[str, float], list[int]]:
        raise AssertionError("there is no time for this trial")

    for minutes in (1.7, 0.1):  # another trial of 50 s does not fit
        tune.Search("wsabie", SPACE, context, tune.Request(minutes, None, (0,), 0), found, measure, 1.0).run()
    assert found.searches["wsabie"] == [spent]


def test_infinite_values_stand_in_trials_json_by_name(tmp_path: Path) -> None:
    trials = Trials({"space": {"train.C": [float("inf"), 1.0]}})
    trials.searches["wsabie"] = [Trial(0, {"train.C": float("inf")}, "complete", [{"p@1": 0.5}], [1], 1.0)]
    trials.save(FS, str(tmp_path / "trials.json"))
    found = Trials.load(FS, str(tmp_path / "trials.json"), {"space": {"train.C": [float("inf"), 1.0]}})
    assert found.searches["wsabie"][0].settings == {"train.C": "inf"}
    assert tune._value([float("inf"), 1.0], "inf") == float("inf")


# --- The command ---

QUICK = (*DIGITS, "--train.epochs=2", "--train.D=32", "--train.learning_rate=0.1", "--affinity.n=10")


def tuned(run: Path, *flags: str) -> None:
    cli.main(("tune", f"--run={run}", *QUICK, "--seeds=0", "--tune.starts=1", *flags))


def fails(capsys: pytest.CaptureFixture[str], run: Path, *flags: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        tuned(run, *flags)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code, capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tune") / "run"
    tuned(root, "--trials=2", "--tune.awe={train={warm_rate=[]}, affinity={mode=[], offset=[], bias=[]}}")
    return root


def test_test_is_never_built(run: Path) -> None:
    assert (run / "seed-0" / "examples" / "validation" / "manifest.json").exists()
    assert not list(run.rglob("test"))
    rows = json.loads((run / "seed-0" / "results.json").read_text())
    assert {row["split"] for row in rows} == {"validation"}


def test_every_trial_stands_in_trials_json_with_its_validation_metrics(run: Path) -> None:
    searches = json.loads((run / "trials.json").read_text())["searches"]
    assert {name: len(trials) for name, trials in searches.items()} == {"wsabie": 2, "awe": 2}
    for trials in searches.values():
        assert all(0 < trial["validation"][0]["p@1"] <= 1 for trial in trials)
        assert all("ndcg@10" in trial["validation"][0] for trial in trials)


def test_the_best_settings_are_a_configuration_that_runs(run: Path) -> None:
    searches = json.loads((run / "trials.json").read_text())["searches"]
    best = max(searches["awe"], key=lambda trial: trial["validation"][0]["p@1"])
    config = load_config(FS, str(run / "best.toml"), {})
    assert config.affinity.n == best["settings"]["affinity.n"]
    start = searches["wsabie"][best["settings"]["start"]]["settings"]
    assert config.train.margin == start["train.margin"]
    assert config.run.iterations == 1
    assert load_config(FS, str(run / "wsabie.toml"), {}).run.iterations == 0
    assert "kernel" not in tomllib.loads((run / "best.toml").read_text())["train"]


def test_models_of_iteration_0_are_shared_and_only_the_best_is_kept(run: Path) -> None:
    kept = {name for name in models(run) if "model-0/model." in name}
    assert len(kept) == 1


def test_the_same_command_does_nothing_again_and_another_search_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "trials.json").read_bytes(), (run / "best.toml").read_bytes()
    status, line = fails(capsys, run, "--trials=2", "--train.patience=7")
    assert (status, "of another search" in line) == (2, True)
    tuned(run, "--trials=2", "--tune.awe={train={warm_rate=[]}, affinity={mode=[], offset=[], bias=[]}}")
    assert ((run / "trials.json").read_bytes(), (run / "best.toml").read_bytes()) == before


@pytest.mark.parametrize("where", [".", "seed-0"])
def test_a_run_whose_test_is_built_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str) -> None:
    cli.main(("ingest", f"--run={tmp_path / where}", *QUICK))
    status, line = fails(capsys, tmp_path, "--trials=1")
    assert status == 2
    assert "examples/test is built" in line
    assert not (tmp_path / "trials.json").exists()


def test_results_on_test_are_enough_to_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row: dict[str, Any] = {"method": "awe", "split": "test", "iteration": 1, "seed": 0, "metrics": {}, "scored": 1}
    (tmp_path / "results.json").write_text(json.dumps([{**row, "fingerprint": row_fingerprint(row)}]))
    status, line = fails(capsys, tmp_path, "--trials=1")
    assert (status, "results on test stand there" in line) == (2, True)


def test_results_of_other_seeds_are_enough_to_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(("run", f"--run={tmp_path}", *QUICK, "--run.iterations=0", "--evaluate.methods=['wsabie']", "--seeds=7"))
    status, line = fails(capsys, tmp_path, "--trials=1")  # on seed 0
    assert (status, "results on test stand there" in line) == (2, True)
    assert not (tmp_path / "trials.json").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--budget=MINUTES"),
        (("--trials=1", "--tune.metric=sibling-p@1"), "tune.metric = sibling-p@1"),
        (("--trials=1", "--tune.metric=p@7"), "tune.metric = p@7"),
        (("--budget=0",), "budget"),
    ],
)
def test_what_cannot_be_searched_for_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: str
) -> None:
    status, line = fails(capsys, tmp_path / "run", *flags)
    assert status == 2
    assert words in line
    assert not (tmp_path / "run").exists()


def test_the_first_search_has_ended_once_the_second_has_begun(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    tuned(copy, "--trials=3", "--tune.awe={train={warm_rate=[]}, affinity={mode=[], offset=[], bias=[]}}")
    searches = json.loads((copy / "trials.json").read_text())["searches"]
    assert {name: len(trials) for name, trials in searches.items()} == {"wsabie": 2, "awe": 3}


@pytest.mark.parametrize(
    ("affinity", "searched_for"),
    [
        ({}, {"n", "lambda_x", "mode", "offset", "bias"}),
        ({"kind": "hybrid", "lambda_y": 2.0}, {"n", "lambda_x", "mode", "offset"}),
        ({"kind": "rbf"}, {"n", "lambda_x", "mode", "offset", "bias"}),
        ({"kind": "rbf", "lambda_y": 2.0}, {"n", "lambda_x", "mode", "offset"}),
        ({"kind": "latent-rbf", "lambda_y": 2.0}, {"n", "lambda_x", "mode", "offset", "bias"}),
        ({"kind": "cluster"}, {"offset", "bias"}),
        ({"kind": "top-k"}, set()),
    ],
)
def test_what_a_kind_does_not_read_is_not_searched_for(affinity: dict[str, Any], searched_for: set[str]) -> None:
    config = Config.model_validate({"data": {"format": "digits"}, "affinity": affinity})
    found = tune._space(config, "awe", tune.AWE)
    assert {name for name in found if name.startswith("affinity.")} == {f"affinity.{key}" for key in searched_for}
    assert "train.warm_rate" in found


def test_where_kinds_are_searched_for_the_keys_of_each_of_them_are() -> None:
    awe = {"affinity": {"kind": ["knn", "cluster"], "leaf_labels": [20, 50], "rank": [2, 4]}}
    config = Config.model_validate({"data": {"format": "digits"}, "tune": {"awe": awe}})
    found = tune._space(config, "awe", tune.AWE)
    assert {"affinity.n", "affinity.leaf_labels", "affinity.bias"} < found.keys()
    assert "affinity.rank" not in found


@pytest.mark.parametrize(
    ("kind", "searched_for"),
    [
        ("knn", {"input_weight", "embedding", "folds"}),
        ("rbf", set()),
        ("cluster", {"input_weight", "embedding"}),
        ("pair-matrix", {"embedding", "pair_labels", "other"}),
        ("constant", set()),
    ],
)
def test_nor_are_keys_of_other_kinds_that_were_asked_for(kind: str, searched_for: set[str]) -> None:
    asked = {"input_weight": [0.0, 0.8], "embedding": ["previous", "first"], "folds": [1, 5]}
    space = {"affinity": {**asked, "pair_labels": [10, 50], "other": [0.0, 1.0], "mode": [], "offset": [], "bias": []}}
    config = Config.model_validate({"data": {"format": "digits"}, "affinity": {"kind": kind}, "tune": {"awe": space}})
    found = {name.removeprefix("affinity.") for name in tune._space(config, "awe", tune.AWE) if "affinity." in name}
    assert found - {"n", "lambda_x"} == searched_for


@pytest.mark.parametrize("flags", [["--affinity.kind=low-rank"], ["--affinity.kind=rbf"], ["--affinity.kind=cluster"]])
def test_every_kind_of_affinity_can_be_tuned(tmp_path: Path, flags: list[str]) -> None:
    small = ["--train.epochs=1", "--run.iterations=2", "--affinity.n=10"]
    cli.main(["tune", f"--run={tmp_path}", *DIGITS, *small, *flags, "--trials=1", "--seeds=0"])
    trials = json.loads((tmp_path / "trials.json").read_text())["searches"]["awe"]
    assert [(trial["state"], trial["reason"]) for trial in trials] == [("complete", None)]

"""`awe doctor`: what is looked at, and what is said and done where something lacks."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from pipelines.command_line import cli, doctor
from pipelines.jobs.runners import RUNNERS


@pytest.fixture(autouse=True)
def _an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def asked(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, the report and the last line of standard error."""
    status = 0
    try:
        cli.main(["doctor", "--json", *flags])
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return status, json.loads(out), (err.strip().splitlines() or [""])[-1]


def finding(report: dict[str, Any], name: str) -> dict[str, str]:
    (found,) = [one for one in report["findings"] if one["name"] == name]
    return dict(found)


def test_a_machine_that_runs_the_tests_can_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report, _ = asked(capsys, f"--run={tmp_path / 'runs' / 'mine'}")
    assert status == 0
    assert report["ready"]
    assert {one["name"] for one in report["findings"] if one["group"] == "runners"} == {*RUNNERS}
    for name in ("Python", "packages", "CPUs", "BLAS", "memory", "run directory", "scratch", "in-process"):
        assert finding(report, name)["state"] == "ok", name
    assert not (tmp_path / "runs").exists()
    cli.main(["doctor", f"--run={tmp_path}"])
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("awe ")
    assert all(f" {one['name']} " in text for one in report["findings"])
    assert text.endswith("a run on the runner in-process can start\n")


def test_a_run_directory_below_a_file_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    status, report, line = asked(capsys, f"--run={tmp_path / 'file' / 'run'}")
    assert status == 1
    assert not report["ready"]
    assert finding(report, "run directory")["state"] == "wrong"
    assert line.startswith("awe: run directory: ")
    assert "is a file; give another --run=DIR" in line


def test_a_folder_without_rights_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    status, report, _ = asked(capsys, f"--run={tmp_path / 'run'}")
    assert status == 1
    assert "cannot be written" in finding(report, "run directory")["found"]
    assert finding(report, "scratch")["state"] == "ok"


def test_too_little_memory_and_disk_are_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "memory_of_machine", lambda: (2**32, 2**29))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40 - 2**20, 2**20))  # type: ignore[attr-defined]
    status, report, _ = asked(capsys, f"--run={tmp_path}")
    assert status == 1
    assert finding(report, "memory")["found"].startswith("0.5 GiB free of 4.0 GiB")
    assert [finding(report, name)["state"] for name in ("memory", "run directory", "scratch")] == ["wrong"] * 3


def test_a_store_without_its_client_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version

    def without_boto3(name: str) -> str:
        if name == "boto3":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", without_boto3)
    needs = ['boto3>=1.34; extra == "aws"', 'numba>=0.1; extra == "fast"', "numpy>=2"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda package: needs)
    status, report, line = asked(capsys, "--run=nowhere://bucket/run")
    assert status == 1
    assert "nowhere://bucket/run" in line
    aws = finding(report, "aws")
    assert (aws["state"], aws["mend"]) == ("absent", 'pip install "affinity-weighted-embedding[aws]"')
    assert "boto3 missing" in aws["found"]
    assert "unknown to the" in finding(report, "tune")["found"]
    assert finding(report, "packages")["found"] == "all 1 that every run needs"


def test_flink_needs_java_and_what_make_builds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    status, report, line = asked(capsys, "--runner=flink")
    assert status == 1
    assert "awe: flink: needs Java 11 or 17" in line
    assert [finding(report, name)["state"] for name in ("Java", "Maven", "Go")] == ["absent"] * 3

    def install(name: str, says: str) -> None:
        (tools / name).write_text(f"#!/bin/sh\necho '{says}' >&2\n")
        (tools / name).chmod(0o755)

    install("java", 'openjdk version "21.0.1" 2023-10-17')
    assert finding(asked(capsys)[1], "Java")["state"] == "absent"
    install("java", 'openjdk version "17.0.15" 2025-04-15')
    report = asked(capsys)[1]
    assert finding(report, "Java")["state"] == "ok"
    assert finding(report, "flink")["mend"] == "install Maven and Go, then make flink"
    install("mvn", "Apache Maven 3.8.7")
    install("go", "go version go1.26")
    assert finding(asked(capsys)[1], "flink")["mend"].startswith("make flink")
    built = doctor.cache() / "flink"
    built.mkdir(parents=True)
    for name in ("flink-job-server.jar", "container"):
        (built / name).write_text("")
    status, report, _ = asked(capsys, "--runner=flink")
    assert status == 0
    assert str(built) in finding(report, "flink")["found"]


def test_versions_and_extras_of_what_is_needed_count() -> None:
    assert doctor._lacking(Requirement("numpy>=1")) == []
    (found,) = doctor._lacking(Requirement("numpy<1"))
    assert found.startswith("numpy <1 (found ")
    assert doctor._lacking(Requirement("no-such-package-anywhere")) == ["no-such-package-anywhere"]

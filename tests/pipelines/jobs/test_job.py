"""Launching jobs: options, runners, and errors as one line."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    GoogleCloudOptions,
    S3Options,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.transforms.environments import python_sdk_dependencies
from apache_beam.utils.subprocess_server import JavaJarServer

from pipelines import log
from pipelines.errors import ConfigError, DataError, JobError, StoreError, unwrap
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.jobs import counters
from pipelines.jobs.job import in_process, make_runner, pipeline_options, run_job, template_of
from pipelines.jobs.runners import RUNNERS


def test_a_flag_that_beam_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="--paralelism: neither a key of the configuration nor an option of Beam"):
        pipeline_options("flink", ["--paralelism=2"])


@pytest.mark.parametrize(
    ("runner", "name", "mode"),
    [
        ("in-process", "FnApiRunner", "in_memory"),
        ("multi-processing", "FnApiRunner", "multi_processing"),
        ("prism", "PrismRunner", "in_memory"),
        ("flink", "FlinkRunner", "in_memory"),
        ("dataflow", "DataflowRunner", "in_memory"),
        ("SparkRunner", "SparkRunner", "in_memory"),
    ],
)
def test_runners_by_our_names_and_by_beams(runner: str, name: str, mode: str) -> None:
    options = pipeline_options(runner, [])
    assert options.view_as(StandardOptions).runner == name
    assert options.view_as(DirectOptions).direct_running_mode == mode


def test_no_runner_is_sent_the_main_session() -> None:
    for runner in RUNNERS:
        assert pipeline_options(runner, []).view_as(SetupOptions).save_main_session is False


@pytest.mark.parametrize("runner", ["flink", "dataflow"])
def test_no_job_waits_for_a_list_of_what_is_installed(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(subprocess, "check_output", lambda command, **_: asked.append(command) or b"")
    options = pipeline_options(runner, ["--experiments=another", "--sdk_location=container"])
    assert not python_sdk_dependencies(options)
    assert asked == []
    assert options.view_as(DebugOptions).lookup_experiment("another")


def test_a_template_is_dataflows_and_what_it_is_planned_by_runs_here() -> None:
    flags = ["--template_location=gs://bucket/template", "--temp_location=gs://bucket/temp"]
    assert template_of(pipeline_options("flink", flags)) is None
    assert template_of(pipeline_options("dataflow", [])) is None
    asked = pipeline_options("dataflow", flags)
    assert template_of(asked) == "gs://bucket/template"
    here = in_process(asked)
    assert template_of(here) is None
    assert make_runner(here).__class__ is FnApiRunner
    assert here.view_as(GoogleCloudOptions).temp_location == "gs://bucket/temp"
    assert template_of(asked) == "gs://bucket/template"


def test_a_job_server_of_flink_takes_records_larger_than_its_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name != "FLINK_CONF_DIR"})
    make_runner(pipeline_options("in-process", []))
    assert "FLINK_CONF_DIR" not in os.environ
    make_runner(pipeline_options("flink", []))
    configuration = Path(os.environ["FLINK_CONF_DIR"], "flink-conf.yaml").read_text().splitlines()
    assert "taskmanager.runtime.large-record-handler: true" in configuration


def test_a_configuration_of_flink_of_the_users_own_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLINK_CONF_DIR", "/etc/flink")
    make_runner(pipeline_options("flink", []))
    assert os.environ["FLINK_CONF_DIR"] == "/etc/flink"


def test_threads_of_the_in_process_runner_work_side_by_side() -> None:
    _MEETING.reset()
    options = pipeline_options("in-process", ["--direct_num_workers=2"])
    with beam.Pipeline(runner=make_runner(options), options=options) as pipeline:
        spread = pipeline | beam.Create([0, 1]) | beam.Reshuffle()
        _ = spread | beam.Map(_meet)


_MEETING = threading.Barrier(2, timeout=30)


def _meet(_: int) -> None:
    """Raises BrokenBarrierError where nobody else comes."""
    _MEETING.wait()


def test_no_data_stream_is_flushed_by_time() -> None:
    """The timer's thread takes no lock that a writer holds, so that elements are lost without a word."""
    make_runner(pipeline_options("in-process", []))
    assert worker_handlers.DATA_BUFFER_TIME_LIMIT_MS == 0


def _count(element: int) -> int:
    counters.count("seen", element)
    counters.observe("sizes", element)
    counters.member("names", f"name {element % 2}")
    return element


def test_counters_of_all_workers_are_added_and_kept(tmp_path: Path) -> None:
    options = pipeline_options("in-process", ["--direct_num_workers=3"])
    found = run_job(
        "count", lambda p: p | beam.Create(list(range(10))) | beam.Map(_count), options, BeamFileSystem(), str(tmp_path)
    )
    assert found["seen"] == 45
    assert found["sizes"] == {"count": 10, "sum": 45, "min": 0, "max": 9}
    assert found["names"] == ["name 0", "name 1"]
    assert json.loads((tmp_path / "count.json").read_text())["counters"] == found


def _note_store(_: int) -> None:
    counters.member("stores", str(FileSystems._pipeline_options.view_as(S3Options).s3_endpoint_url))


def test_workers_in_processes_of_their_own_know_the_options_and_log_no_credentials(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "to-be-found-nowhere"
    flags = ["--s3_endpoint_url=http://store.example", f"--s3_secret_access_key={secret}", "--direct_num_workers=1"]
    options = pipeline_options("multi-processing", flags)
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, "apache_beam"):
        found = run_job(
            "note", lambda p: p | beam.Create([1]) | beam.Map(_note_store), options, BeamFileSystem(), str(tmp_path)
        )
    assert found["stores"] == ["http://store.example"]
    printed = capfd.readouterr()
    assert caplog.text
    assert secret not in caplog.text + printed.out + printed.err


def _fail(element: int) -> int:
    if element == 7:
        raise DataError("own.npz: row 7: broken; mend it")
    return element


@pytest.mark.parametrize("workers", [1, 3])
def test_a_workers_error_comes_back_as_its_one_line(tmp_path: Path, workers: int) -> None:
    options = pipeline_options("in-process", [f"--direct_num_workers={workers}"])
    with pytest.raises(DataError) as raised:
        run_job(
            "fail",
            lambda p: p | beam.Create(list(range(10))) | beam.Map(_fail),
            options,
            BeamFileSystem(),
            str(tmp_path),
        )
    assert str(raised.value) == "own.npz: row 7: broken; mend it"
    assert "_fail" in (tmp_path / "fail-traceback.txt").read_text()


def test_a_store_that_a_worker_process_did_not_reach_is_told_from_wrong_data() -> None:
    text = "Traceback\n  at\nschemas.errors.StoreError: s3://b/x: the store does not answer [while running 'y']\n"
    found = unwrap(RuntimeError(text))
    assert type(found) is StoreError
    assert str(found) == "s3://b/x: the store does not answer"
    assert type(unwrap(RuntimeError(text.replace("StoreError", "DataError")))) is DataError


def test_an_error_without_one_of_ours_keeps_its_last_line() -> None:
    found = unwrap(RuntimeError("Traceback\n  somewhere\nConnectionError: port closed\n"))
    assert isinstance(found, JobError)
    assert str(found) == "RuntimeError: ConnectionError: port closed"


def test_what_a_job_counted_is_said_in_a_table_and_kept_beside_what_it_wrote(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    written, kept = tmp_path / "made", tmp_path / "log"
    written.mkdir()

    def counted(number: int) -> None:
        counters.count("rows", number)
        counters.observe("size", number)
        counters.member(counters.DATASETS, str(written))

    log.configure()
    run_job(
        "stage",
        lambda pipeline: pipeline | beam.Create([1000, 2000]) | beam.Map(counted),
        pipeline_options("in-process", []),
        BeamFileSystem(),
        str(kept),
    )
    said = [line.split("]")[1].split() for line in capfd.readouterr().err.splitlines()]
    assert ["rows", "3,000"] in said
    assert ["size", "3,000", "in", "2:", "1,000", "…", "1,500", "…", "2,000"] in said
    assert (written / "counters.json").read_bytes() == (kept / "stage.json").read_bytes()
    assert json.loads((written / "counters.json").read_text())["counters"]["rows"] == 3000


@pytest.mark.parametrize(
    ("runner", "server"), [("flink", "flink_job_server_jar"), ("SparkRunner", "spark_job_server_jar")]
)
def test_a_runner_without_a_job_server_says_what_to_give(
    runner: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, *_: object) -> str:
        raise RuntimeError(f"Unable to fetch remote job server jar at {url}: HTTP Error 404: Not Found.")

    monkeypatch.setattr(JavaJarServer, "local_jar", no_network)
    with pytest.raises(ConfigError, match=rf"^--runner={runner}: Beam has no job server .*--{server}=FILE"):
        run_job("x", lambda p: p | beam.Create([1]), pipeline_options(runner, []), BeamFileSystem(), str(tmp_path))


def test_a_job_server_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    jar = tmp_path / "flink-job-server.jar"
    with pytest.raises(ConfigError, match=rf"^--flink_job_server_jar={jar}: there is no such file; `awe doctor` says"):
        pipeline_options("flink", [f"--flink_job_server_jar={jar}"])
    with pytest.raises(ConfigError, match="there is no such file"):
        pipeline_options("FlinkRunner", [f"--flink_job_server_jar={tmp_path}"])
    pipeline_options("flink", ["--flink_job_server_jar=https://nowhere/flink-job-server.jar"])
    jar.touch()
    pipeline_options("flink", [f"--flink_job_server_jar={jar}"])

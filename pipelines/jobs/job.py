"""Launching a Beam job: options, runner, the error as one line, the counters as a table."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.runners.runner import PipelineResult, PipelineRunner, create_runner

from pipelines import log
from pipelines.errors import ConfigError, StoreError, TemplateWritten, unwrap
from pipelines.filesystems.filesystem import scheme_of
from pipelines.jobs import counters, process_cache, progress
from pipelines.jobs.memory import give_back, watched_peak
from pipelines.jobs.runners import RUNNERS
from schemas.filesystem import FileSystem
from schemas.manifest import COUNTERS

_WITHOUT_OPTIONS_IN_LOGS = "--sdk_harness_log_level_overrides=" + json.dumps(
    dict.fromkeys(("__main__", "apache_beam.runners.worker.sdk_worker_main"), "WARNING")
)
"""Every worker begins by logging all options, and credentials may be among them."""


def pipeline_options(runner: str, flags: Sequence[str]) -> PipelineOptions:
    """Beam's options for a runner. Raises ConfigError on flags that Beam would silently drop.

    The in-process runner gets as many worker threads as the machine has cores: the kernels hold one core each (BLAS is
    held to one thread) and release the interpreter while they compute. Its threads hand elements over in memory. Beam
    advises `multi_threading` for several, which sends them through gRPC: of a join of 250,000 rows that took 9 of 19
    seconds beside the products, and a third of the memory.
    """
    stray = [flag for flag in flags if not flag.startswith("--")]
    if stray:
        raise ConfigError(f"{stray[0]}: neither a flag nor the value of one; write --name=value")
    defaults: list[str] = []
    given = {flag.partition("=")[0] for flag in flags}
    if RUNNERS.get(runner) == "FnApiRunner":
        mode = "multi_processing" if runner == "multi-processing" else "in_memory"
        if "--direct_running_mode" not in given:
            defaults.append(f"--direct_running_mode={mode}")
        if "--direct_num_workers" not in given:
            defaults.append(f"--direct_num_workers={os.cpu_count() or 1}")
    # Beam pickles __main__ for Dataflow unless told not to; nothing of a job is defined there.
    options = _parsed(["--no_save_main_session", *defaults, _WITHOUT_OPTIONS_IN_LOGS, *flags])
    known, kept = options.get_all_options(), options.get_all_options(retain_unknown_options=True)
    unknown = sorted(set(kept) - set(known))
    if unknown:
        raise ConfigError(f"--{unknown[0]}: neither a key of the configuration nor an option of Beam")
    name = RUNNERS.get(runner, runner)
    if name != "FnApiRunner":
        try:
            create_runner(name)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"--runner={runner}: {error}; ours are {', '.join(RUNNERS)}") from None
    if name == RUNNERS["flink"]:
        _refuse_lost_jar(options.view_as(FlinkRunnerOptions).flink_job_server_jar)
    options.view_as(StandardOptions).runner = name
    # Beam would ask `pip freeze` at every job and send the list along, which nobody reads.
    options.view_as(DebugOptions).add_experiment("disable_logging_submission_environment")
    return options


def _parsed(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options. Raises ConfigError where it would print its usage and end the process."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = PipelineOptions(flags)
            workers = options.view_as(DirectOptions).direct_num_workers
    except SystemExit:
        reason = said.getvalue().strip().rpartition("error: ")[2]
        raise ConfigError(f"an option of Beam: {reason}") from None
    if workers < 0:
        raise ConfigError(f"--direct_num_workers={workers}: give 0, for one a CPU, or more")
    return options


def _refuse_lost_jar(jar: str | None) -> None:
    """Raises ConfigError where the job server is to be a file and there is none; Beam looks when the job is built."""
    if jar is not None and scheme_of(jar) is None and not os.path.isfile(jar):
        raise ConfigError(
            f"--flink_job_server_jar={jar}: there is no such file; `awe doctor` says where `make flink` puts it"
        )


def template_of(options: PipelineOptions) -> str | None:
    """Where Dataflow's template of the job goes that would otherwise run; None where it runs."""
    if options.view_as(StandardOptions).runner != RUNNERS["dataflow"]:
        return None
    location: str | None = options.view_as(GoogleCloudOptions).template_location
    return location


def in_process(options: PipelineOptions) -> PipelineOptions:
    """The options for a job that is run where it is launched."""
    here = PipelineOptions(flags=[], **options.get_all_options(drop_default=True))
    here.view_as(StandardOptions).runner = RUNNERS["in-process"]
    here.view_as(DirectOptions).direct_num_workers = os.cpu_count() or 1
    return here


def make_runner(options: PipelineOptions) -> PipelineRunner | str:
    """The runner itself: Beam knows the in-process one by no name of its own."""
    name = options.view_as(StandardOptions).runner
    if name == "FnApiRunner":
        # Beam 2.77 flushes the data streams of gRPC by a timer as well as by size, and the timer's thread
        # takes no lock that a writer holds: what is written between its copy and its clear is lost without a word. One
        # run in ten of 2 threads lost a block so. 0 is "no timer"; streams are still flushed by size and at their end.
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0
        return FnApiRunner(provision_info=_provision(options))
    if name == RUNNERS["flink"]:
        # Where Beam's job server, started in our environment, reads its configuration; the user's own one holds.
        os.environ.setdefault("FLINK_CONF_DIR", str(Path(__file__).parent / "flink"))
    return str(name)


def _provision(options: PipelineOptions) -> ExtendedProvisionInfo:
    """What worker processes are told of the options, which Beam 2.77 keeps from them: where the store is, say."""
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options(drop_default=True))
    return ExtendedProvisionInfo(
        beam_provision_api_pb2.ProvisionInfo(retrieval_token="unused", pipeline_options=encoded)
    )


def _wait(result: PipelineResult) -> None:
    """Wait for a job, and ask its runner to cancel it with this process: a cluster may go on without whoever asked."""
    try:
        result.wait_until_finish()
    except (SystemExit, KeyboardInterrupt):
        result.cancel()
        raise


def _keep_traceback(fs: FileSystem, path: str, printed: IO[str]) -> None:
    """Write the traceback of what is being handled, and what the workers printed."""
    printed.seek(0)
    fs.put(path, f"{traceback.format_exc()}\n\nThe workers printed:\n\n{printed.read()}".encode())
    log.detail(f"the whole traceback is in {path}")


def _without_job_server(error: Exception, options: PipelineOptions) -> ConfigError | None:
    """Where Flink's or Spark's runner was given no job server and Beam could fetch none: what to give."""
    if "job server jar" not in str(error):
        return None
    name = options.view_as(StandardOptions).runner
    ours = next((ours for ours, beams in RUNNERS.items() if beams == name), name)
    mend = "; `awe doctor` says where Flink's is, docs/runners/flink.md how to start one" if ours == "flink" else ""
    return ConfigError(
        f"--runner={ours}: Beam has no job server for it and could not fetch one; give --job_endpoint=HOST:PORT or "
        f"--{ours.lower().removesuffix('runner')}_job_server_jar=FILE{mend}"
    )


def run_job(
    stage: str,
    build: Callable[[beam.Pipeline], Any],
    options: PipelineOptions,
    fs: FileSystem,
    log_directory: str,
    rows: int | None = None,
) -> dict[str, Any]:
    """Build a pipeline, run it to its end and return its counters. `rows` is what it comes to, as far as it is known.

    The counters are said in a table, and kept beside the manifest of every dataset that was written. They, the seconds,
    the most bytes that this process held and, of a failure, the whole traceback go to `log_directory`; what is raised
    has one line.

    Raises
    ------
    TemplateWritten : a template was asked for: nothing runs, so there is no job to wait for and nothing was counted.
    """
    start, template = time.monotonic(), template_of(options)
    try:
        pipeline = beam.Pipeline(runner=make_runner(options), options=options)
    except ValueError as error:  # Beam's own check of the options that a runner needs
        raise ConfigError(f"the runner's options: {error}") from error
    with tempfile.TemporaryFile("w+") as printed:
        try:
            with progress.shown(stage, rows), log.kept_quiet(printed), watched_peak() as peak:
                build(pipeline)
                result = pipeline.run()
                if template is None:
                    _wait(result)
                    if result.state not in ("DONE", "UPDATED"):
                        raise RuntimeError(f"the job ended in state {result.state}")
        except Exception as error:
            cause = _without_job_server(error, options) or unwrap(error)
            if not isinstance(cause, StoreError):  # of which the line says all, and the store would be waited for again
                _keep_traceback(fs, fs.join(log_directory, f"{stage}-traceback.txt"), printed)
            raise cause from error
        finally:
            process_cache.clear_all()  # an in-process runner's workers are this process, which may train next
            give_back()
    if template is not None:
        raise TemplateWritten(f"{stage} was not run: its template is {template}")
    found = counters.totals(result)
    seconds = round(time.monotonic() - start, 3)
    table = {"stage": stage, "seconds": seconds, "peak_bytes": peak.bytes, "counters": found}
    content = json.dumps(table, indent=1, sort_keys=True).encode()
    written = found.get(counters.DATASETS, [])
    for path in (fs.join(log_directory, f"{stage}.json"), *(fs.join(name, COUNTERS) for name in written)):
        fs.put(path, content)
    for line in counters.described(found):
        log.detail(line)
    return found

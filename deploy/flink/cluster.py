"""A standalone Flink cluster on this machine: JobManager, TaskManagers and Beam's job server, as ordinary processes.

    python deploy/flink/cluster.py start DIRECTORY --jar=JAR [--task-managers=2] [--port=8081]
    python deploy/flink/cluster.py stop DIRECTORY

DIRECTORY gets the configuration, the logs and what Flink keeps; `stop` ends every process and removes all but the logs.
A TaskManager starts the workers of Beam's Python SDK itself, with the `python` of the environment that runs this
program, by Beam's boot program: submit with --environment_type=PROCESS (docs/runners/flink.md). The job server stays
for all jobs: started for each of them it took 4 s of CPU more.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import click
import psutil

_HERE = Path(__file__).parent
_CONFIGURATIONS = (_HERE / "flink-conf.yaml", _HERE.parents[1] / "pipelines/jobs/flink/flink-conf.yaml")
"""Of the cluster, and of every job server that runs our jobs: the one here reads the cluster's."""
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
# Flink reflects on classes that Java 17 has closed.
_OPENED = ("lang", "lang.invoke", "lang.reflect", "math", "net", "nio", "text", "time", "util", "util.concurrent")
_MODULES = [
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
]
# A job lasts minutes: what the second compiler and parallel collectors gain, they cost twice over before it ends.
LEAN = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
JAR = Path("gradle", "wrapper", "flink-job-server.jar")
"""Below the folder that `make flink` fills. Beam sends its class path, 157 MB, to the cluster with every job, but not
what lies in a `gradle/wrapper`. A cluster that was started with the same jar has it: 4 s of CPU less a job."""
_HEAP = {_JOB_MANAGER: "768m", _TASK_MANAGER: "2176m", _JOB_SERVER: "512m"}
_READY_SECONDS = 120.0


class ClusterError(click.ClickException):
    """The cluster did not start, or is not what was expected."""


class Cluster:
    """The processes of a cluster below one directory, by name: `jobmanager`, `jobserver`, `taskmanager-0`, …

    Parameters
    ----------
    directory : its own; made where it is missing.
    jar : Beam's job server, with Flink's runtime inside.
    port : of the JobManager's REST interface. The next is that of its RPC, and the one after it the job server's.
    python : what the workers run in.
    """

    def __init__(self, directory: Path, jar: Path, port: int, python: Path = Path(sys.executable)) -> None:
        self.directory, self.jar, self.port, self._python = directory.resolve(), jar.resolve(), port, python

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def flags(self, boot: Path, parallelism: int) -> tuple[str, ...]:
        """What `awe` is told, to run there in workers that Beam's boot program starts."""
        return (
            "--runner=flink",
            f"--job_endpoint=localhost:{self.port + 2}",
            f"--parallelism={parallelism}",
            "--environment_type=PROCESS",
            f"--environment_config={json.dumps({'command': str(boot)})}",
        )

    def start(self, task_managers: int, slots: int = 1) -> None:
        """Start all processes and wait until every slot and the job server are there.

        Raises
        ------
        ClusterError : a cluster of this directory runs already, or this one was not ready in time; nothing runs then.
        """
        if any(_alive(pid) for pid in self._pids().values()):
            raise ClusterError(f"a cluster of {self.directory} is running; stop it first")
        if not self.jar.is_file():
            raise ClusterError(f"{self.jar} is not there; `make flink-cluster` builds it")
        self._configure(slots)
        try:
            self._start("jobmanager", _JOB_MANAGER, "--executionMode", "cluster", *self._configured)
            self._start_job_server()
            for number in range(task_managers):
                self.start_task_manager(number)
            self.wait_for(task_managers * slots)
        except BaseException:
            self.stop()
            raise

    def start_task_manager(self, number: int) -> int:
        """Start a TaskManager, perhaps in the place of one that has died; its process id."""
        name = f"taskmanager-{number}"
        own = f"taskmanager.resource-id={name}-{time.time_ns()}"
        return self._start(name, _TASK_MANAGER, *self._configured, "-D", own)

    def wait_for(self, slots: int) -> None:
        """Wait for so many slots and the job server. Raises ClusterError where that takes too long."""
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self._offered() == slots and self._takes_jobs():
                return
            dead = [name for name, pid in self._pids().items() if not _alive(pid)]
            if dead:
                raise ClusterError(f"{dead[0]} ended at its start; see {self.directory / 'log' / dead[0]}.log")
            time.sleep(0.2)
        raise ClusterError(f"{self._offered()} of {slots} slots after {_READY_SECONDS:.0f} s")

    def rest(self, path: str) -> Any:
        """What the JobManager's REST interface answers, read as JSON."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return json.load(answer)

    def pid(self, name: str) -> int:
        return self._pids()[name]

    def pids(self) -> list[int]:
        """Of all the processes that this program starts."""
        return list(self._pids().values())

    def workers(self, name: str) -> list[psutil.Process]:
        """The Python workers that a TaskManager has started."""
        children = psutil.Process(self.pid(name)).children(recursive=True)
        return [process for process in children if any("sdk_worker_main" in part for part in _command_line(process))]

    def stop(self) -> None:
        """End every process, those that they started too, and remove what they kept but for the logs."""
        processes = []
        for pid in self._pids().values():
            if _alive(pid):
                parent = psutil.Process(pid)
                processes += [*parent.children(recursive=True), parent]
        for process in processes:
            _signal(process, signal.SIGTERM)
        _, left = psutil.wait_procs(processes, timeout=10)
        for process in left:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(left, timeout=10)
        for name in ("conf", "kept", "pids"):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def _offered(self) -> int:
        try:
            return int(self.rest("/overview")["slots-total"])
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0  # not up yet

    def _takes_jobs(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("localhost", self.port + 2)) == 0

    def _start_job_server(self) -> None:
        ports = [f"--job-port={self.port + 2}", "--artifact-port=0", "--expansion-port=0"]
        artifacts = f"--artifacts-dir={self.directory / 'kept' / 'artifacts'}"
        configuration = f"--flink-conf-dir={self.directory / 'conf'}"
        self._start("jobserver", _JOB_SERVER, f"--flink-master={self.address}", configuration, artifacts, *ports)

    @property
    def _configured(self) -> tuple[str, str]:
        return "--configDir", str(self.directory / "conf")

    def _configure(self, slots: int) -> None:
        for name in ("conf", "log", "kept", "pids"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        added = {
            "rest.port": self.port,
            "rest.bind-port": self.port,
            "jobmanager.rpc.port": self.port + 1,
            "io.tmp.dirs": self.directory / "kept",
            "taskmanager.numberOfTaskSlots": slots,
            "taskmanager.cpu.cores": slots,
        }
        given = [line for file in _CONFIGURATIONS for line in file.read_text().splitlines()]
        lines = [line for line in given if line.partition(":")[0] not in added]
        lines += [f"{key}: {value}" for key, value in added.items()]
        (self.directory / "conf" / "flink-conf.yaml").write_text("\n".join(lines) + "\n")

    def _start(self, name: str, main: str, *arguments: str) -> int:
        command = ["java", f"-Xmx{_HEAP[main]}", *LEAN, *_MODULES, "-cp", str(self.jar), main, *arguments]
        with (self.directory / "log" / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=_environment(self._python),
                # Beam's boot program leaves the pipeline's options, credentials among them, where it is started.
                cwd=self.directory / "kept",
                start_new_session=True,
            )
        (self.directory / "pids" / name).write_text(str(process.pid))
        return process.pid

    def _pids(self) -> dict[str, int]:
        folder = self.directory / "pids"
        return {file.name: int(file.read_text()) for file in sorted(folder.iterdir())} if folder.is_dir() else {}


def free_port() -> int:
    """A port that is free together with the two after it."""
    while True:
        with socket.socket() as one, socket.socket() as second, socket.socket() as third:
            one.bind(("localhost", 0))
            port = int(one.getsockname()[1])
            try:
                second.bind(("localhost", port + 1))
                third.bind(("localhost", port + 2))
            except (OSError, OverflowError):  # taken, or beyond the last one
                continue
            return port


def _environment(python: Path) -> dict[str, str]:
    """What a TaskManager hands to Beam's boot program, which takes the first `python` on the path."""
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1"}


def _alive(pid: int) -> bool:
    try:
        return "flink" in " ".join(_command_line(psutil.Process(pid)))
    except psutil.NoSuchProcess:
        return False


def _command_line(process: psutil.Process) -> list[str]:
    """Of a process; one that has ended, waited for or not, has none."""
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


@click.group()
def main() -> None:
    """A standalone Flink cluster on this machine."""


_DIRECTORY = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))


@main.command()
@_DIRECTORY
@click.option("--jar", type=click.Path(path_type=Path), required=True, help="Beam's job server with Flink inside")
@click.option("--task-managers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--slots", type=click.IntRange(1), default=1, show_default=True, help="tasks at once of a TaskManager")
@click.option("--port", type=click.IntRange(1, 65533), default=8081, show_default=True, help="REST; then RPC, jobs")
def start(directory: Path, jar: Path, task_managers: int, slots: int, port: int) -> None:
    """Start a cluster, wait until it is ready, and leave it running."""
    cluster = Cluster(directory, jar, port)
    cluster.start(task_managers, slots)
    click.echo(
        f"Flink at http://{cluster.address}: {task_managers} TaskManagers of {slots} slots, "
        f"--job_endpoint=localhost:{port + 2}; logs in {directory}/log"
    )


@main.command()
@_DIRECTORY
def stop(directory: Path) -> None:
    """Stop the cluster of a directory, with all that it has started."""
    Cluster(directory, Path(), 0).stop()


if __name__ == "__main__":
    main()

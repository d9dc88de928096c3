"""The same bytes on a standalone Flink cluster as in-process, and what happens to a join when processes die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.ours_join_beam import stored
from deploy.flink.cluster import Cluster, ClusterError, free_port
from tests.deploy.conftest import TASK_MANAGERS, Flink
from tests.end_to_end.runs import DIGITS, awe, counters, environment, parts, reweighted_alike, same

pytestmark = pytest.mark.timeout(1800)

JOB_WAIT_SECONDS = 300.0


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the in-process runner."""
    run = tmp_path_factory.mktemp("reference") / "run"
    awe("run", f"--run={run}", *DIGITS, "--affinity.shards=4")
    return run


def test_a_run_on_the_cluster_has_the_bytes_of_a_run_in_process(
    flink: Flink, cluster: Cluster, reference: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *DIGITS, "--affinity.shards=4", *flink.on(cluster))
    same(run, reference)
    seen = counters(run, "affinity-1")
    assert seen["rows_reweighted"] == 1797
    assert len(seen["kernel_workers"]) > 1


@pytest.mark.parametrize("shards", [1, 3, 16])
def test_shards_do_not_change_a_byte_on_the_cluster(
    flink: Flink, cluster: Cluster, reference: Path, tmp_path: Path, shards: int
) -> None:
    reweighted_alike(reference, tmp_path / "run", shards, *DIGITS, *flink.on(cluster))


def test_a_run_on_an_embedded_flink_has_the_same_bytes(flink: Flink, reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    awe("run", f"--run={run}", *DIGITS, "--affinity.shards=4", *flink.embedded)
    same(run, reference)


ROWS, DIMENSION, N, SHARDS = 60_000, 64, 20, 8


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors whose join takes a cluster long enough to be killed in the middle."""
    folder = tmp_path_factory.mktemp("base") / "train"
    stored(np.random.default_rng(0).standard_normal((ROWS, DIMENSION)).astype(np.float32), folder)
    return folder


@pytest.fixture(scope="module")
def joined(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The join in-process."""
    output = tmp_path_factory.mktemp("joined")
    awe("knn", f"--base={base}", f"--output={output}", f"--n={N}", f"--shards={SHARDS}")
    return output


class Join:
    """A join on the cluster, while it runs."""

    def __init__(self, base: Path, output: Path, flags: tuple[str, ...], cluster: Cluster) -> None:
        self.output, self._cluster = output, cluster
        command = [sys.executable, "-m", "pipelines", "knn", f"--base={base}", f"--output={output}"]
        self._process = subprocess.Popen(
            [*command, f"--n={N}", f"--shards={SHARDS}", *flags], stderr=subprocess.PIPE, text=True, env=environment()
        )

    def wait_until_busy(self) -> None:
        """Until Python workers of every TaskManager have been at work for a second or so."""
        self._wait(lambda: all(self._busy(f"taskmanager-{number}") for number in range(TASK_MANAGERS)))
        assert self._process.poll() is None

    def _busy(self, name: str) -> bool:
        # Importing what a worker needs takes some two seconds of CPU; the join of a shard pair comes after it.
        return any(_cpu_seconds(worker) > 4 for worker in self._cluster.workers(name))

    def _wait(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + JOB_WAIT_SECONDS
        while not reached():
            assert self._process.poll() is None, self._process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        _, words = self._process.communicate(timeout=1200)
        return self._process.returncode, words


def _cpu_seconds(worker: psutil.Process) -> float:
    try:
        return float(sum(worker.cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return 0.0


def test_a_join_outlives_a_task_manager(
    flink: Flink, cluster: Cluster, base: Path, joined: Path, tmp_path: Path
) -> None:
    join = Join(base, tmp_path / "found", flink.on(cluster), cluster)
    join.wait_until_busy()
    workers = cluster.workers("taskmanager-1")
    os.kill(cluster.pid("taskmanager-1"), signal.SIGKILL)
    for worker in workers:
        worker.kill()
    cluster.start_task_manager(1)
    status, words = join.end()
    assert status == 0, words
    assert parts(tmp_path / "found") == parts(joined)
    assert _failures(cluster) > 0


def test_a_join_outlives_a_python_worker(
    flink: Flink, cluster: Cluster, base: Path, joined: Path, tmp_path: Path
) -> None:
    join = Join(base, tmp_path / "found", flink.on(cluster), cluster)
    join.wait_until_busy()
    for worker in cluster.workers("taskmanager-0"):
        worker.kill()
    status, words = join.end()
    assert status == 0, words
    assert parts(tmp_path / "found") == parts(joined)


def test_without_its_job_manager_a_join_ends_in_one_line_and_can_be_run_again(
    flink: Flink, base: Path, joined: Path, tmp_path: Path
) -> None:
    output = tmp_path / "found"
    doomed = Cluster(tmp_path / "flink", flink.jar, free_port())
    doomed.start(TASK_MANAGERS)
    try:
        join = Join(base, output, flink.on(doomed), doomed)
        join.wait_until_busy()
        os.kill(doomed.pid("jobmanager"), signal.SIGKILL)
        status, words = join.end()
    finally:
        doomed.stop()
    assert status == 1
    assert words.strip().splitlines()[-1].startswith("awe: ")
    assert "Traceback" not in words
    assert parts(output) in ({}, parts(joined))  # TaskManagers may be done before they notice
    awe("knn", f"--base={base}", f"--output={output}", f"--n={N}", f"--shards={SHARDS}")
    assert parts(output) == parts(joined)


def test_a_cluster_that_cannot_start_says_why_and_leaves_nothing(flink: Flink, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="not there"):
        Cluster(tmp_path, tmp_path / "missing.jar", free_port()).start(1)
    cluster = Cluster(tmp_path, flink.jar, free_port())
    cluster.start(1)
    try:
        pid = cluster.pid("taskmanager-0")
        with pytest.raises(ClusterError, match="is running"):
            Cluster(tmp_path, flink.jar, free_port()).start(1)
    finally:
        cluster.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]


def _failures(cluster: Cluster) -> int:
    """What made the last job start anew."""
    jobs = cluster.rest("/jobs/overview")["jobs"]
    last = max(jobs, key=lambda job: job["start-time"])["jid"]
    return len(cluster.rest(f"/jobs/{last}/exceptions")["exceptionHistory"]["entries"])

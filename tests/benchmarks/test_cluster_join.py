"""What is counted of a cluster: bytes that crossed a shuffle, and processes by what they are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.cluster_join import planned, shuffled
from benchmarks.watched import kind, watch

BUSY = "import time\nx = bytearray(100 * 2**20)\nend = time.process_time() + 1\nwhile time.process_time() < end: pass"


def test_bytes_that_were_handed_on_in_place_are_no_shuffle() -> None:
    plan = {
        "nodes": [
            {"id": "source"},
            {"id": "map", "inputs": [{"ship_strategy": "Forward"}]},
            {"id": "group", "inputs": [{"ship_strategy": "Hash Partition on [0]"}]},
            {"id": "spread", "inputs": [{"ship_strategy": "Rebalance"}]},
            {"id": "side", "inputs": [{"ship_strategy": "Forward"}, {"ship_strategy": "Broadcast"}]},
        ]
    }
    sizes = {"source": 1, "map": 10, "group": 100, "spread": 1000, "side": 10_000}
    vertices = [{"id": name, "metrics": {"read-bytes": size, "write-bytes": 7}} for name, size in sizes.items()]
    assert shuffled({"plan": plan, "vertices": vertices}) == 1100


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python", "-c", "apache_beam.runners.worker.sdk_worker_main"], "Python worker"),
        (["java", "-cp", "a/flink-job-server.jar", "x.StandaloneSessionClusterEntrypoint"], "JobManager"),
        (["java", "-cp", "a/flink-job-server.jar", "x.TaskManagerRunner"], "TaskManager"),
        (["java", "-cp", "a/flink-job-server.jar", "x.FlinkJobServerDriver"], "job server"),
        (["python", "-m", "pipelines", "--flink_job_server_jar=a/flink-job-server.jar"], "the command and others"),
        (["python", "-m", "pipelines", "knn"], "the command and others"),
    ],
)
def test_processes_are_known_by_their_command_lines(command: list[str], name: str) -> None:
    assert kind(command) == name


def test_what_processes_use_while_they_are_watched_is_counted_after_their_end() -> None:
    started: list[int] = []
    with watch(lambda: started) as seen:
        process = subprocess.Popen([sys.executable, "-c", BUSY])
        started.append(process.pid)
        process.wait()
    (usage,) = seen.usage.values()
    assert usage.cpu_seconds == seen.cpu_seconds >= 0.5
    assert usage.peak_bytes > 100 * 2**20


def test_a_base_of_few_parts_is_planned_in_no_more_shards() -> None:
    assert planned(25_000, 2).shards == 2

"""The join on a Flink cluster of this machine beside the in-process runner, and beside what was planned.

    python -m benchmarks.cluster_join --flink=FOLDER [--rows=25000 …] [--overhead-rows=200000] [--repetitions=1]

FOLDER is what `make flink` has filled. Gaussian rows of 128 dimensions, n = 20, two TaskManagers of one slot, and two
threads in-process. Seconds are of the whole command; of the CPU those of the command, the job server, the cluster and
its Python workers while it ran. Bytes shuffled are those that tasks read of what was partitioned, by Flink's REST
interface.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from awe_core.knn.plan import SHUFFLE_BYTES_PER_SECOND, Asked, Plan, neighbour_bytes, plans
from awe_core.knn.probe import probe
from benchmarks.grown import gaussian
from benchmarks.ours_join_beam import WORKER_BYTES, stored
from benchmarks.processes import ProgramFailed
from benchmarks.report import Case, last_line, table
from benchmarks.watched import Watched, watch
from deploy.flink.cluster import JAR, Cluster, free_port
from pipelines.planning.run_plan import PROCESS_BYTES

N, DIMENSION, WORKERS = 20, 128, 2
_TOLERATED, _OVERHEAD = 0.25, 0.25


@dataclass(frozen=True)
class Measured:
    """One join: of the whole command, and what it counted."""

    seconds: float
    usage: Watched
    kernel_seconds: float
    shuffle_bytes: int = 0

    @property
    def worker_bytes(self) -> int:
        return self.usage.usage["Python worker"].peak_bytes

    def lines(self) -> list[str]:
        found = [
            f"    {self.seconds:.1f} s, {self.usage.cpu_seconds:.1f} s of CPU, {self.kernel_seconds:.1f} in the kernel"
        ]
        found += [
            f"    {name}: {one.cpu_seconds:.1f} s of CPU, at most {one.peak_bytes / 1e6:,.0f} MB"
            for name, one in self.usage.usage.items()
        ]
        return found + ([f"    {self.shuffle_bytes / 1e6:.2f} MB shuffled"] if self.shuffle_bytes else [])


class Bench:
    """A cluster, and a folder for what is read and written."""

    def __init__(self, flink: Path, scratch: Path, cluster: Cluster) -> None:
        self._flink, self._scratch, self._cluster = flink, scratch, cluster
        self._jobs = 0

    def data(self, rows: int) -> Path:
        """Gaussian rows as a dataset, made once."""
        folder = self._scratch / f"gaussian-{rows}"
        if not folder.is_dir():
            stored(gaussian(rows, DIMENSION), folder)
        return folder

    def on_cluster(self, rows: int) -> Measured:
        flags = self._cluster.flags(self._flink / "container", WORKERS)
        measured = self._join(rows, flags, self._cluster.pids())
        return Measured(measured.seconds, measured.usage, measured.kernel_seconds, self._shuffled())

    def in_process(self, rows: int) -> Measured:
        return self._join(rows, [f"--direct_num_workers={WORKERS}"], [])

    def _join(self, rows: int, flags: Sequence[str], pids: Sequence[int]) -> Measured:
        base, self._jobs = self.data(rows), self._jobs + 1
        output = self._scratch / f"found-{self._jobs}"
        command = [sys.executable, "-m", "pipelines", "knn", f"--base={base}", f"--output={output}", f"--n={N}", *flags]
        began, started = time.perf_counter(), list[int]()
        with watch(lambda: [*pids, *started]) as seen:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            started.append(process.pid)
            _, words = process.communicate()
        if process.returncode:
            raise ProgramFailed(words.strip().splitlines()[-1])
        counted = json.loads((output / "log" / "knn.json").read_text())["counters"]
        return Measured(time.perf_counter() - began, seen, counted["search_us"]["sum"] / 1e6)

    def _shuffled(self) -> int:
        """Of the last job: what was read by tasks whose inputs are partitioned by key or spread."""
        jobs = self._cluster.rest("/jobs/overview")["jobs"]
        job = self._cluster.rest(f"/jobs/{max(jobs, key=lambda one: one['start-time'])['jid']}")
        return shuffled(job)


def shuffled(job: dict[str, Any]) -> int:
    """Bytes that the tasks of a job, as Flink's REST interface describes it, read of what crossed a shuffle.

    A task that takes most of what it reads in place, and a side input or the names of empty parts from elsewhere, has
    one figure for all: it is not counted.
    """
    ways = {node["id"]: [one["ship_strategy"] for one in node.get("inputs", [])] for node in job["plan"]["nodes"]}
    partitioned = {name for name, some in ways.items() if some and not any(way.startswith("Forward") for way in some)}
    return sum(int(vertex["metrics"]["read-bytes"]) for vertex in job["vertices"] if vertex["id"] in partitioned)


def planned(rows: int, parts: int) -> Plan:
    """What is planned for the join, whose ids are the numbers of the rows."""
    return plans(_asked(rows, parts))[0]


def _asked(rows: int, parts: int) -> Asked:
    return Asked(rows, True, 0, DIMENSION, N, WORKERS, WORKER_BYTES, parts=parts, id_bytes=4, own_process=True)


def sizes(bench: Bench, rows: Sequence[int], repetitions: int, start_seconds: float) -> Iterator[Case]:
    """What was planned beside what Flink did."""
    for size in rows:
        parts = len(list(bench.data(size).glob("part-*")))
        plan = planned(size, parts)
        # What shards found is gathered, and the nearest of a row once more, to be written.
        gathered = size * neighbour_bytes(_asked(size, parts), N)
        moved = plan.shuffle_bytes + gathered
        probed = probe(gaussian(min(size, 20_000), DIMENSION), N, size, WORKERS, seconds=8)
        rates = replace(probed, shuffle_bytes_per_second=SHUFFLE_BYTES_PER_SECOND)
        seconds = start_seconds + plan.seconds(rates, WORKERS) + gathered / SHUFFLE_BYTES_PER_SECOND / WORKERS
        found = [bench.on_cluster(size) for _ in range(repetitions)]
        click.echo("\n".join([f"  {size:,} rows on Flink", *found[-1].lines()]))
        # A worker holds its process and the join; Flink keeps no Python.
        for what, expected, measured in (
            ("seconds", seconds, [one.seconds for one in found]),
            ("bytes shuffled", moved, [float(one.shuffle_bytes) for one in found]),
            ("bytes a Python worker", PROCESS_BYTES + plan.worker_bytes, [float(one.worker_bytes) for one in found]),
        ):
            off = [abs(expected / value - 1) for value in measured]
            click.echo(f"    {what}: {expected:.4g} planned, {statistics.median(measured):.4g} measured")
            yield Case.bound(f"{size:,} rows: {what}, |planned ÷ measured − 1|", off, _TOLERATED)


def overhead(bench: Bench, rows: int, repetitions: int) -> Iterator[Case]:
    """CPU of the whole join on the cluster beside in-process at the same parallelism."""
    on_cluster, in_process = list[Measured](), list[Measured]()
    for _ in range(repetitions):
        in_process.append(bench.in_process(rows))
        on_cluster.append(bench.on_cluster(rows))
    for name, found in (("in-process", in_process), ("Flink", on_cluster)):
        click.echo("\n".join([f"  {rows:,} rows, {name}", *found[-1].lines()]))
    more = [
        (one.usage.cpu_seconds - other.usage.cpu_seconds) / other.kernel_seconds
        for one, other in zip(on_cluster, in_process, strict=True)
    ]
    yield Case.bound(f"{rows:,} rows: CPU beyond in-process ÷ the kernel's", more, _OVERHEAD)


@contextmanager
def _running(flink: Path, scratch: Path) -> Iterator[Cluster]:
    cluster = Cluster(scratch / "flink", flink / JAR, free_port())
    cluster.start(WORKERS)
    try:
        yield cluster
    finally:
        cluster.stop()


@click.command()
@click.option("--flink", type=click.Path(exists=True, path_type=Path), required=True, help="what `make flink` filled")
@click.option("--rows", type=int, multiple=True, default=(25_000, 50_000, 100_000), show_default=True)
@click.option("--overhead-rows", type=int, default=200_000, show_default=True, help="0 leaves the comparison out")
@click.option("--repetitions", type=click.IntRange(min=1), default=1, show_default=True)
def main(flink: Path, rows: tuple[int, ...], overhead_rows: int, repetitions: int) -> None:
    """Run the joins; the last line is JSON."""
    cases = list[Case]()
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as scratch, _running(flink, Path(scratch)) as cluster:
        bench = Bench(flink, Path(scratch), cluster)
        # The first job loads the cluster's classes, and compiles what is compiled on first use.
        start_seconds = min(bench.on_cluster(1_000).seconds for _ in range(2))
        click.echo(f"  a job of 1,000 rows: {start_seconds:.1f} s")
        measured = [sizes(bench, rows, repetitions, start_seconds)]
        if overhead_rows:
            measured.append(overhead(bench, overhead_rows, repetitions))
        for case in itertools.chain(*measured):
            cases.append(case)
            click.echo(table([case]).splitlines()[-1])
    click.echo(table(cases))
    click.echo(last_line("cluster-join", cases))


if __name__ == "__main__":
    main()

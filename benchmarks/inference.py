"""A run's ModelHandler in a pipeline of a million rows: rows a second of CPU, and whether memory stays what it was.

    python -m benchmarks.inference --run=RUN --data=ROWS.npz --rows=100000 --rows=1000000

RUN is a finished run with dense x, of one seed, ROWS.npz has rows as it was given. They are drawn from it, with
replacement, where they are used: what is measured is RunInference, and no reading. Every number of rows is measured
in a process of its own; the last line is JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from functools import lru_cache

import apache_beam as beam
import click
import numpy as np
from apache_beam.ml.inference.base import RunInference
from numpy.typing import NDArray

from benchmarks import processes
from benchmarks.report import Case, last_line
from benchmarks.training import say
from pipelines.inference import AnnotatorHandler
from pipelines.jobs.job import make_runner, pipeline_options

PIECE_ROWS = 1000
MOST_GROWTH = 1.25
"""Peak memory of the most rows beside that of the fewest: what is held does not depend on how many pass."""


@click.command()
@click.option("--run", required=True, help="Directory of the run.")
@click.option("--data", required=True, help="npz whose X the rows are drawn from.")
@click.option("--rows", type=click.IntRange(PIECE_ROWS), multiple=True, default=(100_000, 1_000_000), show_default=True)
@click.option("--k", default=5, show_default=True, help="Labels a row.")
@click.option("--measure", type=int, hidden=True, help="Measure so many rows in this process.")
def main(run: str, data: str, rows: tuple[int, ...], k: int, measure: int | None) -> None:
    """Measure each number of rows in a process of its own, or, as that process, one of them."""
    if measure is not None:
        _measure(run, data, measure, k)
        return
    command = [sys.executable, "-m", "benchmarks.inference", f"--run={run}", f"--data={data}", f"--k={k}"]
    outcomes = {count: processes.run([*command, f"--measure={count}"]) for count in sorted(rows)}
    fewest, most = (outcomes[count].peak_bytes for count in (min(outcomes), max(outcomes)))
    name = f"peak memory of {max(outcomes):,} rows, bytes"
    click.echo(last_line("inference", [Case.bound(name, [most], MOST_GROWTH * fewest)]))


def _measure(run: str, data: str, rows: int, k: int) -> None:
    handler = AnnotatorHandler(run, k=k)
    options = pipeline_options("in-process", [])
    began, cpu = time.perf_counter(), time.process_time()
    pipeline = beam.Pipeline(runner=make_runner(options), options=options)
    _ = (
        pipeline
        | beam.Create(range(rows // PIECE_ROWS))
        | "draw rows" >> beam.FlatMap(_drawn, data)
        | RunInference(handler)
        | "look" >> beam.Map(lambda result: int(len(result.inference["labels"]) > 0))
        | beam.CombineGlobally(sum)
        | beam.Map(_check, expected=rows // PIECE_ROWS * PIECE_ROWS)
    )
    pipeline.run().wait_until_finish()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = processes.own_peak_bytes()
    say(rows=rows, seconds=seconds, cpu_seconds=cpu, rows_per_cpu_second=rows / cpu, peak_bytes=peak)


@lru_cache(1)
def _rows_of(data: str) -> NDArray[np.float32]:
    with np.load(data) as arrays:
        return arrays["X"].astype(np.float32)


def _drawn(piece: int, data: str) -> Iterator[NDArray[np.float32]]:
    X = _rows_of(data)
    yield from X[np.random.default_rng(piece).integers(len(X), size=PIECE_ROWS)]


def _check(annotated: int, expected: int) -> None:
    if annotated != expected:
        raise ValueError(f"{annotated} rows were annotated where {expected} were drawn")


if __name__ == "__main__":
    main()

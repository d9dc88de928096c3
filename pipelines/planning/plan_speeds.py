"""Where the speeds of a plan come from: built in, the logs of a run, or a short probe of this machine."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from awe_core.affinities.beside_neighbours import SAMPLE_ROWS
from awe_core.arranged import ArrangedBlocks
from awe_core.examples import Block
from awe_core.knn.plan import SHUFFLE_BYTES_PER_SECOND, Rates, rates_of
from awe_core.knn.probe import probe
from awe_core.training.settings import TrainSettings
from awe_core.training.trainer import train
from pipelines.planning.run_plan import Run, Speeds, flops_of_pair, rates_of_affinity
from schemas import convert, tables
from schemas.filesystem import FileSystem, LocalFileSystem, read_bytes
from schemas.parts import PartReader, PartWriter

START_SECONDS = {"in-process": 0.5, "multi-processing": 8.0, "prism": 8.0, "flink": 14.0, "dataflow": 240.0}
"""Of a job, by runner, before its own work (docs/scaling.md); Dataflow's few minutes are its documentation's."""

_FIRST_SECONDS = {"flink": 10.0}
"""Of the first job on a cluster, beyond those after it: 8 to 11 s, in which it loads what they find loaded."""

_PROBED_ROWS, _PROBED_SECONDS = 20_000, 8.0


def built_in(runner: str) -> tuple[Speeds, str]:
    """The benchmarks' figures, and what is said of them."""
    source = "speeds: built in, of one core of 2020 or later (docs/scaling.md)"
    speeds = Speeds(start_seconds=START_SECONDS[runner], first_seconds=_FIRST_SECONDS.get(runner, 0.0))
    if runner != "in-process":
        speeds = replace(speeds, shuffle_bytes_per_second=SHUFFLE_BYTES_PER_SECOND)
    return speeds, source


def logged(fs: FileSystem, root: str, run: Run, cores: int, speeds: Speeds) -> tuple[Speeds, str]:
    """The speeds that the logs and histories of a run tell; the others as they were.

    Parameters
    ----------
    run : the counts of that run.
    cores : of the machine that trained.
    """
    told = []
    joined = kept(fs, fs.join(root, "log", "affinity-1.json"))
    if joined is not None and "search_us" in joined["counters"]:  # clusters have no join
        of_it, sampled = rates_of_affinity(run), min(run.lanes[-1].train, SAMPLE_ROWS)
        speeds = replace(speeds, join=_join_rates(joined["counters"], sampled, of_it), of_join=of_it)
        told.append("the join's")
    epochs = [epoch for epoch in kept(fs, fs.join(root, "model-0", "history.json")) or [] if epoch["pairs"]]
    if epochs:  # the first may have compiled what it needs
        quickest = min(epoch["seconds"] / epoch["pairs"] for epoch in epochs)
        speeds = _of_pair(speeds, (run.threads or cores) * quickest, run)
        told.append("the trainer's")
    if not told:
        return speeds, f"speeds: built in; {root} has no logs of a join or a training"
    return speeds, f"speeds: {' and '.join(told)} from the logs of {root}, the others built in"


def probed(run: Run, cores: int, speeds: Speeds) -> tuple[Speeds, str]:
    """What this machine does on Gaussian rows of the run's size, in some ten seconds."""
    start = time.monotonic()
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((min(_PROBED_ROWS, max(2, run.train)), run.neighbour_width), dtype=np.float32)
    join = probe(vectors, run.n, max(2, run.train), cores, seconds=_PROBED_SECONDS)
    speeds = replace(
        speeds, join=join, of_join=rates_of(run.neighbour_width, run.n), bytes_per_second=_bytes_per_second(vectors)
    )
    speeds = _of_pair(speeds, _seconds_of_pair(run, rng), run)
    return speeds, f"speeds: measured on this machine, on Gaussian rows, in {time.monotonic() - start:.0f} s"


def kept(fs: FileSystem, path: str) -> Any:
    """What a run has kept there as JSON; None where nothing can be read."""
    try:
        return json.loads(read_bytes(fs, path))
    except (FileNotFoundError, ValueError):
        return None


def _join_rates(counters: dict[str, Any], sampled: int, rates: Rates) -> Rates:
    """What is built in, in the proportion in which the search of the shards took longer."""
    rows = counters["rows_reweighted"] + sampled
    linear = rows * (rates.per_row + len(counters["base_shards"]) * rates.per_shard)
    factor = counters["search_us"]["sum"] / 1e6 / (counters["tiles_rows"] * rates.per_pair + linear)
    per_pair, per_row, per_shard = (factor * rate for rate in (rates.per_pair, rates.per_row, rates.per_shard))
    return replace(rates, per_pair=per_pair, per_row=per_row, per_shard=per_shard)


def _of_pair(speeds: Speeds, seconds: float, run: Run) -> Speeds:
    """From a core's seconds a pair: products at the rate that is built in, if they leave anything for the rest."""
    rest = seconds - flops_of_pair(run) / Speeds().flops_per_second
    if rest > 0:
        return replace(speeds, seconds_a_pair=rest)
    return replace(speeds, seconds_a_pair=0.0, flops_per_second=flops_of_pair(run) / seconds)


def _bytes_per_second(vectors: np.ndarray) -> float:
    """Of a part of embeddings that is written, read again and checked."""
    schema = tables.embeddings(vectors.shape[1])
    ids, labels = np.arange(len(vectors)), [[0]] * len(vectors)
    table = pa.table(
        {"id": pa.array(ids), "embedding": convert.vector_array(vectors), "labels": pa.array(labels, tables.LIST_INT)}
    )
    fs = LocalFileSystem()
    with tempfile.TemporaryDirectory(prefix="awe-probe-") as folder:
        start = time.process_time()
        with PartWriter(fs, folder, 0, schema) as writer:
            writer.write(table)
        with PartReader(fs, folder, writer.part) as reader:
            reader.block(0)
        return 2 * writer.part.bytes / (time.process_time() - start)


def _seconds_of_pair(run: Run, rng: np.random.Generator) -> float:
    """Of one core: the quickest epoch of a small training; the first ones compile what is not compiled yet."""
    rows, d = 4096, min(run.dimension, 100_000)
    x = (
        rng.standard_normal((rows, d), dtype=np.float32)
        if run.nonzeros is None
        else sp.random(rows, d, min(1.0, run.nonzeros / d), "csr", np.float32, rng)
    )
    chosen = np.arange(rows), rng.integers(0, run.labels, rows)
    labels = sp.csr_matrix((np.ones(rows, np.float32), chosen), shape=(rows, run.labels))
    block = Block(np.arange(rows), x, labels, sp.csr_matrix(labels.shape, dtype=np.float32), np.ones(rows, np.float32))
    settings = TrainSettings(D=run.D, C=math.inf, learning_rate=0.01, batch=512, epochs=4, patience=4, threads=1)
    history = train(ArrangedBlocks(block, 0, rows, run.block_rows), None, run.labels, d, settings, seed=0).history
    return min(epoch.seconds / epoch.pairs for epoch in history)


def say_speeds(speeds: Speeds) -> Sequence[str]:
    """The speeds, for a person."""
    return [
        f"{1e9 * speeds.join.per_pair:.2f} ns a pair of rows",
        f"{speeds.flops_per_second / 1e9:.0f} GFLOP/s",
        f"{1e6 * speeds.seconds_a_pair:.1f} µs a pair trained",
        f"{speeds.bytes_per_second / 1e6:.0f} MB/s",
        f"{speeds.shuffle_bytes_per_second / 1e6:.0f} MB/s shuffled",
        f"{speeds.start_seconds:g} s a job",
    ]

"""Our join, in a process of its own: one line of JSON with its seconds and the most memory it held.

python -m benchmarks.ours_join exact BASE.npy --kernel=numba [--queries=QUERIES.npy]
python -m benchmarks.ours_join approximate BASE.npy --recall=0.95 [--truth=TRUTH.npz]
python -m benchmarks.ours_join append BASE.npy --new=20000
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
from numpy.typing import NDArray

from awe_core.kernels.kernel import KernelName
from awe_core.knn.approximate import approximate_join
from awe_core.knn.join import extended, knn_join
from awe_core.neighbours import Neighbours, stacked
from benchmarks.processes import own_peak_bytes
from benchmarks.recall import Truth, interval
from benchmarks.training import THREADS, say

_BASE = click.argument("base", type=click.Path(exists=True, path_type=Path))
_N = click.option("--n", type=int, default=20, show_default=True)
_Kernel = KernelName | Literal["auto"]
_KERNEL = click.option("--kernel", type=click.Choice(["auto", "numba", "numpy"]), default="auto")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its seconds."""
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


def ids_of(vectors: NDArray[np.float32], first: int = 0) -> NDArray[np.int64]:
    return np.arange(first, first + len(vectors), dtype=np.int64)


def join(vectors: NDArray[np.float32], queries: NDArray[np.float32] | None, n: int, kernel: _Kernel) -> Neighbours:
    """The exact join; ids of queries that are not the base's are none of the base's."""
    asked = None if queries is None else ids_of(queries, len(vectors))
    return knn_join(ids_of(vectors), vectors, n, query_ids=asked, query_vectors=queries, threads=THREADS, kernel=kernel)


@click.group()
def main() -> None:
    """Our join."""


@main.command()
@_BASE
@_N
@_KERNEL
@click.option("--queries", type=click.Path(exists=True, path_type=Path))
def exact(base: Path, n: int, kernel: _Kernel, queries: Path | None) -> None:
    """Base × itself, or × other queries, in memory; what is compiled was compiled before."""
    vectors = np.load(base)
    asked = None if queries is None else np.load(queries)
    join(vectors[:3000], None if asked is None else asked[:100], n, kernel)
    _, seconds = timed(lambda: join(vectors, asked, n, kernel))
    say(seconds=seconds, peak_bytes=own_peak_bytes())


@main.command()
@_BASE
@_N
@click.option("--recall", type=float, default=0.95, show_default=True)
@click.option("--seed", type=int, default=0)
@click.option("--truth", type=click.Path(exists=True, path_type=Path))
def approximate(base: Path, n: int, recall: float, seed: int, truth: Path | None) -> None:
    """Approximate base × itself in memory: lists, setting and measured recall included; compiled before."""
    vectors = np.load(base)
    approximate_join(ids_of(vectors[:3000]), vectors[:3000], n, recall, seed, THREADS)
    (found, own), seconds = timed(lambda: approximate_join(ids_of(vectors), vectors, n, recall, seed, THREADS))
    said = {"own_recall": own.recall, "own_low": own.low, "own_high": own.high, "queries": own.queries}
    if truth is not None:
        with np.load(truth) as arrays:
            asked = Truth(arrays["queries"], arrays["bounds"])
        measured = interval(asked.recalls(vectors, found.ids[asked.queries]))
        said |= dict(zip(("recall", "low", "high"), measured, strict=True))
    say(seconds=seconds, nprobe=own.nprobe, lists=own.lists, **said, peak_bytes=own_peak_bytes())


@main.command()
@_BASE
@_N
@_KERNEL
@click.option("--new", type=int, required=True, help="rows at the end that are new")
def append(base: Path, n: int, kernel: _Kernel, new: int) -> None:
    """Neighbours of all rows, where those of all but the last are known: `seconds` of what is new, and of all."""
    vectors = np.load(base)
    join(vectors[:3000], None, n, kernel)
    known = join(vectors[:-new], None, n, kernel)
    grown, seconds = timed(lambda: appended(vectors, new, known, n, kernel))
    full, full_seconds = timed(lambda: join(vectors, None, n, kernel))
    same = bool((grown.ids == full.ids).all() and (grown.distances == full.distances).all())
    say(seconds=seconds, full_seconds=full_seconds, same=same, peak_bytes=own_peak_bytes())


def appended(vectors: NDArray[np.float32], new: int, known: Neighbours, n: int, kernel: _Kernel) -> Neighbours:
    """The neighbours of all rows, of which the last are new."""
    ids, old = ids_of(vectors), len(vectors) - new
    rows = ids[:old], vectors[:old], ids[old:], vectors[old:]
    return stacked(extended(known, *rows, n, threads=THREADS, kernel=kernel), n)


if __name__ == "__main__":
    main()

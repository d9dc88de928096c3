"""A peer's join: one line of JSON. Runs in the peers' own environment, and imports the one peer that is asked for.

python -m benchmarks.join_peer PEER BASE.npy --n=20 --threads=2 [--queries=Q.npy] [--truth=T.npz] [NAME=VALUE …]

PEER and its parameters:  flat | brute rows | ivf lists probes | hnsw M build ef | nndescent neighbours

`seconds` is all that a user would wait for: building and searching. With a truth, a parameter of the search that is not
given (probes, ef) is the first of its grid that reaches recall .95 on the truth's queries, and the time of finding that
out is not counted; `recall`, `low`, `high` are those of the full search.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.recall import Truth, interval

CPU = Path("/proc/cpuinfo")
RECALL = 0.95
PROBES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
EFS = (24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
Vectors = NDArray[np.float32]
Ids = NDArray[np.integer]
Search = Callable[[Vectors, int], Ids]


class Job:
    """What a peer is given, and its clock.

    Attributes
    ----------
    base, queries : the queries are the base where none are given; then a row's own id is left out.
    more : the peer's parameters.
    """

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.base: Vectors = np.load(chosen.base)
        self.own = chosen.queries is None
        self.queries: Vectors = self.base if self.own else np.load(chosen.queries)
        self.n, self.threads = chosen.n, chosen.threads
        self.more = {name: int(value) for name, value in (pair.split("=") for pair in chosen.more)}
        self.truth = None
        if chosen.truth:
            with np.load(chosen.truth) as arrays:
                self.truth = Truth(arrays["queries"], arrays["bounds"])
        self.seconds = dict[str, float]()

    @property
    def wanted(self) -> int:
        """Neighbours to ask for: one more where the row itself will be among them."""
        return self.n + self.own

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        found = work()
        self.seconds[name] = time.perf_counter() - began
        return found

    def choose(self, grid: Sequence[int], search: Search) -> int:
        """The first of a grid whose search reaches the recall on the truth's queries, or the last."""
        if self.truth is None:
            raise SystemExit("a parameter of the search can only be chosen with --truth")
        for value in grid:
            ids = search(self.base[self.truth.queries], value)
            if self.recalls(ids).mean() >= RECALL:
                return value
        return grid[-1]

    def recalls(self, ids: Ids) -> NDArray[np.float64]:
        """Recalls of what was found for the truth's queries."""
        assert self.truth is not None
        return self.truth.recalls(self.base, without(ids, self.truth.queries, self.n))


def without(ids: Ids, queries: NDArray[np.int64], n: int) -> Ids:
    """The first n of every row that are not the row's own, −1 where there are fewer."""
    others = ids != queries[:, None]
    order = np.argsort(~others, axis=1, kind="stable")[:, :n]
    kept = np.take_along_axis(ids, order, axis=1).astype(np.int64)
    return np.where(np.take_along_axis(others, order, axis=1), kept, -1)


def know_the_processor() -> None:
    """Tell FAISS's OpenBLAS what this processor can do, before it is loaded.

    The one in its wheel is older than some processors and then takes them for one of 2004: a third of the speed.
    """
    flags = set(CPU.read_text().split()) if CPU.is_file() else set[str]()
    core = "SkylakeX" if "avx512f" in flags else "Haswell" if "avx2" in flags else None
    if core is not None:
        os.environ.setdefault("OPENBLAS_CORETYPE", core)


def flat(job: Job) -> Ids:
    """FAISS IndexFlatL2."""
    know_the_processor()
    import faiss

    faiss.omp_set_num_threads(job.threads)
    index = faiss.IndexFlatL2(job.base.shape[1])
    job.timed("build", lambda: index.add(job.base))
    return job.timed("search", lambda: index.search(job.queries, job.wanted)[1])


def brute(job: Job) -> Ids:
    """scikit-learn's brute force on the first `rows` queries, its time scaled to all of them."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    rows = min(job.more.get("rows", len(job.queries)), len(job.queries))
    with threadpool_limits(job.threads):
        model = job.timed("build", lambda: NearestNeighbors(algorithm="brute", n_jobs=job.threads).fit(job.base))
        found = job.timed("search", lambda: model.kneighbors(job.queries[:rows], job.wanted, return_distance=False))
    job.seconds["search"] *= len(job.queries) / rows
    return found


def ivf(job: Job) -> Ids:
    """FAISS IndexIVFFlat with `lists` lists, `probes` of them a query."""
    know_the_processor()
    import faiss

    faiss.omp_set_num_threads(job.threads)
    quantizer = faiss.IndexFlatL2(job.base.shape[1])
    index = faiss.IndexIVFFlat(quantizer, job.base.shape[1], job.more["lists"])

    def build() -> None:
        index.train(job.base)
        index.add(job.base)

    def search(queries: Vectors, probes: int) -> Ids:
        index.nprobe = probes
        return index.search(queries, job.wanted)[1]

    job.timed("build", build)
    probes = job.more.setdefault("probes", 0) or job.choose(PROBES, search)
    job.more["probes"] = probes
    return job.timed("search", lambda: search(job.queries, probes))


def hnsw(job: Job) -> Ids:
    """hnswlib with `M` links, `build` candidates while building and `ef` while searching."""
    import hnswlib

    index = hnswlib.Index(space="l2", dim=job.base.shape[1])
    index.init_index(len(job.base), M=job.more["M"], ef_construction=job.more["build"], random_seed=0)
    index.set_num_threads(job.threads)

    def search(queries: Vectors, ef: int) -> Ids:
        index.set_ef(ef)
        return index.knn_query(queries, job.wanted)[0].astype(np.int64)

    job.timed("build", lambda: index.add_items(job.base))
    ef = job.more.setdefault("ef", 0) or job.choose(EFS, search)
    job.more["ef"] = ef
    return job.timed("search", lambda: search(job.queries, ef))


def nndescent(job: Job) -> Ids:
    """pynndescent's graph of `neighbours` neighbours, which is the self-join; compiled before the clock runs."""
    import numba
    from pynndescent import NNDescent

    if not job.own:
        raise SystemExit("nndescent is measured on self-joins")
    numba.set_num_threads(job.threads)
    assert job.more["neighbours"] >= job.wanted

    def graph(rows: Vectors) -> Ids:
        index = NNDescent(rows, n_neighbors=job.more["neighbours"], n_jobs=job.threads, random_state=0)
        return index.neighbor_graph[0]

    graph(job.base[:5000])
    return job.timed("build", lambda: graph(job.base))


PEERS: dict[str, Callable[[Job], Ids]] = {one.__name__: one for one in (flat, brute, ivf, hnsw, nndescent)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("peer", choices=PEERS)
    options.add_argument("base")
    options.add_argument("--n", type=int, required=True)
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--queries")
    options.add_argument("--truth")
    options.add_argument("more", nargs="*")
    job = Job(options.parse_intermixed_args())
    ids = PEERS[sys.argv[1]](job)
    line: dict[str, Any] = {"seconds": sum(job.seconds.values()), **job.seconds, "parameters": job.more}
    if job.truth is not None:
        line |= dict(zip(("recall", "low", "high"), interval(job.recalls(ids[job.truth.queries])), strict=True))
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

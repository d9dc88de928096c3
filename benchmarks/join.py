"""The kNN join beside its peers, and its own bounds: the cases that `make bench-join` runs.

    python -m benchmarks.join --peers=PYTHON [--repetitions=5] [--case=NAME …]

Ours and the peers run in turn, each in a process of its own, float32, in two threads. Grown CIFAR is made of what
AWE_DATA holds.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import LeftOut, data_root, run_cases
from benchmarks.datasets import CIFAR
from benchmarks.grown import gaussian, grown, seedlings
from benchmarks.processes import Outcome, ProgramFailed, run
from benchmarks.recall import Truth
from benchmarks.report import Case, last_line, spread
from benchmarks.training import THREADS

N = 20
RECALL = 0.95
TRUTH_QUERIES = 2000
COPIES = 40
# scikit-learn's brute force takes minutes for all rows: so many queries are timed, and the time scaled to all.
BRUTE_ROWS = 20_000
# Once every four: a run of the largest size takes half an hour.
_SELDOM = 4


@dataclass(frozen=True)
class Sizes:
    """Rows of the cases."""

    exact: tuple[int, ...] = (100_000, 200_000)
    queries: int = 50_000
    approximate: int = 250_000
    scale: tuple[int, ...] = (125_000, 250_000, 500_000, 1_000_000)
    copied: int = 100_000
    base: int = 200_000


@dataclass(frozen=True)
class Bench:
    """What every case is given: how often, beside whom, how large, and a folder for what is written."""

    repetitions: int
    peers: Path
    scratch: Path
    sizes: Sizes = Sizes()

    def say(self, line: str) -> None:
        click.echo(line)

    def turns(self, repetitions: int | None = None) -> Iterator[int]:
        count = repetitions or self.repetitions
        for turn in range(count):
            self.say(f"  repetition {turn + 1} of {count}")
            yield turn

    def ours(self, *arguments: object) -> Outcome:
        return run([sys.executable, "-m", "benchmarks.ours_join", *map(str, arguments)])

    def beam(self, base: Path, folder: Path) -> Outcome:
        return run([sys.executable, "-m", "benchmarks.ours_join_beam", str(base), str(folder), f"--n={N}"])

    def peer(self, name: str, base: Path, *arguments: object) -> Outcome:
        given = [f"--n={N}", f"--threads={THREADS}", *map(str, arguments)]
        return run([str(self.peers), "-m", "benchmarks.join_peer", name, str(base), *given])

    def data(self, kind: str, rows: int) -> Path:
        """Rows of one kind as .npy, made once. Raises LeftOut where real data is wanted and absent."""
        path = self.scratch / f"{kind}-{rows}.npy"
        if not path.is_file():
            np.save(path, _MADE[kind](rows))
        return path

    def truth(self, base: Path) -> Path:
        """The bounds of seeded queries of a self-join."""
        path = base.with_suffix(".truth.npz")
        if not path.is_file():
            truth = Truth.of(np.load(base), TRUTH_QUERIES, N)
            np.savez(path, queries=truth.queries, bounds=truth.bounds)
        return path


def exact(bench: Bench) -> list[Case]:
    """1. Exact self-join, n = 20, on Gaussian rows and on grown CIFAR."""
    cases = []
    for kind in ("gaussian", "cifar"):
        for rows in bench.sizes.exact:
            cases += _exact(bench, kind, rows)
    return cases


def _exact(bench: Bench, kind: str, rows: int) -> list[Case]:
    base = bench.data(kind, rows)
    runs: dict[str, list[float]] = {name: [] for name in ("numba", "numpy", "beam", "faiss")}
    for turn in bench.turns():
        for kernel in ("numba", "numpy"):
            runs[kernel].append(seconds(bench.ours("exact", base, f"--n={N}", f"--kernel={kernel}")))
        folder = bench.scratch / f"beam-{kind}-{rows}-{turn}"
        runs["beam"].append(seconds(bench.beam(base, folder)))
        runs["faiss"].append(seconds(bench.peer("flat", base)))
    timed_rows = min(rows, BRUTE_ROWS)
    brute = seconds(bench.peer("brute", base, f"rows={timed_rows}"))
    name = f"{kind} {rows:,}"
    for who, values in runs.items():
        bench.say(f"  {name}: {who} {spread(values)} s")
    bench.say(f"  {name}: scikit-learn brute {brute:.1f} s, scaled from {timed_rows:,} queries, once")
    fastest = [min(runs["faiss"])]
    return [
        Case.less(f"exact, {name}: seconds, FAISS flat's fastest", runs["numba"], fastest, 2),
        Case.less(f"exact, {name}: seconds, numpy alone", runs["numpy"], fastest, 1.7),
        Case.less(f"exact, {name}: seconds through Beam", runs["beam"], fastest, 1.7),
        Case.less(f"exact, {name}: seconds, scikit-learn brute", runs["numba"], [brute], 5),
    ]


def queries(bench: Bench) -> list[Case]:
    """2. Queries that are not the base."""
    rows = bench.sizes.exact[0]
    whole = np.load(bench.data("cifar", rows + bench.sizes.queries))
    base, asked = _saved(bench, "base", whole[:rows]), _saved(bench, "queries", whole[rows:])
    mine, theirs = list[float](), list[float]()
    for _ in bench.turns():
        mine.append(seconds(bench.ours("exact", base, f"--n={N}", f"--queries={asked}")))
        theirs.append(seconds(bench.peer("flat", base, f"--queries={asked}")))
    bench.say(f"  {len(whole) - rows:,} × {rows:,}: ours {spread(mine)} s, FAISS flat {spread(theirs)} s")
    return [Case.less("queries ≠ base: seconds, FAISS flat's fastest", mine, [min(theirs)], 1.1)]


@dataclass(frozen=True)
class Setting:
    """A peer with the parameters it is built with."""

    peer: str
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.peer} {' '.join(self.parameters)}"


def grid(rows: int) -> list[Setting]:
    """What the peers are tried with; what they search with (probes, ef) each finds itself."""
    root = math.sqrt(rows)
    return [
        *(Setting("ivf", (f"lists={max(1, round(factor * root))}",)) for factor in (0.5, 1, 2)),
        *(Setting("hnsw", (f"M={links}", f"build={build}")) for links, build in ((12, 60), (16, 100), (24, 200))),
        *(Setting("nndescent", (f"neighbours={wanted}",)) for wanted in (N + 1, N + 4, 30)),
    ]


def approximate(bench: Bench) -> list[Case]:
    """3. Approximate self-join of grown CIFAR at recall@20 ≥ .95, building included."""
    base = bench.data("cifar", bench.sizes.approximate)
    truth = f"--truth={bench.truth(base)}"
    chosen = cheapest(
        {
            setting: bench.peer(setting.peer, base, truth, *setting.parameters).last
            for setting in grid(bench.sizes.approximate)
        },
        bench.say,
    )
    if not chosen:
        raise LeftOut(f"no peer reached recall {RECALL}")
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], **{setting.peer: [] for setting in chosen}}
    for _ in bench.turns():
        runs["ours"].append(bench.ours("approximate", base, f"--n={N}", f"--recall={RECALL}", truth).last)
        for setting, line in chosen.items():
            given = [f"{name}={value}" for name, value in line["parameters"].items()]
            runs[setting.peer].append(bench.peer(setting.peer, base, truth, *given).last)
    for who, lines in runs.items():
        bench.say(f"  {who}: {spread([line['seconds'] for line in lines])} s, {_recall(lines[-1])}")
    best = min(list(runs)[1:], key=lambda who: statistics.median(line["seconds"] for line in runs[who]))
    mine, theirs = ([line["seconds"] for line in runs[who]] for who in ("ours", best))
    return [
        Case.less(f"approximate: seconds at recall {RECALL}, the best peer ({best})", mine, theirs, 1),
        Case.more("approximate: recall@20", [line["recall"] for line in runs["ours"]], [RECALL], 1),
    ]


def cheapest(tried: dict[Setting, dict[str, Any]], say: Callable[[str], None]) -> dict[Setting, dict[str, Any]]:
    """Of every peer the setting that took least among those that reached the recall."""
    found = dict[str, Setting]()
    for setting, line in tried.items():
        say(f"  {setting}: {line['seconds']:.1f} s with {line['parameters']}, {_recall(line)}")
        if line["recall"] < RECALL:
            continue
        other = found.get(setting.peer)
        if other is None or line["seconds"] < tried[other]["seconds"]:
            found[setting.peer] = setting
    return {setting: tried[setting] for setting in found.values()}


def scale(bench: Bench) -> list[Case]:
    """4. Scale on grown CIFAR, one run a size in four: seconds, peak memory, fitted exponent, what was predicted."""
    return [*_exact_scale(bench), *_approximate_scale(bench)]


def _exact_scale(bench: Bench) -> list[Case]:
    """Through Beam, Parquet in and out; the plan says its seconds before each run, from a probe of some rows."""
    sizes, times, cases = bench.sizes.scale, list[float](), list[Case]()
    for rows in sizes:
        base, found = bench.data("cifar", rows), list[Outcome]()
        for turn in bench.turns(-(-bench.repetitions // _SELDOM)):
            found.append(bench.beam(base, bench.scratch / f"scale-{rows}-{turn}"))
        times.append(statistics.median(map(seconds, found)))
        peak = max(outcome.peak_bytes for outcome in found) / 1e9
        off = [abs(outcome.last["predicted"] / seconds(outcome) - 1) for outcome in found]
        predicted = spread([outcome.last["predicted"] for outcome in found])
        bench.say(f"  exact {rows:,}: {times[-1]:.1f} s, {predicted} s predicted, peak {peak:.2f} GB")
        if rows in sizes[-2:]:
            cases.append(Case.bound(f"exact, {rows:,} rows: |predicted ÷ measured − 1|", off, 0.2))
    bench.say(f"  exact: seconds ∝ rows^{exponent(sizes, times):.2f}")
    name = f"exact, {sizes[-1]:,} rows"
    return [
        *cases,
        Case.bound(f"{name}: minutes", [times[-1] / 60], 25),
        Case.bound(f"{name}: peak memory in GB", [peak], 6),
    ]


def _approximate_scale(bench: Bench) -> list[Case]:
    sizes, times = bench.sizes.scale, list[float]()
    for rows in sizes:
        base = bench.data("cifar", rows)
        turns = bench.turns(-(-bench.repetitions // _SELDOM))
        found = [bench.ours("approximate", base, f"--n={N}", f"--recall={RECALL}") for _ in turns]
        times.append(statistics.median(map(seconds, found)))
        peak = max(outcome.peak_bytes for outcome in found) / 1e9
        own = spread([outcome.last["own_recall"] for outcome in found])
        bench.say(f"  approximate {rows:,}: {times[-1]:.1f} s, peak {peak:.2f} GB, its own recall {own}")
    bench.say(f"  approximate: seconds ∝ rows^{exponent(sizes, times):.2f}")
    return [Case.bound(f"approximate, {sizes[-1]:,} rows: minutes", [times[-1] / 60], 4)]


def exponent(sizes: Sequence[int], times: Sequence[float]) -> float:
    """The slope of log seconds over log rows."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def copies(bench: Bench) -> list[Case]:
    """6. Forty copies of every row beside as many rows that differ."""
    rows = bench.sizes.copied
    distinct = bench.data("cifar", rows)
    few = np.load(distinct)[: rows // COPIES]
    copied = _saved(bench, "copied", np.tile(few, (COPIES, 1)))
    times: dict[Path, list[float]] = {distinct: [], copied: []}
    for _ in bench.turns():
        for base, runs in times.items():
            runs.append(seconds(bench.ours("exact", base, f"--n={N}")))
    quotient = [one / other for one, other in zip(times[copied], times[distinct], strict=True)]
    return [Case.bound("forty copies: seconds ÷ distinct rows'", quotient, 1.5)]


def appending(bench: Bench) -> list[Case]:
    """7. Appending a tenth to a base whose neighbours are known."""
    new = bench.sizes.base // 10
    base = bench.data("cifar", bench.sizes.base + new)
    lines = [bench.ours("append", base, f"--n={N}", f"--new={new}").last for _ in bench.turns()]
    if not all(line["same"] for line in lines):
        raise ProgramFailed("appending gave other neighbours than the full join")
    quotient = [line["seconds"] / line["full_seconds"] for line in lines]
    bench.say(f"  appending ÷ full join: {spread(quotient)}")
    return [Case.bound("appending a tenth: seconds ÷ the full join's", quotient, 0.25)]


CASES: dict[str, Callable[[Bench], list[Case]]] = {
    case.__name__: case for case in (exact, queries, approximate, scale, copies, appending)
}


def seconds(outcome: Outcome) -> float:
    return float(outcome.last["seconds"])


def _recall(line: dict[str, Any]) -> str:
    return f"recall@{N} {line['recall']:.4f} ({line['low']:.4f} … {line['high']:.4f})"


def _saved(bench: Bench, name: str, vectors: NDArray[np.float32]) -> Path:
    path = bench.scratch / f"{name}.npy"
    np.save(path, vectors)
    return path


def _cifar(rows: int) -> NDArray[np.float32]:
    return grown(*seedlings(data_root(CIFAR)), rows)


_MADE: dict[str, Callable[[int], NDArray[np.float32]]] = {"gaussian": gaussian, "cifar": _cifar}


@click.command()
@click.option("--peers", type=click.Path(exists=True, path_type=Path), required=True, help="the peers' python")
@click.option("--repetitions", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--case", "chosen", type=click.Choice(list(CASES)), multiple=True, help="all where none is given")
def main(peers: Path, repetitions: int, chosen: tuple[str, ...]) -> None:
    """Run the cases; the last line is JSON."""
    with tempfile.TemporaryDirectory(prefix="bench-join-") as scratch:
        try:
            cases = run_cases(Bench(repetitions, peers, Path(scratch)), [CASES[name] for name in chosen or CASES])
        except ProgramFailed as failure:
            raise click.ClickException(str(failure)) from failure
    click.echo(last_line("join", cases))


if __name__ == "__main__":
    main()

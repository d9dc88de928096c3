"""The trainer beside LightFM, and its own bounds: the cases that `make bench-trainer` runs.

    python -m benchmarks.trainer --lightfm=PYTHON [--repetitions=5] [--case=NAME …] [--rate=RATE]

Ours and the peer run in turn, each in a process of its own. Real data is read from AWE_DATA.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from benchmarks import datasets
from benchmarks.cases import LeftOut, data_root, run_cases
from benchmarks.lightfm import EPOCHS, LightFM, Lines, best_validation, pairs_per_second, seconds_to
from benchmarks.ours_synthetic import MEMORY_BOUND
from benchmarks.processes import Outcome, ProgramFailed, run
from benchmarks.report import Case, last_line, spread

# Epochs of LightFM's repetitions on dense features, where one takes long and all take the same time; its quality is
# that of the twenty epochs by which its rate was chosen.
_DENSE_SPEED_EPOCHS = 2
_SHARE_OF_BEST = 0.97
_PAPERS_DRAW = "rounds"
# A pair that violates nothing draws all labels: later epochs of the paper's draw take ten times the first one's time,
# so it is run once, and for fewer epochs.
_PAPERS_EPOCHS = 5


@dataclass(frozen=True)
class Bench:
    """What every case is given: how often, beside whom, and a folder for what is written."""

    repetitions: int
    lightfm: LightFM
    scratch: Path
    rate: float | None = None

    def lightfm_rate(self, data: Path) -> float:
        """The rate that was given, or the one that validation chooses, which takes LightFM sixty epochs."""
        return self.lightfm.choose_rate(data, self.say)[0] if self.rate is None else self.rate

    def say(self, line: str) -> None:
        click.echo(line)

    def turns(self) -> Iterator[int]:
        for turn in range(self.repetitions):
            self.say(f"  repetition {turn + 1} of {self.repetitions}")
            yield turn

    def ours(self, module: str, *arguments: object) -> Outcome:
        return run([sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)])

    def data(self, name: str, arrays: datasets.Arrays) -> Path:
        path = self.scratch / f"{name}.npz"
        np.savez(path, allow_pickle=False, **arrays)
        return path


def dense(bench: Bench) -> list[Case]:
    """1. CIFAR-100, 474 dense features, D = 64."""
    data = bench.data("cifar100", datasets.cifar(data_root(datasets.CIFAR)))
    rate, chosen = bench.lightfm.choose_rate(data, bench.say)
    mine, theirs = list[Lines](), list[Lines]()
    for turn in bench.turns():
        mine.append(bench.ours("ours", "dense", data, f"--seed={turn}").lines)
        theirs.append(bench.lightfm.train(data, rate, _DENSE_SPEED_EPOCHS, seed=turn))
    speed = [[pairs_per_second(lines) for lines in side] for side in (mine, theirs)]
    quality = [lines[-1]["test"] for lines in mine], [chosen[-1]["test"]]
    bench.say(f"  pairs/s: ours {spread(speed[0])}, LightFM {spread(speed[1])}")
    bench.say(f"  test P@1: ours {spread(quality[0])}, LightFM {spread(quality[1])}")
    return [
        Case.more("dense: pairs/s", speed[0], speed[1], bar=50),
        Case.more("dense: test P@1", quality[0], quality[1], bar=1.1),
    ]


def one_hot(bench: Bench) -> list[Case]:
    """2. Gowalla, one-hot users, D = 64: the pooled draw, and the paper's beside it."""
    data = bench.data("gowalla", datasets.gowalla(data_root(datasets.GOWALLA)))
    rate = bench.lightfm_rate(data)
    runs: dict[str, list[Lines]] = {name: [] for name in ("LightFM", "pooled", _PAPERS_DRAW)}
    for turn in bench.turns():
        runs["LightFM"].append(bench.lightfm.train(data, rate, EPOCHS, seed=turn))
        runs["pooled"].append(bench.ours("ours", "one-hot", data, *_flags("pooled", EPOCHS, turn)).lines)
    runs[_PAPERS_DRAW].append(bench.ours("ours", "one-hot", data, *_flags(_PAPERS_DRAW, _PAPERS_EPOCHS, 0)).lines)
    levels = [_SHARE_OF_BEST * best_validation(lines) for lines in runs["LightFM"]]
    seconds = {
        name: [seconds_to(lines, level) for lines, level in zip(several, levels, strict=False)]
        for name, several in runs.items()
    }
    tests = {name: [lines[-1]["test"] for lines in several] for name, several in runs.items()}
    for name, several in runs.items():
        best = spread([best_validation(lines) for lines in several])
        bench.say(f"  {name}: {spread(seconds[name])} s to 97 % of LightFM's best validation recall@20")
        epochs = len(several[0]) - 1
        bench.say(f"    {spread([pairs_per_second(lines) for lines in several])} pairs/s in {epochs} epochs")
        bench.say(f"    recall@20 of the best epoch: validation {best}, test {spread(tests[name])}")
    return [
        Case.less(
            "one-hot: seconds to 97 % of LightFM's recall@20 (pooled)", seconds["pooled"], seconds["LightFM"], 2.5
        ),
        Case.more("one-hot: test recall@20 (pooled)", tests["pooled"], tests["LightFM"], 1.08),
    ]


def _flags(sampler: str, epochs: int, seed: int) -> list[str]:
    return [f"--sampler={sampler}", f"--epochs={epochs}", f"--seed={seed}"]


def large_y(bench: Bench) -> list[Case]:
    """3. A million labels × 64 beside a hundred thousand, 200,000 sparse examples of 30 items."""
    few, many = list[Outcome](), list[Outcome]()
    for _ in bench.turns():
        few.append(bench.ours("ours_synthetic", "many-labels", "--labels=100000"))
        many.append(bench.ours("ours_synthetic", "many-labels", "--labels=1000000"))
    steps = [_column(side, "seconds_per_step") for side in (few, many)]
    held = [outcome.peak_bytes / outcome.last["model_bytes"] for outcome in many]
    bench.say(f"  milliseconds a step: 10⁵ labels {_milli(steps[0])}, 10⁶ labels {_milli(steps[1])}")
    bench.say(f"  peak of 10⁶ labels: {spread(held)} × (U, V and AdaGrad's sums)")
    quotient = statistics.median(steps[1]) / statistics.median(steps[0])
    return [
        Case.bound("large Y: seconds a step, 10⁶ ÷ 10⁵ labels", [quotient], 1.3),
        Case.bound("large Y: peak memory ÷ (U, V and the optimiser's)", held, 2.5),
    ]


def candidates_only(bench: Bench) -> list[Case]:
    """4. The weighted stage on candidates beside the linear stage on all labels, by the same law and pooled."""
    cases = []
    for labels in (1_000, 10_000):
        found: dict[str, list[Outcome]] = {"weighted": [], "geometric": [], "pooled": []}
        for _ in bench.turns():
            for stage, outcomes in found.items():
                outcomes.append(bench.ours("ours_synthetic", "candidates", f"--labels={labels}", f"--stage={stage}"))
        speed = {stage: _column(outcomes, "pairs_per_second") for stage, outcomes in found.items()}
        told = ", ".join(f"{stage} {spread(values)}" for stage, values in speed.items())
        bench.say(f"  {labels:,} labels, pairs/s: {told}")
        name = f"candidates only: pairs/s ÷ linear by the same law, {labels:,} labels"
        cases.append(Case.more(name, speed["weighted"], speed["geometric"], bar=3))
    return cases


def out_of_core(bench: Bench) -> list[Case]:
    """5. Ten times the memory bound on disk, beside the same examples in memory."""
    _check_room(bench.scratch, 12 * MEMORY_BOUND)
    directory = bench.scratch / "stored"
    bench.ours("ours_synthetic", "store", directory)
    disk, memory = list[Outcome](), list[Outcome]()
    for _ in bench.turns():
        for kept, outcomes in (("bound", disk), ("all", memory)):
            outcomes.append(bench.ours("ours_synthetic", "stored", directory, f"--kept={kept}"))
    speed = [_column(side, "pairs_per_second") for side in (disk, memory)]
    held = [outcome.peak_bytes / MEMORY_BOUND for outcome in disk]
    bench.say(f"  pairs/s: from disk {spread(speed[0])}, in memory {spread(speed[1])}")
    bench.say(f"  peak from disk: {spread(held)} × the bound of {MEMORY_BOUND / 2**20:,.0f} MiB")
    return [
        Case.more("out of core: pairs/s ÷ in memory", speed[0], speed[1], bar=0.7),
        Case.bound("out of core: peak memory ÷ bound", held, 1.25),
    ]


CASES: dict[str, Callable[[Bench], list[Case]]] = {
    "dense": dense,
    "one-hot": one_hot,
    "large-y": large_y,
    "candidates": candidates_only,
    "out-of-core": out_of_core,
}


def _check_room(scratch: Path, wanted: int) -> None:
    """Raises LeftOut where the disk, or the memory for the twin in memory, does not suffice."""
    for what, free in (("disk", shutil.disk_usage(scratch).free), ("memory", psutil.virtual_memory().available)):
        if free < wanted:
            raise LeftOut(f"it needs {wanted / 2**30:.0f} GiB of {what}, {free / 2**30:.1f} are free")


def _column(outcomes: Sequence[Outcome], name: str) -> list[Any]:
    return [outcome.last[name] for outcome in outcomes]


def _milli(seconds: Sequence[float]) -> str:
    return spread([1000 * value for value in seconds])


@click.command()
@click.option("--lightfm", type=click.Path(exists=True, path_type=Path), required=True, help="LightFM's python")
@click.option("--repetitions", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--rate", type=float, help="LightFM's on one-hot users  [default: chosen on validation]")
@click.option("--case", "names", type=click.Choice(list(CASES)), multiple=True, help="only these  [default: all]")
def main(lightfm: Path, repetitions: int, rate: float | None, names: tuple[str, ...]) -> None:
    """Run the cases; the last line is JSON."""
    with tempfile.TemporaryDirectory(prefix="bench-trainer-") as scratch:
        try:
            cases = run_cases(
                Bench(repetitions, LightFM(lightfm), Path(scratch), rate), [CASES[name] for name in names or CASES]
            )
        except ProgramFailed as failure:
            raise click.ClickException(str(failure)) from failure
    click.echo(last_line("trainer", cases))


if __name__ == "__main__":
    main()

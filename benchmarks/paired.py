"""By how much one method is ahead of another on the same test examples, with its bootstrap interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.config import METHODS_0
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.run_directory import Lane, RunDirectory
from schemas.manifest import read_manifest
from schemas.parts import PartReader

RESAMPLES = 2000
COVERAGE = 0.95

_FS = BeamFileSystem()


@dataclass(frozen=True)
class Difference:
    """Mean of P@k of one method less that of another, and the ends of its 95 % percentile interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f} ({100 * self.low:+.2f} … {100 * self.high:+.2f})"


def paired(directories: Sequence[Path], first: str, second: str, k: int) -> Difference:
    """P@k of `first` less that of `second` on test, over the runs' examples that have labels.

    An example that several runs rank (seeds) counts once, by its mean; folds of a data set are joined. Resampled are
    the examples, so the interval says what other test examples would have given, not other seeds.
    """
    per_example: defaultdict[int, list[float]] = defaultdict(list)
    for directory in directories:
        ours, theirs = _precisions(directory, first, k), _precisions(directory, second, k)
        for row in ours:
            per_example[row].append(ours[row] - theirs[row])
    values = np.array([float(np.mean(per_example[row])) for row in sorted(per_example)])
    return _bootstrapped(values)


def _bootstrapped(values: NDArray[np.float64]) -> Difference:
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Difference(float(values.mean()), float(low), float(high))


def _precisions(directory: Path, method: str, k: int) -> dict[int, float]:
    """P@k by the id of every test example that has labels. Of the iterations ≥ 1 it is the first."""
    lane = Lane(str(directory), (), None, (), ())
    predictions = lane.predictions(int(method not in METHODS_0), method, "test")
    ranked = dict(_lists(predictions, "annotate"))
    truth = _lists(RunDirectory(str(directory)).examples("test"), "ingest")
    return {row: len(set(ranked[row][:k]) & set(labels)) / k for row, labels in truth if labels}


def _lists(directory: str, made_by: str) -> Iterator[tuple[int, list[int]]]:
    """(id, labels) of a dataset's rows."""
    for part in read_manifest(_FS, directory, made_by).parts:
        with PartReader(_FS, directory, part) as reader:
            for block in range(reader.blocks):
                yield from _rows(reader.block(block, ["id", "labels"]))


def _rows(table: pa.Table) -> Iterable[tuple[int, list[int]]]:
    return zip(table.column("id").to_pylist(), table.column("labels").to_pylist(), strict=True)

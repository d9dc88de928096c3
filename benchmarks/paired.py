"""By how much one method is ahead of another on the same test examples, with its bootstrap interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.metrics import length_of, of_rows
from awe_core.ranking import Ranking
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
    """Mean of a metric of one method less that of another, and the ends of its 95 % percentile interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:+.2f} ({100 * self.low:+.2f} … {100 * self.high:+.2f})"


def paired(directories: Sequence[Path], first: str, second: str, metric: str) -> Difference:
    """A metric of `first` less that of `second` on test, over the runs' examples that have labels.

    An example that several runs rank (seeds) counts once, by its mean; folds of a data set are joined. Resampled are
    the examples, so the interval says what other test examples would have given, not other seeds.
    """
    per_example: defaultdict[int, list[float]] = defaultdict(list)
    for directory in directories:
        ours, theirs = _of_examples(directory, first, metric), _of_examples(directory, second, metric)
        for row in ours:
            per_example[row].append(ours[row] - theirs[row])
    values = np.array([float(np.mean(per_example[row])) for row in sorted(per_example)])
    return _bootstrapped(values)


def _bootstrapped(values: NDArray[np.float64]) -> Difference:
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Difference(float(values.mean()), float(low), float(high))


def _of_examples(directory: Path, method: str, metric: str) -> dict[int, float]:
    """A metric by the id of every test example that has labels. Of the iterations ≥ 1 it is the first."""
    lane = Lane(str(directory), (), None, (), ())
    truth = dict(_lists(RunDirectory(str(directory)).examples("test"), "ingest"))
    ranked = dict(_lists(lane.predictions(int(method not in METHODS_0), method, "test"), "annotate"))
    ids = list(truth)
    labels = 1 + max(label for lists in (truth, ranked) for its in lists.values() for label in its)
    wanted, lists = _csr([truth[row] for row in ids], labels), _csr([ranked[row] for row in ids], labels)
    ranking = Ranking(lists.indptr, lists.indices, lists.data)
    by_name, scored = of_rows(ranking, wanted, sp.csr_matrix(wanted.shape), None, length_of(metric))
    return {row: float(by_name[metric][place]) for place, row in enumerate(ids) if scored[place]}


def _csr(lists: Sequence[list[int]], width: int) -> sp.csr_matrix:
    """Lists as rows, in their order; those of truth ascend."""
    indptr = np.cumsum([0, *map(len, lists)])
    flat = np.array([label for one in lists for label in one], np.int32)
    return sp.csr_matrix((np.ones(len(flat), np.float32), flat, indptr), shape=(len(lists), width))


def _lists(directory: str, made_by: str) -> Iterator[tuple[int, list[int]]]:
    """(id, labels) of a dataset's rows."""
    for part in read_manifest(_FS, directory, made_by).parts:
        with PartReader(_FS, directory, part) as reader:
            for block in range(reader.blocks):
                yield from _rows(reader.block(block, ["id", "labels"]))


def _rows(table: pa.Table) -> Iterable[tuple[int, list[int]]]:
    return zip(table.column("id").to_pylist(), table.column("labels").to_pylist(), strict=True)

"""G of the training examples out of fold (`awe_core.folds`): every fold's rows are joined with the others, where the
fold's own model puts both.

    folds/K/embeddings-0/S/own × folds/K/embeddings-0/S/others  →  neighbours of the fold's rows
    those of all folds, by part of the examples                 →  G of the part's rows, in their order

Each space has an m of its own, from the others alone: a row of the fold is to its space what a test row is to that of
the model trained on all. Every fold is a join of 1/F of the rows with the rest, F of them (F − 1)/F of all pairs of
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import apache_beam as beam
import numpy as np
import scipy.sparse as sp

from awe_core.folds import fold_of, interleaved
from awe_core.neighbours import Neighbours
from pipelines.affinities.by_neighbours import FindNeighbours, Weigher, every_part
from pipelines.config import Affinity
from pipelines.datasets.vector_dataset import Found, VectorDataset
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.model_file import ModelFile
from schemas.parts import PartReader

OfFold: TypeAlias = tuple[int, int, Neighbours]
"""(fold, block of the fold's rows of a part, their neighbours)."""


@dataclass(frozen=True)
class FoldVectors:
    """One fold.

    Attributes
    ----------
    own, others : by split, the rows of the fold and those that its model was trained on, by that model.
    model : directory and description of it where labels are compared by its V; else None.
    """

    own: tuple[VectorDataset, ...]
    others: tuple[VectorDataset, ...]
    model: tuple[str, ModelFile] | None


@dataclass(frozen=True)
class FoldParts:
    """What `FoldNeighbours` gives."""

    parts: beam.PCollection
    """((split, part), iterable of `OfFold`, or None beside them) for every part of the examples."""
    medians: beam.PCollection
    """m by fold, one list."""


class FoldNeighbours(beam.PTransform):
    """PBegin → the neighbours of the rows of all folds by part, and the m of every fold.

    Parameters
    ----------
    fs : where the datasets lie.
    folds : all of them.
    settings : n, λx, ε.
    seed : the run's.
    shards : of every base.
    """

    def __init__(
        self, fs: FileSystem, folds: Sequence[FoldVectors], settings: Affinity, seed: int, shards: int
    ) -> None:
        super().__init__()
        self._fs, self._folds, self._settings, self._seed, self._shards = fs, list(folds), settings, seed, shards

    def expand(self, begin: beam.pvalue.PBegin) -> FoldParts:
        found, medians = [], []
        for number, fold in enumerate(self._folds):
            near = begin | f"fold {number}" >> FindNeighbours(
                self._fs, fold.others, fold.own, self._settings, self._seed, self._shards
            )
            found.append(near.blocks | f"of fold {number}" >> beam.Map(_keyed, number))
            medians.append(near.median | f"m of fold {number}" >> beam.Map(_numbered, number))
        parts = (*found, every_part(begin, self._folds[0].own)) | "with empty parts" >> beam.Flatten()
        gathered = medians | "all m" >> beam.Flatten() | "gather m" >> beam.GroupByKey()
        return FoldParts(parts | "gather part" >> beam.GroupByKey(), gathered | "order m" >> beam.Map(_ordered))


def _keyed(found: Found, fold: int) -> tuple[tuple[int, int], OfFold]:
    (position, part, block), near = found
    return (position, part), (fold, block, near)


def _numbered(median: float, fold: int) -> tuple[int, tuple[int, float]]:
    return 0, (fold, median)


def _ordered(gathered: tuple[int, Iterable[tuple[int, float]]]) -> list[float]:
    return [median for _, median in sorted(gathered[1])]


def weighed_by_fold(
    found: Iterable[OfFold | None],
    medians: Sequence[float],
    weighers: Sequence[Weigher],
    vectors: VectorDataset,
    reader: PartReader,
    seed: int,
) -> Iterator[tuple[int, sp.csr_matrix]]:
    """(block, G as CSR [rows, Y]) of a part of the examples, blocks in order.

    Parameters
    ----------
    found : the neighbours of the part's rows, by fold.
    medians, weighers : by fold.
    vectors, reader : a dataset aligned with the examples, and its part.

    Raises DataError where a fold's rows are not all there.
    """
    ids = [vectors.ids(reader, block) for block in range(reader.blocks)]
    if not ids:
        return
    of_fold: list[list[tuple[int, Neighbours]]] = [[] for _ in weighers]
    for one in found:
        if one:
            of_fold[one[0]].append(one[1:])
    weighed = [
        _stacked([G for _, G in weigher.blocks(near, median)], weigher.labels)
        for weigher, near, median in zip(weighers, of_fold, medians, strict=True)
    ]
    try:
        whole = interleaved(fold_of(seed, np.concatenate(ids), len(weighers)), weighed)
    except ValueError as error:
        raise DataError(f"{reader.path}: {error}: the runner lost an element; run it again") from error
    start = 0
    for block, rows in enumerate(ids):
        yield block, whole[start : start + len(rows)]
        start += len(rows)


def _stacked(blocks: list[sp.csr_matrix], labels: int) -> sp.csr_matrix:
    return sp.vstack([sp.csr_matrix((0, labels), dtype=np.float32), *blocks], format="csr")

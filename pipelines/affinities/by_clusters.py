"""The cluster affinity's tree and counts, as a Beam job: what makes the G of a block.

    base → sample → tree ─┐
         ─────────────────┴→ counts of labels by leaf, part by part → their sum

No vector crosses a shuffle but the sample's, some 64 rows a leaf, which one worker holds. The tree (9 · D bytes a
leaf) and the counts (12 bytes for a label of a leaf) go to every worker that weighs. The same rows and seed give what
`awe_core.affinities.cluster` gives in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.affinities.cluster import ClusterTree, count_labels, in_sample
from pipelines.datasets.vector_dataset import VectorDataset
from pipelines.jobs import counters
from schemas import convert
from schemas.errors import DataError
from schemas.filesystem import FileSystem
from schemas.parts import PartReader

_Sample = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True)
class Clusters:
    """What `FindClusters` gives."""

    tree: beam.PCollection
    """`ClusterTree`, one element."""
    counts: beam.PCollection
    """int64 CSR [leaves, Y], one element: how many examples of the base, by leaf, have a label."""


class FindClusters(beam.PTransform):
    """PBegin → the tree of a base and its counts of labels.

    Parameters
    ----------
    fs : where the datasets lie.
    base : embeddings with their labels.
    labels : Y.
    leaf_rows : rows of a leaf at the most.
    seed : the run's.

    Raises
    ------
    DataError : the base has no rows.
    """

    def __init__(self, fs: FileSystem, base: Sequence[VectorDataset], labels: int, leaf_rows: int, seed: int) -> None:
        super().__init__()
        if not sum(dataset.manifest.rows for dataset in base):
            raise DataError(f"{', '.join(dataset.directory for dataset in base)}: without rows there are no clusters")
        self._fs, self._base, self._labels, self._leaf_rows, self._seed = fs, tuple(base), labels, leaf_rows, seed

    def expand(self, begin: beam.pvalue.PBegin) -> Clusters:
        parts = [(position, k) for position, one in enumerate(self._base) for k in range(len(one.manifest.parts))]
        listed = (
            begin
            | "list base parts" >> beam.Create(parts, reshuffle=False)
            | "spread base parts" >> beam.Reshuffle()  # the list is one bundle
        )
        tree = (
            listed
            | "draw sample" >> beam.FlatMap(_draw, self._fs, self._base, self._seed, self._leaf_rows)
            | "gather sample" >> beam.GroupByKey()
            | "make tree" >> beam.Map(_make_tree, self._seed, self._leaf_rows)
        )
        counts = (
            listed
            | "count labels" >> beam.Map(_count, self._fs, self._base, self._labels, beam.pvalue.AsSingleton(tree))
            | "add counts" >> beam.CombineGlobally(_AddCounts()).without_defaults()
        )
        return Clusters(tree, counts)


def _draw(
    task: tuple[int, int], fs: FileSystem, base: Sequence[VectorDataset], seed: int, leaf_rows: int
) -> Iterator[tuple[int, _Sample]]:
    """The rows of a part that the tree is made from."""
    for ids, vectors, _ in _blocks(task, fs, base):
        chosen = in_sample(seed, ids, leaf_rows)
        yield 0, (ids[chosen], vectors[chosen])


def _make_tree(gathered: tuple[int, Iterable[_Sample]], seed: int, leaf_rows: int) -> ClusterTree:
    ids, vectors = (np.concatenate(several) for several in zip(*gathered[1], strict=True))
    with counters.kernel("cluster"):
        return ClusterTree.fit(seed, ids, vectors, leaf_rows)


def _count(
    task: tuple[int, int], fs: FileSystem, base: Sequence[VectorDataset], labels: int, tree: ClusterTree
) -> sp.csr_matrix:
    """The counts of a part."""
    counts = sp.csr_matrix((tree.leaves, labels), dtype=np.int64)
    for _, vectors, lists in _blocks(task, fs, base, labels):
        with counters.kernel("assign"):
            counts = counts + count_labels(tree.assign(vectors), lists, tree.leaves)
    return counts


def _blocks(
    task: tuple[int, int], fs: FileSystem, base: Sequence[VectorDataset], labels: int | None = None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], sp.csr_matrix | None]]:
    """Ids, embeddings and, where Y is given, labels of the blocks of a part."""
    position, k = task
    dataset = base[position]
    with PartReader(fs, dataset.directory, dataset.manifest.parts[k]) as reader:
        for block in range(reader.blocks):
            lists = None
            if labels is not None:
                lists = convert.lists(reader.block(block, ["labels"]), "labels", labels, reader.where(block))
            vectors = dataset.vectors(reader, block)
            assert isinstance(vectors, np.ndarray)
            yield dataset.ids(reader, block), vectors, lists


class _AddCounts(beam.CombineFn):
    """The sum of counts of one shape; integers, so that no order matters."""

    def create_accumulator(self) -> sp.csr_matrix | None:
        return None

    def add_input(self, accumulator: sp.csr_matrix | None, counts: sp.csr_matrix) -> sp.csr_matrix:
        return counts if accumulator is None else accumulator + counts

    def merge_accumulators(self, accumulators: Iterable[sp.csr_matrix | None]) -> sp.csr_matrix | None:
        merged = None
        for counts in accumulators:
            if counts is not None:
                merged = self.add_input(merged, counts)
        return merged

    def extract_output(self, accumulator: sp.csr_matrix | None) -> sp.csr_matrix | None:
        return accumulator

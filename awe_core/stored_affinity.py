"""G of a stored kind for rows in memory: neighbours or leaves, and weights, as the pipeline's jobs make them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.affinities.beside_neighbours import LabelsById, median_distance, smallest_hashes
from awe_core.affinities.cluster import ClusterTree, count_labels, in_sample
from awe_core.affinities.latent_rbf import NearLabels
from awe_core.affinities.neighbour_labels import NeighbourWeigher
from awe_core.affinities.settings import AffinitySettings
from awe_core.affinities.stored import STORED_KINDS, Stored, from_neighbours
from awe_core.arranged import ArrangedBlocks
from awe_core.examples import Block, Features
from awe_core.folds import fold_of, interleaved
from awe_core.knn import Base, prepare, search
from awe_core.knn.approximate import approximate_join
from awe_core.model import Model
from awe_core.neighbour_space import NeighbourSpace
from awe_core.neighbours import Neighbours
from awe_core.rows import runs
from awe_core.threads import Workers
from awe_core.weighing import ByLeaves, ByNeighbours, Weighing


@dataclass(frozen=True)
class Making:
    """What every G of a training is made with.

    Attributes
    ----------
    settings : of a kind that is stored.
    seed : of the samples and folds.
    threads : no result depends on them.
    block_rows : rows whose neighbours are looked for at once.
    """

    settings: AffinitySettings
    seed: int
    threads: int
    block_rows: int

    @property
    def kind(self) -> Stored:
        """What the kind is."""
        return STORED_KINDS[self.settings.kind]

    def space(self, source: Model, fit: ArrangedBlocks) -> NeighbourSpace | None:
        """Ux of a model, with x beside it; None where neighbours are near in x itself."""
        if not self.kind.embedded:
            return None
        return NeighbourSpace.of(source, fit[0].features, self.settings.input_weight)

    def median(self, ids: NDArray[np.int64], vectors: Features) -> float:
        """m, the unit of λx. Raises ValueError where most rows are alike."""
        sample = smallest_hashes(self.seed, ids)
        base = prepare(ids, vectors)
        queries = (sample[rows] for rows in runs(len(sample), self.block_rows))
        several = ((ids[these], vectors[these]) for these in queries)
        return median_distance(np.concatenate([near.distances for near in self.nearest(base, several, own=True)]))

    def nearest(self, base: Base, several: Iterable[tuple[NDArray[np.int64], Features]], own: bool) -> list[Neighbours]:
        """The neighbours of placed rows, (ids, vectors); where the ids are their `own`, none is its own neighbour."""
        with Workers(self.threads) as workers:
            return [
                search(base, base.alike(ids, vectors), self.settings.n, leave_self_out=own, run=workers.each)
                for ids, vectors in several
            ]


@dataclass(frozen=True)
class StoredAffinity:
    """What the G of an iteration is made of: the rows that were trained on, where they are looked for.

    Attributes
    ----------
    making : with what.
    where : the space; None for neighbours in x itself.
    ids, vectors : int64 [rows], and the rows there, float32.
    labels : theirs.
    median : m, the unit of λx; None for clusters.
    by : how a row's neighbours become G, or its leaf.
    """

    making: Making
    where: NeighbourSpace | None
    ids: NDArray[np.int64]
    vectors: Features
    labels: LabelsById
    median: float | None
    by: NeighbourWeigher | ByLeaves

    @classmethod
    def of(cls, making: Making, source: Model, fit: ArrangedBlocks) -> StoredAffinity:
        """From the rows that are trained on. Raises ValueError where most of them have the same place."""
        where = making.space(source, fit)
        blocks = fit.map(partial(_placed, where))
        order = np.concatenate(fit.positions)
        ids, labels = fit.whole.ids[order], LabelsById.of(fit.whole.ids, fit.whole.labels)
        vectors = sp.vstack(blocks, format="csr") if sp.issparse(blocks[0]) else np.concatenate(blocks)
        if making.kind.by_neighbours:
            median = making.median(ids, vectors)
            by = weigher_of(making.settings, median, labels, source)
            return cls(making, where, ids, vectors, labels, median, by)
        assert isinstance(vectors, np.ndarray)
        by_leaves = leaves_of(making.settings, making.seed, ids, vectors, fit.whole.labels[order])
        return cls(making, where, ids, vectors, labels, None, by_leaves)

    def of_rows(self, rows: ArrangedBlocks, own: bool) -> list[sp.csr_matrix]:
        """G of every block. Where the ids are their `own`, a row that was trained on says nothing of itself."""
        blocks = (rows[index] for index in range(len(rows.positions)))
        placed = ((block.ids, _placed(self.where, block)) for block in blocks)
        if isinstance(self.by, ByLeaves):
            return [self.by.affinity(vectors, self.labels.of_rows(ids) if own else None) for ids, vectors in placed]
        return [self.by.of(near) for near in self.making.nearest(prepare(self.ids, self.vectors), placed, own)]

    def of_fitted(self, fit: ArrangedBlocks) -> list[sp.csr_matrix]:
        """G of every block of the rows that it is made of, where some of the neighbours may be missed."""
        how = self.making.settings
        if how.recall == 1:
            return self.of_rows(fit, own=True)
        assert isinstance(self.vectors, np.ndarray)
        assert isinstance(self.by, NeighbourWeigher)
        threads = self.making.threads
        found, _ = approximate_join(self.ids, self.vectors, how.n, how.recall, self.making.seed, threads=threads)
        return [
            self.by.of(replace(found, ids=found.ids[these], distances=found.distances[these]))
            for these in _rows_of_blocks(fit)
        ]

    def out_of_fold(self, fit: ArrangedBlocks, models: Sequence[Model]) -> list[sp.csr_matrix]:
        """The same, of rows that have their neighbours in the other folds, where the model of their own fold is."""
        making, of_folds = self.making, []
        folds = np.concatenate(fit.map(lambda block: fold_of(making.seed, block.ids, len(models))))
        ids = np.concatenate(fit.map(lambda block: block.ids))
        for fold, model in enumerate(models):
            own, vectors = folds == fold, np.concatenate(fit.map(partial(_placed, making.space(model, fit))))
            base, queries = prepare(ids[~own], vectors[~own]), [(ids[own], vectors[own])]
            [near] = making.nearest(base, queries, own=False)
            median = making.median(ids[~own], vectors[~own])
            of_folds.append(weigher_of(making.settings, median, self.labels, model).of(near))
        whole = interleaved(folds, of_folds)
        return [whole[these] for these in _rows_of_blocks(fit)]

    def of_new(self) -> Weighing:
        """What gives G of rows by their places, which no row here is one of."""
        if isinstance(self.by, ByLeaves):
            return self.by
        return ByNeighbours(prepare(self.ids, self.vectors), self.making.settings.n, self.by)


def weigher_of(how: AffinitySettings, median: float, labels: LabelsById, source: Model) -> NeighbourWeigher:
    """What makes G of neighbours, m given; the latent RBF compares their labels by the V of a model.

    Raises ValueError where λy has no unit.
    """
    near_labels = NearLabels.of(source.V, how.near_labels) if STORED_KINDS[how.kind].near_labels else None
    member = from_neighbours(how.kind, how.mode, how.lambda_y, near_labels)
    return NeighbourWeigher(member, labels, how.lambda_x / median, how.epsilon)


def leaves_of(
    settings: AffinitySettings, seed: int, ids: NDArray[np.int64], vectors: NDArray[np.float32], labels: sp.csr_matrix
) -> ByLeaves:
    """The tree of some rows and the counts of their labels: int64 [rows], float32 [rows, D], CSR [rows, Y]."""
    sample = in_sample(seed, ids, settings.leaf_rows)
    tree = ClusterTree.fit(seed, ids[sample], vectors[sample], settings.leaf_rows)
    return ByLeaves(tree, count_labels(tree.assign(vectors), labels, tree.leaves), settings.leaf_labels)


def _placed(where: NeighbourSpace | None, block: Block) -> Features:
    """The rows of a block where neighbours are looked for."""
    return block.features if where is None else where.embed(block.features)


def _rows_of_blocks(fit: ArrangedBlocks) -> list[slice]:
    """Which rows every block has, block after block."""
    ends = np.cumsum(fit.rows_of_block)
    return [slice(end - rows, end) for end, rows in zip(ends.tolist(), fit.rows_of_block, strict=True)]

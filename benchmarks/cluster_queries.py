"""What a query costs where only the labels of its leaf are scored, beside the linear model that scores all.

    python -m benchmarks.cluster_queries --run=RUN [--split=validation] [--leaf-rows=500] [--labels=100 --labels=400]

RUN has examples and model-0. Both rank by its f(x, y) = xᵀUᵀVy on one thread: the linear model all labels, the cluster
affinity the N most frequent of the leaf that x walks down to. Milliseconds are of CPU, for a query in blocks of 1,024
rows and for one that comes alone, with all that follows its features: embedding, walk, scores, ranking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import click
import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from awe_core import metrics, scoring
from awe_core.affinities.cluster import ClusterTree, cluster_affinity, count_labels, in_sample
from awe_core.examples import Block
from awe_core.gate import Gate
from awe_core.model import Model
from benchmarks.training import say
from pipelines.datasets.example_blocks import read_examples
from pipelines.datasets.models import load_model, model_file
from pipelines.run_directory import RunDirectory
from schemas.filesystem import LocalFileSystem
from schemas.manifest import read_manifest
from schemas.parts import PartReader

FS, K, ALONE, SEED = LocalFileSystem(), 20, 500, 0


def blocks_of(run: RunDirectory, split: str) -> Iterator[Block]:
    """The blocks of a split as they were cut."""
    manifest = read_manifest(FS, run.examples(split), "ingest")
    for part in manifest.parts:
        with PartReader(FS, run.examples(split), part) as reader:
            for index in range(reader.blocks):
                yield read_examples(reader, index, manifest.facts)


class Leaves:
    """The tree of a base, and the labels of every leaf."""

    def __init__(self, model: Model, base: Sequence[Block], leaf_rows: int) -> None:
        ids = np.concatenate([block.ids for block in base])
        vectors = np.concatenate([model.embed(block.features) for block in base])
        sample = in_sample(SEED, ids, leaf_rows)
        self.tree = ClusterTree.fit(SEED, ids[sample], vectors[sample], leaf_rows)
        labels = sp.vstack([block.labels for block in base], format="csr")
        self._counts = count_labels(self.tree.assign(vectors), labels, self.tree.leaves)

    def of_leaf(self, most: int) -> sp.csr_matrix:
        """G by leaf: CSR [leaves, Y]."""
        return cluster_affinity(np.arange(self.tree.leaves), self._counts, None, most)


def timed(rank: scoring.Rank, blocks: Sequence[Block]) -> tuple[float, dict[str, float]]:
    """Milliseconds a row, and the metrics."""
    start = time.process_time()
    rankings = [rank(block) for block in blocks]
    spent = time.process_time() - start
    sums = [
        metrics.sums(ranking, block.labels, block.seen, None, K)
        for ranking, block in zip(rankings, blocks, strict=True)
    ]
    return 1000 * spent / sum(len(block) for block in blocks), metrics.means(metrics.add(sums))


def by_leaf(model: Model, tree: ClusterTree, of_leaf: sp.csr_matrix) -> scoring.Rank:
    """Ranks the labels of the leaf by f."""

    def rank(block: Block) -> Any:
        leaf = tree.assign(model.embed(block.features))
        return gated(replace(block, affinity=of_leaf[leaf]))

    gated = scoring.rank_by_gated_model(model, Gate(), K)
    return rank


def alone(blocks: Sequence[Block]) -> list[Block]:
    """The first rows, each a block of its own."""
    rows = ((block, slice(row, row + 1)) for block in blocks for row in range(len(block)))
    return [
        Block(block.ids[one], block.features[one], block.labels[one], block.seen[one], block.weight[one])
        for (block, one), _ in zip(rows, range(ALONE), strict=False)
    ]


@click.command()
@click.option("--run", "root", required=True, metavar="DIR")
@click.option("--split", default="validation", show_default=True)
@click.option("--leaf-rows", default=500, show_default=True)
@click.option("--labels", "several", multiple=True, type=int, default=(100, 400), show_default=True, help="N.")
def main(root: str, split: str, leaf_rows: int, several: tuple[int, ...]) -> None:
    """A line of JSON for the linear model and for every N."""
    run = RunDirectory(root)
    described = model_file(FS, run.path("model-0"), 0)
    model = load_model(FS, run.path("model-0"), described)
    base, queries = list(blocks_of(run, "train")), list(blocks_of(run, split))
    singles = alone(queries)

    def report(name: str, rank: Callable[[Block], Any], **more: Any) -> None:
        with threadpool_limits(1):
            (in_blocks, found), (one, _) = timed(rank, queries), timed(rank, singles)
        kept = {metric: found[metric] for metric in ("p@1", "recall@20", "ndcg@20")}
        say(method=name, ms_in_blocks=in_blocks, ms_alone=one, **more, **kept)

    report("linear", scoring.rank_by_model(model, K), labels_scored=model.labels)
    leaves = Leaves(model, base, leaf_rows)
    for most in several:
        of_leaf = leaves.of_leaf(most)
        scored = float(np.diff(of_leaf.indptr)[leaves.tree.assign(embedded(model, queries))].mean())
        report("cluster", by_leaf(model, leaves.tree, of_leaf), labels_scored=scored, leaves=leaves.tree.leaves)


def embedded(model: Model, blocks: Sequence[Block]) -> np.ndarray:
    """Ux of all rows."""
    return np.concatenate([model.embed(block.features) for block in blocks])


if __name__ == "__main__":
    main()

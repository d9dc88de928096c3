"""What a bound on the error of G would save: tiles that need no product, neighbours that need no place.

    python -m benchmarks.error_bound      (AWE_DATA names the folder with cifar100-474)

Train rows are put into lists around centroids; a tile is a pair of lists. A tile can be skipped for ε if no two of its
rows can be nearer than the radius ln(n / ε) / λx: if the distance of the centroids less both lists' radii is larger.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
import numpy as np

from awe_core.affinities.beside_neighbours import LabelsById, median_distance, radius, smallest_hashes
from awe_core.affinities.knn import Knn
from awe_core.affinities.neighbour_labels import NeighbourLabels
from awe_core.knn import knn_join
from awe_core.knn.inverted_lists import InvertedLists
from benchmarks.datasets import cifar
from benchmarks.grown import seedlings
from benchmarks.quality import csr_of
from benchmarks.training import THREADS, say

# As the first runs on CIFAR-100 had them.
N, LAMBDA_X = 100, 6.0
LISTS = (50, 250, 1000)
EPSILONS = (1e-4, 1e-2)


@click.command()
def main() -> None:
    """A line of JSON for every ε and number of lists, and one for what ε does to G."""
    root = Path(os.environ["AWE_DATA"])
    labels = csr_of(cifar(root), "train.labels")
    vectors = seedlings(root)[0][: labels.shape[0]]
    ids = np.arange(len(vectors))
    near = knn_join(ids, vectors, N, threads=THREADS)
    median = median_distance(near.distances[smallest_hashes(0, ids)])
    lambda_x, table = LAMBDA_X / median, LabelsById.of(ids, labels)
    whole = Knn("sum").of(NeighbourLabels.of(near, table, lambda_x))
    for epsilon in EPSILONS:
        reach = radius(epsilon, N, lambda_x)
        left = Knn("sum").of(NeighbourLabels.of(near, table, lambda_x, epsilon))
        say(
            epsilon=epsilon,
            radius_in_medians=reach / median,
            neighbours_left_out=float((near.distances > reach).mean()),
            candidates_left_out=1 - left.nnz / whole.nnz,
            largest_error=float(np.abs((whole - left).data).max(initial=0)),
            mean_of_largest=float(whole.max(axis=1).toarray().mean()),
        )
    for lists in LISTS:
        cells = InvertedLists.fit(vectors, lists, 0)
        own = cells.assign(vectors)
        apart = np.linalg.norm(vectors - cells.centroids[own], axis=1)
        extent, sizes = np.zeros(lists), np.bincount(own, minlength=lists)
        np.maximum.at(extent, own, apart)
        gaps = np.linalg.norm(cells.centroids[:, None] - cells.centroids, axis=2) - extent[:, None] - extent
        pairs = np.outer(sizes, sizes)
        for epsilon in EPSILONS:
            skipped = np.maximum(gaps, 0) ** 2 > radius(epsilon, N, lambda_x)
            say(lists=lists, epsilon=epsilon, pairs_skipped=float(pairs[skipped].sum() / pairs.sum()))


if __name__ == "__main__":
    main()

"""The cluster affinity: the labels that are frequent where x lies.

    G(x, y) = 1 if y is among the N most frequent labels of x's leaf of a hierarchical k-means on Ux, else 0

Frequencies are of the training examples in the leaf, ties go to the smaller label. An example that is itself one of
them is not counted for itself: the leaf would name its own labels. Where an example is ranked, its leaf is found by
walking down the tree and only N labels are scored: the cost does not grow with Y.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from awe_core.arrangement import generator, hash_fractions, hash_ids
from awe_core.rows import row_of_entry, runs

BRANCHES = 8
"""Children of a node: a query meets 8 · log₈(leaves) centres on its way."""

SAMPLED = 64
"""Rows of the sample that the tree is made from, by leaf."""

_STREAM = "cluster"
_PASSES = 20
_WALKED_ROWS = 1024


def in_sample(seed: int, ids: NDArray[np.int64], leaf_rows: int) -> NDArray[np.bool_]:
    """Whether a row is of the sample that the tree is made from: bool, as `ids`; all rows where leaves are small."""
    return hash_fractions(seed, _STREAM, ids) * leaf_rows < SAMPLED


@dataclass(frozen=True)
class ClusterTree:
    """A hierarchical k-means.

    Attributes
    ----------
    centres : float64 [nodes, D]; the root's is not used.
    first : int64 [nodes], the first of the node's children, which stand side by side; −1 for a leaf.
    children : int64 [nodes], how many it has.
    leaf : int64 [nodes], the leaf's number; −1 for an inner node.
    """

    centres: NDArray[np.float64]
    first: NDArray[np.int64]
    children: NDArray[np.int64]
    leaf: NDArray[np.int64]

    @classmethod
    def fit(cls, seed: int, ids: NDArray[np.int64], vectors: NDArray[np.float32], leaf_rows: int) -> ClusterTree:
        """Split a sample until no leaf stands for more than `leaf_rows` rows, by scikit-learn's k-means.

        Parameters
        ----------
        seed : the run's.
        ids, vectors : int64 [rows] and float32 [rows, D] of the sample, in any order.
        leaf_rows : of train, not of the sample. A leaf whose rows are all alike may have more.
        """
        order = np.argsort(hash_ids(seed, _STREAM, ids), kind="stable")
        x, most = vectors[order], min(leaf_rows, SAMPLED)
        waiting = [np.arange(len(x))]
        centres, first, children = [np.zeros(vectors.shape[1])], [-1], [0]
        for node, rows in enumerate(waiting):  # which grows: nodes are split in the order in which they came
            if len(rows) <= most:
                continue
            found, nearest = _split(x[rows], seed, node)
            if len(found) < 2:
                continue
            first[node], children[node] = len(centres), len(found)
            centres += list(found)
            first += [-1] * len(found)
            children += [0] * len(found)
            waiting += [rows[nearest == child] for child in range(len(found))]
        inner = np.array(first) >= 0
        leaf = np.where(inner, -1, np.cumsum(~inner) - 1)
        return cls(np.array(centres), np.array(first, np.int64), np.array(children, np.int64), leaf)

    @property
    def leaves(self) -> int:
        return int((self.leaf >= 0).sum())

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """The leaf of every row of float32 [rows, D]: int64 [rows].

        By direct differences in float64, so that a row's leaf depends on that row alone; ties go to the first centre.
        """
        found = np.zeros(len(vectors), np.int64)
        for run in runs(len(vectors), _WALKED_ROWS):
            found[run] = self._walk(vectors[run].astype(np.float64))
        return self.leaf[found]

    def _walk(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        node = np.zeros(len(x), np.int64)
        while True:
            inner = np.flatnonzero(self.first[node] >= 0)
            if not len(inner):
                return node
            at = node[inner]
            child = self.first[at, None] + np.minimum(np.arange(BRANCHES), self.children[at, None] - 1)
            difference = self.centres[child] - x[inner, None]
            node[inner] = child[np.arange(len(at)), np.einsum("rcd,rcd->rc", difference, difference).argmin(axis=1)]


def _split(x: NDArray[np.float32], seed: int, node: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Centres of the children that have rows, float64 [children, D], and the child of every row."""
    # scikit-learn's clusters take a second to import, which every command would pay.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    draws = int(generator(seed, _STREAM, node).integers(2**31))
    model = KMeans(min(BRANCHES, len(x)), init="k-means++", n_init=1, max_iter=_PASSES, random_state=draws)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than children
        nearest = model.fit_predict(x)
    used, nearest = np.unique(nearest, return_inverse=True)
    return model.cluster_centers_[used].astype(np.float64), nearest


def count_labels(leaf: NDArray[np.int64], labels: sp.csr_matrix, leaves: int) -> sp.csr_matrix:
    """How many of some rows, by leaf, have a label: int64 CSR [leaves, Y], indices sorted. Such counts add up.

    Parameters
    ----------
    leaf : int64 [rows], of every row.
    labels : CSR [rows, Y].
    """
    entries = np.ones(labels.nnz, np.int64), (leaf[row_of_entry(labels)], labels.indices)
    return sp.csr_matrix(sp.coo_matrix(entries, shape=(leaves, labels.shape[1])))


def cluster_affinity(
    leaf: NDArray[np.int64], counts: sp.csr_matrix, own: sp.csr_matrix | None, most: int
) -> sp.csr_matrix:
    """G of a block of rows.

    Parameters
    ----------
    leaf : int64 [rows], of every row.
    counts : int64 CSR [leaves, Y], indices sorted: of the training examples.
    own : CSR [rows, Y], the labels of the rows where they are training examples, which are not counted for themselves.
    most : N.

    Returns
    -------
    CSR float32 [rows, Y] of ones, indices sorted; its structure is the candidates. Fewer than N where the leaf has no
    more labels.
    """
    if own is None:
        used, row = np.unique(leaf, return_inverse=True)
        return sp.csr_matrix(_most_frequent(counts[used], most)[row])
    ones = sp.csr_matrix((np.ones(own.nnz, np.int64), own.indices, own.indptr), shape=own.shape)
    return _most_frequent(counts[leaf] - ones, most)


def _most_frequent(counts: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """A one for the largest counts of every row: float32 CSR, indices sorted."""
    row, label = row_of_entry(counts), counts.indices
    order = np.lexsort((label, -counts.data, row))
    order = order[counts.data[order] > 0]
    lengths = np.bincount(row[order], minlength=counts.shape[0])
    place = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = order[place < most]
    ones = np.ones(len(kept), np.float32), (row[kept], label[kept])
    return sp.csr_matrix(sp.coo_matrix(ones, shape=counts.shape))

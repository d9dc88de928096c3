"""The data sets of the benchmarks, as arrays that ours and a peer read alike: real ones from AWE_DATA, made ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arrangement import hash_fractions
from benchmarks.quality import arrays_of

Arrays = dict[str, NDArray[Any]]

CIFAR = ("cifar100-474/train.npz", "cifar100-474/test.npz")
GOWALLA = ("gowalla/train.txt", "gowalla/valid.txt", "gowalla/test.txt")


def cifar(root: Path) -> Arrays:
    """CIFAR-100, 474 dense features, one label a row; a tenth of train, by hash, is validation; measured by P@1."""
    train, test = (np.load(root / name) for name in CIFAR)
    x, y = train["X"].astype(np.float32), train["y"].astype(np.int64)
    held_out = hash_fractions(0, "validation", np.arange(len(y), dtype=np.int64)) < 0.1
    splits = {
        "train": (x[~held_out], y[~held_out]),
        "validation": (x[held_out], y[held_out]),
        "test": (test["X"].astype(np.float32), test["y"].astype(np.int64)),
    }
    arrays: Arrays = {"k": np.array(1)}
    for split, (features, labels) in splits.items():
        marks = csr_of_lists([[label] for label in labels.tolist()], 100)
        arrays |= {f"{split}.x": features, **_lists(split, marks, nothing_like(marks))}
    return arrays


def gowalla(root: Path) -> Arrays:
    """Gowalla: row i is user i and x is one-hot; trained on train alone; measured by recall@20.

    What a user has in train is not ranked in validation, what is in train or validation is not ranked in test.
    """
    files = [read_lists(root / name) for name in GOWALLA]
    users = 1 + max(max(lists) for lists in files)
    items = 1 + max(max(items) for lists in files for items in lists.values() if items)
    train, validation, test = (csr_of_lists([lists.get(u, []) for u in range(users)], items) for lists in files)
    both = sp.csr_matrix(train + validation)
    both.sort_indices()
    return {
        "k": np.array(20),
        **_lists("train", train, nothing_like(train)),
        **_lists("validation", validation, train),
        **_lists("test", test, both),
    }


def read_lists(path: Path) -> dict[int, list[int]]:
    """`user item item …`, a line a user."""
    rows = (list(map(int, line.split())) for line in path.read_text().splitlines() if line.strip())
    return {row[0]: row[1:] for row in rows}


def csr_of_lists(rows: list[list[int]], columns: int) -> sp.csr_matrix:
    """CSR of ones with sorted indices; an entry that is listed twice counts once."""
    distinct = [sorted(set(row)) for row in rows]
    indptr = np.cumsum([0, *map(len, distinct)])
    indices = np.fromiter((entry for row in distinct for entry in row), np.int32, int(indptr[-1]))
    return sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(rows), columns))


def nothing_like(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """A CSR matrix of the same shape without entries."""
    return sp.csr_matrix(matrix.shape, dtype=np.float32)


def _lists(split: str, labels: sp.csr_matrix, seen: sp.csr_matrix) -> Arrays:
    return {**arrays_of(labels, f"{split}.labels"), **arrays_of(seen, f"{split}.seen")}

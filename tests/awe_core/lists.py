"""Lists per row, as CSR and as sets, for tests of what takes one and is compared with the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st


def csr(rows: Sequence[AbstractSet[int]], width: int) -> sp.csr_matrix:
    """Label sets as CSR [rows, width] with sorted indices."""
    return weighted([dict.fromkeys(row, 1.0) for row in rows], width)


def weighted(rows: Sequence[Mapping[int, float]], width: int, dtype: type = np.float32) -> sp.csr_matrix:
    """Values by label as CSR [rows, width] with sorted indices; zeros are stored."""
    indices = np.array([label for row in rows for label in sorted(row)], np.int32)
    values = np.array([row[label] for row in rows for label in sorted(row)], dtype)
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return sp.csr_matrix((values, indices, indptr), shape=(len(rows), width))


def mappings(matrix: sp.csr_matrix) -> list[dict[int, float]]:
    """What `weighted` was given."""
    bounds = list(zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True))
    return [dict(zip(matrix.indices[a:b].tolist(), matrix.data[a:b].tolist(), strict=True)) for a, b in bounds]


def label_sets(rows: int, labels: int) -> st.SearchStrategy[list[set[int]]]:
    """Sets of labels of that many rows: none, some, all."""
    everything = set(range(labels))
    one = st.one_of(st.just(set()), st.just(everything), st.sets(st.integers(0, labels - 1)))
    return st.lists(one, min_size=rows, max_size=rows)

"""The labels dataset in memory: 10⁶ names are some 100 MB, and nothing else of it grows with the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from schemas import convert
from schemas.filesystem import FileSystem
from schemas.manifest import Manifest
from schemas.parts import PartReader


@dataclass(frozen=True)
class Labels:
    """Labels by id.

    Attributes
    ----------
    names : Y strings.
    counts : int64 [Y], train rows that have the label.
    siblings : CSR [Y, Y], labels with the same parent; None where the run has no hierarchy.
    """

    names: list[str]
    counts: NDArray[np.int64]
    siblings: sp.csr_matrix | None


def read_labels(fs: FileSystem, directory: str, manifest: Manifest) -> Labels:
    """Read the labels of a run."""
    tables = []
    for part in manifest.parts:
        with PartReader(fs, directory, part) as reader:
            tables += [reader.block(block) for block in range(reader.blocks)]
    table = pa.concat_tables(tables)
    siblings = convert.lists(table, "siblings", len(table), directory)
    counts = convert.integers(table, "count", directory)
    return Labels(table.column("name").to_pylist(), counts, siblings if siblings.nnz else None)

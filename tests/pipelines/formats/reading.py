"""Reading raw bytes with a reader, as the stage does it: a survey, then the blocks."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

from pipelines.formats.rows import Given, InteractionBlock, RawBlock, Reject, Survey

PATH = "data/file"


def survey_of(format_: ModuleType, content: bytes, given: Given | None = None) -> Survey:
    return format_.survey(io.BytesIO(content), PATH, given or Given())


def blocks_of(format_: ModuleType, content: bytes, given: Given | None = None) -> list[Any]:
    given = given or Given()
    survey = format_.survey(io.BytesIO(content), PATH, given)
    return list(format_.read(io.BytesIO(content), PATH, given, survey))


def rejects_of(blocks: list[RawBlock] | list[InteractionBlock]) -> list[Reject]:
    return [rejected for block in blocks for rejected in block.rejects]


def labels_of(blocks: list[RawBlock]) -> list[list[Any]]:
    """Labels of every accepted row."""
    return [block.labels[block.indptr[i] : block.indptr[i + 1]].tolist() for block in blocks for i in range(len(block))]


def x_of(blocks: list[RawBlock], d: int) -> np.ndarray:
    """x of every accepted row, dense."""
    rows = []
    for block in blocks:
        x = block.features
        if sp.issparse(x):
            assert x.has_sorted_indices
            x = x.toarray()
        assert x.dtype == np.float32
        rows.append(np.pad(x, ((0, 0), (0, d - x.shape[1]))))
    return np.concatenate(rows) if rows else np.zeros((0, d), np.float32)

"""`awe export`: a run's label or example vectors in files that other programs read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.errors import ConfigError
from pipelines.questions.existing_run import ExistingRun
from schemas.vector_formats import WRITERS, Format, VectorPiece, Vectors

_PIECE_ROWS = 4096


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    of : the rows of V, or Ux of a split's examples.
    split : of the examples; None for the first that the run was fitted on.
    format : see `schemas.vector_formats`.
    output : a folder; the files in it are named after `of` or the split.
    """

    root: str
    iteration: int | None
    of: Literal["labels", "examples"]
    split: str | None
    format: Format
    output: str


def main(request: Request) -> list[str]:
    """Write the files; their paths.

    Raises ConfigError where there is no such run or FAISS is not installed, DataError where the run is damaged.
    """
    if request.format == "faiss" and not _has_faiss():
        raise ConfigError('--format=faiss: it is not installed; pip install "affinity-weighted-embedding[faiss]"')
    run = ExistingRun.open(request.root, request.iteration)
    split = run.lane.fit[0] if request.split is None else request.split
    vectors = _labels(run) if request.of == "labels" else _examples(run, split)
    stem = run.context.fs.join(request.output, "labels" if request.of == "labels" else split)
    return WRITERS[request.format](run.context.fs, stem, vectors)


def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def _labels(run: ExistingRun) -> Vectors:
    """V: the model scores a label by the inner product with it."""
    V, names = run.model(run.iteration).V, run.labels.names

    def pieces() -> Iterator[VectorPiece]:
        for start in range(0, len(V), _PIECE_ROWS):
            rows = slice(start, start + _PIECE_ROWS)
            yield VectorPiece(np.arange(len(V))[rows], names[rows], V[rows])

    return Vectors(len(V), V.shape[1], "inner product", pieces())


def _examples(run: ExistingRun, split: str) -> Vectors:
    """Ux: neighbours are near by distance."""
    pieces = (VectorPiece(block.ids, names, embedding) for block, names, embedding in run.embedded(split))
    rows, D = run.context.examples(split).rows, run.described(run.iteration).facts["settings"]["D"]
    return Vectors(rows, int(D), "distance", pieces)

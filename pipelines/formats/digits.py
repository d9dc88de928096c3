"""The embedded data set: scikit-learn's bundled scans of handwritten digits, 1,797 images of 8 × 8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.formats.rows import Given, RawBlock, Survey

PATH = "digits"
"""Stands where other formats have the path of a file."""


def images_and_labels() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Grey values 0 to 16, [1797, 64], and the digits, [1797]."""
    from sklearn.datasets import load_digits  # takes a second, which every command would pay

    images, labels = load_digits(return_X_y=True)
    return images, labels.astype(np.int64)


def survey(file: BinaryIO, path: str, given: Given) -> Survey:
    """Ten labels, "0" to "9"; the file is not looked at."""
    images, labels = images_and_labels()
    names = tuple(map(str, range(10)))
    return Survey(path, len(images), False, images.shape[1], names, np.unique(labels))


def read(file: BinaryIO, path: str, given: Given, survey: Survey) -> Iterator[RawBlock]:
    """All images as one block: float32 [1797, 64], grey values 0 to 16."""
    images, labels = images_and_labels()
    rows = np.arange(len(images), dtype=np.int64)
    yield RawBlock(
        source=path,
        rows=rows,
        lines=rows,
        features=images.astype(np.float32),
        labels=labels,
        indptr=np.arange(len(images) + 1, dtype=np.int64),
    )

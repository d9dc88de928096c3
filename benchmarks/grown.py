"""*Grown CIFAR*: Wsabie embeddings of CIFAR-100's 60,000 images, repeated with noise until there are enough of them.

Copy 0 of a row is the row; copy c > 0 is the row and a vector of Gaussian direction whose length is half the distance
from the row to its nearest neighbour among the 60,000. Copies 0 of all rows come first, then copies 1, and so on, so
more rows begin with the same ones; which c a row stands at is no secret, so whoever measures shuffles.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from awe_core.arranged import ArrangedBlocks
from awe_core.arrangement import generator
from awe_core.examples import Block
from awe_core.training.trainer import train
from benchmarks.datasets import Arrays, cifar
from benchmarks.quality import csr_of
from benchmarks.training import BLOCK_ROWS, ROWS_PER_PART, settings

Vectors = NDArray[np.float32]

_WSABIE = {"D": 128, "learning_rate": 0.03, "batch": 512, "epochs": 25, "patience": 4}
_SPLITS = ("train", "validation", "test")
# Rows whose products with all stand in memory at once: 512 × 60,000 float32 are 123 MB.
_ROWS = 512


def cache() -> Path:
    """Where what takes long to make is kept, beside the peers' environments."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "affinity-weighted-embedding" / "benchmarks"


def seedlings(data: Path) -> tuple[Vectors, NDArray[np.float64]]:
    """The 60,000 embeddings, float32 [60000, 128], and half the distance of each to its nearest neighbour.

    They are made once: a linear model, trained in memory with seed 0 (a minute or two).

    Parameters
    ----------
    data : the folder with cifar100-474.
    """
    kept = cache() / "cifar100-474-wsabie-128.npz"
    if not kept.is_file():
        vectors = embeddings(cifar(data))
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(f".{os.getpid()}.npz")
        np.savez(unfinished, vectors=vectors, radii=nearest_distances(vectors) / 2)
        unfinished.replace(kept)
    with np.load(kept) as arrays:
        return arrays["vectors"], arrays["radii"]


def embeddings(arrays: Arrays) -> Vectors:
    """Ux of train, validation and test, in this order, of the model that stopped on validation P@1."""
    blocks = {split: _block(arrays, split) for split in _SPLITS}
    source, held_out = (
        ArrangedBlocks(blocks[split], 0, ROWS_PER_PART, BLOCK_ROWS) for split in ("train", "validation")
    )
    labels, dimension = blocks["train"].labels.shape[1], blocks["train"].features.shape[1]
    model = train(source, held_out, labels, dimension, settings(**_WSABIE), seed=0).model
    return np.concatenate([model.embed(blocks[split].features) for split in _SPLITS]).astype(np.float32)


def _block(arrays: Arrays, split: str) -> Block:
    labels = csr_of(arrays, f"{split}.labels")
    rows = labels.shape[0]
    nothing = sp.csr_matrix(labels.shape, dtype=np.float32)
    return Block(np.arange(rows, dtype=np.int64), arrays[f"{split}.x"], labels, nothing, np.ones(rows, np.float32))


def nearest_distances(vectors: Vectors) -> NDArray[np.float64]:
    """The distance of every row to the nearest other, float64 [rows]: found by products, measured by differences."""
    centred = vectors - vectors.mean(axis=0)
    half_norms = np.einsum("ij,ij->i", centred, centred) / 2
    distances = np.empty(len(vectors))
    for start in range(0, len(vectors), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(vectors)))
        scores = centred[rows] @ centred.T - half_norms
        scores[np.arange(len(rows)), rows] = -np.inf
        difference = vectors[rows].astype(np.float64) - vectors[scores.argmax(axis=1)]
        distances[rows] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return distances


def grown(vectors: Vectors, radii: NDArray[np.float64], rows: int, seed: int = 0) -> Vectors:
    """As many rows as are asked for, float32 [rows, D]: copies 0 of `vectors`, then copies 1, …, shuffled.

    Row r of n and the same r of more rows are not the same: the shuffle is of all.
    """
    out = np.empty((rows, vectors.shape[1]), np.float32)
    for copy, start in enumerate(range(0, rows, len(vectors))):
        wanted = min(len(vectors), rows - start)
        out[start : start + wanted] = vectors[:wanted]
        if copy:
            noise = generator(seed, "benchmark/grown", copy).standard_normal((wanted, vectors.shape[1]))
            noise *= (radii[:wanted] / np.sqrt(np.einsum("ij,ij->i", noise, noise)))[:, None]
            out[start : start + wanted] += noise.astype(np.float32)
    generator(seed, "benchmark/grown/order", rows).shuffle(out)
    return out


def gaussian(rows: int, dimension: int = 128, seed: int = 0) -> Vectors:
    """Isotropic Gaussian rows, float32 [rows, dimension]: on these only the exact search is measured."""
    return generator(seed, "benchmark/gaussian", rows).standard_normal((rows, dimension), dtype=np.float32)

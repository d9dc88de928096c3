"""Grown data: the rows themselves, and copies at a known distance from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import grown as module
from benchmarks.grown import gaussian, grown, nearest_distances, seedlings

rng = np.random.default_rng(0)
VECTORS = rng.standard_normal((30, 8)).astype(np.float32) + 100
RADII = nearest_distances(VECTORS) / 2


def test_the_nearest_distance_is_that_of_direct_differences() -> None:
    apart = np.linalg.norm(VECTORS[:, None].astype(np.float64) - VECTORS, axis=2)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(nearest_distances(VECTORS), apart.min(axis=1), rtol=1e-12)


def test_rows_come_first_and_copies_lie_half_the_nearest_distance_from_them() -> None:
    rows = grown(VECTORS, RADII, 100)
    apart = np.linalg.norm(rows[:, None].astype(np.float64) - VECTORS, axis=2)
    nearest, origin = apart.min(axis=1), apart.argmin(axis=1)
    assert np.count_nonzero(nearest == 0) == 30
    np.testing.assert_allclose(nearest[nearest > 0], RADII[origin[nearest > 0]], rtol=1e-4)
    assert np.bincount(origin).min() == 3
    assert np.bincount(origin).max() == 4


def test_growing_is_the_same_for_the_same_seed_and_shuffled() -> None:
    assert grown(VECTORS, RADII, 70).tobytes() == grown(VECTORS, RADII, 70).tobytes()
    assert grown(VECTORS, RADII, 70).tobytes() != grown(VECTORS, RADII, 70, seed=1).tobytes()
    assert (grown(VECTORS, RADII, 30) != VECTORS).any()
    np.testing.assert_array_equal(np.sort(grown(VECTORS, RADII, 20), axis=0), np.sort(VECTORS[:20], axis=0))


def test_embeddings_are_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def embeddings(arrays: Path) -> np.ndarray:
        made.append(arrays)
        return VECTORS

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "cifar", lambda data: data)
    monkeypatch.setattr(module, "embeddings", embeddings)
    for _ in range(2):
        vectors, radii = seedlings(tmp_path)
        np.testing.assert_array_equal(vectors, VECTORS)
        np.testing.assert_array_equal(radii, RADII)
    assert made == [tmp_path]
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_gaussian_rows_are_as_many_as_are_asked_for() -> None:
    rows = gaussian(50, 4)
    assert (rows.shape, rows.dtype) == ((50, 4), np.float32)
    assert rows.tobytes() == gaussian(50, 4).tobytes()
